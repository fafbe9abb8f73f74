"""Two gateways of a route: limits that they share, an owner of exact places, intents they tell each other; TLS; an end
in peace."""

import hmac
import re
import signal
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from agentfleet.gateway.haproxy_text import revision
from agentfleet.gateway.layout import DECIDER_PORT, METRICS_PORT, OWNER_PORT, TLS_PORT, Layout, Limit, Peer
from agentfleet.gateway.types import Match, Policy, Rule
from e2e.cluster.shell import wait_until
from e2e.support import scripted
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import crowds, deciding, dns, gateway

_PEERS = (Peer("chat-route-0", "127.0.1.1"), Peer("chat-route-1", "127.0.1.2"))


@dataclass
class Pair:
    first: gateway.Gateway
    second: gateway.Gateway
    pods: list[Server]
    spare: Server
    decider: deciding.Decider
    port: int
    policy: Policy
    layout: Layout

    @property
    def both(self) -> tuple[gateway.Gateway, gateway.Gateway]:
        return self.first, self.second

    @property
    def in_flight(self) -> int:
        """Requests at the pods of `exact`."""
        return sum(pod.in_flight for pod in self.pods)


@pytest.fixture(scope="module")
def pair(zone: dns.Zone, port: int) -> Iterator[Pair]:
    exact = routes.target(0, "exact", capacity=3)
    spare = routes.target(1, "spare", weight=0)
    rules = (Rule("spilling", Match(models=("spilling",)), ("t0", "t1"), strategy="Weighted"),)
    policy = routes.policy(exact, spare, rules=rules, intents=("code", "talk"), queue_ms=20_000)
    backends = (routes.backend(exact, port=port, owner=0), routes.backend(spare, port=port))
    limits = (Limit("Key", "requests", 40, 3600), Limit("Route", "tokens", 10**9, 60))
    layout = routes.layout(
        policy, backends=backends, peers=_PEERS, limits=limits, api_keys=True, ask_intent=True, grace_s=0
    )
    keys = {"key-alice": "alice", **{f"key-{number}": f"caller-{number}" for number in range(50)}}
    ports = gateway.free_ports()
    with (
        gateway.pods(zone, "exact", 2, port, first=70) as pods,
        gateway.pods(zone, "spare", 1, port, first=74) as (spare_pod,),
        deciding.serving(ports[DECIDER_PORT]) as decider,
        gateway.running(policy, layout, zone, keys=keys, ports=ports, host="chat-route-0") as first,
        gateway.running(policy, layout, zone, keys=keys, ports=ports, host="chat-route-1") as second,
    ):
        first.wait_for(pool_t0=2, pool_t1=1)
        second.wait_for(pool_t0=2, own_t0=2)
        yield Pair(first, second, pods, spare_pod, decider, port, policy, layout)


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_places_are_exact_over_both(pair: Pair) -> None:
    for pod in pair.pods:
        pod.play("delay=0.2")
        pod.forget()
    answers = crowds.at_once(pair.both, "model/exact", 24, lambda number: _bearer(f"key-{number}"))
    assert Counter(answer.status for answer in answers) == {200: 24}
    assert [pod.peak for pod in pair.pods] == [3, 3]
    for pod in pair.pods:
        pod.play("")


def test_the_owner_says_at_once_that_all_is_full(pair: Pair) -> None:
    """And its places stay taken while somebody asks."""
    with ThreadPoolExecutor(6) as threads:
        with pair.pods[0].holding(), pair.pods[1].holding():
            filling = [
                threads.submit(pair.first.ask, "model/exact", headers=_bearer(f"key-{number}")) for number in range(6)
            ]
            wait_until(lambda: pair.in_flight == 6, "all places are taken", timeout=5, interval=0.02)
            response = pair.second.ask("spilling", headers=_bearer("key-9"))
        assert response.headers["x-served-by"] == "spare-0"
        assert response.headers["x-agentroute-decision"].endswith("attempt=2")
        assert {each.result().status_code for each in filling} == {200}


def test_model_ids_are_rewritten_by_the_owner(pair: Pair) -> None:
    response = pair.second.ask("model/exact", headers=_bearer("key-10"))
    assert response.json()["model"] == "exact-id"
    headers = response.json()["scripted"]["headers"]
    assert "authorization" not in headers
    assert not [name for name in headers if name.startswith("x-af-")]


def test_the_owners_port_is_for_gateways_only(pair: Pair) -> None:
    url = f"http://{pair.first.address}:{pair.first.ports[OWNER_PORT]}{gateway.CHAT}"
    body = {"model": "model/exact", "messages": []}
    for headers in ({}, {"x-af-target": "t0", "x-af-left": "9999", "x-af-pass": "0" * 64}):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(url, json=body, headers=headers, trust_env=False)


def test_gateways_with_different_keys_go_on_by_themselves(zone: dns.Zone, pair: Pair) -> None:
    """As while the namespace's key is being changed."""
    ports = pair.first.ports
    target = routes.target(0, "exact", capacity=3, side_effects=True)
    policy = routes.policy(target)
    peers = (Peer("chat-route-3", "127.0.1.4"), Peer("chat-route-4", "127.0.1.5"))
    layout = routes.layout(policy, backends=(routes.backend(target, port=pair.port, owner=0),), peers=peers, grace_s=0)
    with (
        gateway.running(policy, layout, zone, ports=ports, host="chat-route-3", identity=b"another key"),
        gateway.running(policy, layout, zone, ports=ports, host="chat-route-4") as newer,
    ):
        wait_until(lambda: newer.metrics_page("/readyz").text == "ok", "the newer is ready", timeout=10)
        assert newer.servers("own_t0") == 1
        assert Counter(newer.ask("model/exact").status_code for _ in range(10)) == {200: 10}


def test_a_gateway_of_another_revision_is_never_asked(zone: dns.Zone, pair: Pair) -> None:
    """While a route changes, t0 of one gateway may be what another calls t1."""
    targets = (routes.target(0, "spare"), routes.target(1, "exact", capacity=3))
    policy = routes.policy(*targets, queue_ms=20_000)
    backends = (
        routes.backend(targets[0], port=pair.port),
        routes.backend(targets[1], port=pair.port, owner=0),
    )
    peers = (_PEERS[0], Peer("chat-route-2", "127.0.1.3"))
    layout = routes.layout(policy, backends=backends, peers=peers, grace_s=0)
    ports = pair.first.ports
    with gateway.running(policy, layout, zone, ports=ports, host="chat-route-2") as newer:
        wait_until(lambda: newer.metrics_page("/readyz").text == "ok", "the newer is ready", timeout=10)
        for _ in range(5):
            response = newer.ask("model/exact")
            assert (response.status_code, response.headers["x-served-by"][:5]) == (200, "exact")
        own = revision(pair.policy, pair.layout)
        assert _says_yes(pair.first, own, gateway.IDENTITY_KEY)
        assert not _says_yes(pair.first, own, b"another key")
        assert not _says_yes(pair.first, revision(policy, layout), gateway.IDENTITY_KEY)


def _says_yes(asked: gateway.Gateway, revision: str, key: bytes) -> bool:
    """Whether a gateway is one for those of this revision that have this key."""
    shown = {"x-af-pass": hmac.new(key, revision.encode(), "sha256").hexdigest()}
    url = f"http://{asked.address}:{asked.ports[METRICS_PORT]}/healthz/{revision}"
    return httpx.get(url, headers=shown, trust_env=False).status_code == 200


def test_limits_count_over_both(pair: Pair) -> None:
    statuses: Counter[int] = Counter()
    for _ in range(6):
        for each in pair.both * 5:
            statuses[each.ask("model/spare", headers=_bearer("key-alice")).status_code] += 1
        # What a person at two gateways would need: they have told each other.
        wait_until(lambda: _counted(pair.first) == _counted(pair.second), "both know of all", timeout=10, interval=0.02)
    assert statuses == {200: 40, 429: 20}


def _counted(asked: gateway.Gateway) -> dict[tuple[str, str], str]:
    """What a gateway knows of each limit's counters, its own ones and the other's: the requests of each caller."""
    tables = re.findall(r"# table: (gateways/limit_\S+),", asked.command("show table"))
    rows = {table: re.findall(r"key=(\S+) .*gpc0=(\d+)", asked.command(f"show table {table}")) for table in tables}
    return {(table, caller): count for table, found in rows.items() for caller, count in found}


def test_an_intent_is_known_to_both(pair: Pair) -> None:
    pair.decider.intent = "talk"
    session = {"x-session-id": "shared", **_bearer("key-11")}
    assert "intent=talk" in pair.first.ask("auto", headers=session).headers["x-agentroute-decision"]
    pair.decider.intent = ""

    def is_known() -> bool:
        return "intent=talk" in pair.second.ask("auto", headers=session).headers["x-agentroute-decision"]

    wait_until(is_known, "the other gateway knows the intent", timeout=5)


def test_another_owner_takes_over(zone: dns.Zone, pair: Pair) -> None:
    """Last of this module: the first gateway is gone after it."""
    pair.first.process.process.kill()
    statuses = Counter(
        pair.second.ask("model/exact", headers=_bearer(f"key-{20 + number}")).status_code for number in range(10)
    )
    assert statuses == {200: 10}
    wait_until(lambda: pair.second.servers("own_t0") == 1, "it asks itself", timeout=5)
    with ThreadPoolExecutor(6) as threads:
        answers = []
        with pair.pods[0].holding(), pair.pods[1].holding():
            for number in range(6):  # as many as there are places
                answers.append(threads.submit(pair.second.ask, "spilling", headers=_bearer(f"key-{30 + number}")))
                wait_until(lambda: pair.in_flight == len(answers), "it is there", timeout=5, interval=0.02)
        assert {each.result().headers["x-served-by"].split("-")[0] for each in answers} == {"exact"}


def _certificate(folder: Path, name: str) -> Path:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / f"{name}.pem"
    both.write_bytes((folder / f"{name}.crt").read_bytes() + (folder / f"{name}.key").read_bytes())
    return both


def test_tls_on_both_sides(zone: dns.Zone, tmp_path: Path) -> None:
    cloud_certificate = _certificate(tmp_path, "api.example.com")
    _certificate(tmp_path, "route.example.com")
    zone.set("api.example.com", "127.0.0.1")
    zone.set("other.example.com", "127.0.0.1")
    with scripted.serving("cloud", certificate=cloud_certificate) as cloud:
        port = int(cloud.address.rpartition(":")[2])
        good = routes.target(0, "good", kind="External")
        bad = routes.target(1, "bad", kind="External")
        policy = routes.policy(good, bad)
        outside = {"port": port, "tls": True, "ca_file": str(tmp_path / "api.example.com.crt"), "health": None}
        backends = (
            routes.backend(good, host="api.example.com", has_credentials=True, **outside),
            routes.backend(bad, host="other.example.com", **outside),
        )
        layout = routes.layout(policy, backends=backends, tls=True)
        files = {
            "tls.crt": (tmp_path / "route.example.com.crt").read_bytes(),
            "tls.crt.key": (tmp_path / "route.example.com.key").read_bytes(),
        }
        with gateway.running(policy, layout, zone, files=files, credentials={"t0": "sk-good"}) as running:
            running.wait_for(pool_t0=1)
            url = f"https://127.0.0.1:{running.ports[TLS_PORT]}{gateway.CHAT}"
            body = {"model": "target/good", "messages": []}
            trusted = ssl.create_default_context(cafile=tmp_path / "route.example.com.crt")
            with httpx.Client(verify=trusted, trust_env=False) as client:
                # Its certificate is for a name, and it is asked for here by that name at an address.
                response = client.post(url, json=body, extensions={"sni_hostname": "route.example.com"})
            assert response.status_code == 200
            assert cloud.requests[-1].headers["authorization"] == "Bearer sk-good"
            assert cloud.requests[-1].headers["host"] == f"api.example.com:{port}"
            # Whoever answers with a certificate for another name gets nothing.
            assert running.ask("target/bad").status_code in (502, 503)


def test_a_stopping_gateway_finishes_what_it_has(zone: dns.Zone, port: int) -> None:
    target = routes.target(0, "last")
    policy = routes.policy(target)
    layout = routes.layout(policy, backends=(routes.backend(target, port=port),), grace_s=5)
    with (
        gateway.pods(zone, "last", 1, port, first=80) as (pod,),
        gateway.running(policy, layout, zone) as running,
        ThreadPoolExecutor(1) as threads,
    ):
        running.wait_for(pool_t0=1)
        pod.play("delay=2")
        last = threads.submit(running.ask, "auto")
        wait_until(lambda: pod.in_flight == 1, "it is there", timeout=5, interval=0.02)
        running.process.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: running.metrics_page("/readyz").status_code == 503, "it says that it stops", timeout=4)
        assert (
            httpx.post(f"{running.client.base_url}{gateway.CHAT}", json={"model": "none"}, trust_env=False).status_code
            == 404
        )
        assert last.result().status_code == 200
