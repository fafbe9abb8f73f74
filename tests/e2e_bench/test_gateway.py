"""`bench gateway`: its route is a sound one, its traffic is what it says, and its figures have the names that count."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from agentfleet.gateway import layout as places
from e2e.bench import gateway, gateway_envoy, gateway_route, gateway_subjects, gateway_traffic
from e2e.bench.gateway import Seen
from e2e.bench.gateway_traffic import Traffic
from e2e.support import haproxy

WHOLE = gateway_route.rendered(8000)
PORTS = {places.HTTP_PORT: 18080, places.METRICS_PORT: 18404, places.DECIDER_PORT: 18090, places.PEERS_PORT: 18100}


def bodies(requests: bytes) -> list[bytes]:
    """The bodies of what the traffic program reads."""
    found = []
    while requests:
        length, _, rest = requests.partition(b"\n")
        request, requests = rest[: int(length)], rest[int(length) :]
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        found.append(body)
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_requests_are_chats_of_a_kilobyte_in_conversations_of_their_own(stream: bool) -> None:
    found = bodies(gateway_route.requests(stream))
    assert {len(body) for body in found} == {1024}
    assert len(set(found)) == len(found) == 64
    assert all(json.loads(body)["stream"] is stream for body in found)


def test_the_whole_policy_is_on() -> None:
    config = WHOLE["haproxy.cfg"]
    for line in (
        "http_auth_bearer",
        "lua.scan",
        "sensitivity.map",
        "complexity.map",
        "lua.ask",
        "lua.route",
        "try_",
        "ring@",
    ):
        assert line in config
    assert len(WHOLE["sensitivity.map"].splitlines()) > 30
    policy = json.loads(WHOLE["route.json"])
    assert [bool(rule["fallback"]) for rule in policy["rules"]] == [True] * 3


@pytest.mark.parametrize("part", gateway_route.PARTS)
def test_each_part_can_be_switched_off(part: str) -> None:
    without = gateway_route.rendered(8000, part)
    assert sum(map(len, without.values())) < sum(map(len, WHOLE.values()))


def test_haproxy_takes_it(tmp_path: Path) -> None:
    config = gateway_route.place(WHOLE, tmp_path, PORTS)
    for name in ("keys", "groups", "credentials", "budgets", "identity", "decider"):
        (tmp_path / "run" / f"{name}.map").touch()
    done = subprocess.run([*haproxy.command(), "-c", "-f", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = config.read_text()
    assert places.CONFIG_FOLDER not in text
    assert places.RUN_FOLDER not in text


def test_envoy_has_the_key_and_the_server() -> None:
    text = gateway_envoy.configuration(1, 2)
    listener, cluster = (json.loads(text)["static_resources"][each][0] for each in ("listeners", "clusters"))
    assert listener["address"]["socket_address"]["port_value"] == 1
    assert cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] == {
        "socket_address": {"address": "127.0.0.1", "port_value": 2}
    }
    assert gateway_route.KEY in text


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_both_ends_understand_each_other(tmp_path: Path) -> None:
    with gateway_subjects.server(tmp_path) as server:
        for stream, rate in ((False, 0.0), (False, 50.0), (True, 20.0)):
            requests = tmp_path / "requests"
            requests.write_bytes(gateway_route.requests(stream))
            seen = gateway_traffic.load(server.port, requests, connections=2, seconds=0.3, rate=rate, core=0)
            assert seen.answered > 0
            assert seen.failed == 0
            assert seen.first_p50_ms <= seen.p50_ms <= seen.p99_ms
            if rate:
                assert seen.answered == round(0.3 * rate)


def seen(us: float, first_ms: float) -> Seen:
    """Two rounds, the second of them twice as slow."""
    traffic = [Traffic(10, 0, 1.0, 0.1 * slow, 0.2 * slow, first_ms * slow, first_ms * slow) for slow in (1, 2)]
    return Seen([us, 2 * us], [1, 2], [900, 800], [20, 21], [us * 9, us * 9], traffic, traffic)


def test_figures() -> None:
    measured = {
        name: seen(us, us / 10)
        for name, us in (("direct", 1), ("plain", 10), ("policy", 40), ("envoy", 80), ("aiohttp", 90))
    }
    measured["policy"].failed = 3
    found = json.loads(gateway.report(measured, "3.2").json())
    values = found["values"]
    for name in ("policy_us", "plain_us", "envoy_us", "aiohttp_us", "policy_rps", "failed"):
        assert name in values
    assert values["policy_us"] == 60
    assert (values["policy_us_min"], values["policy_us_max"]) == (40, 80)
    assert values["failed"] == 3
    assert values["sse_first_chunk_ms"] == 6
    assert values["direct_first_chunk_ms"] == 0.15
    assert "direct_us" not in values
    assert found["ratios"] == {"policy_ratio": 4, "envoy_ratio": 0.5}  # round by round, not of medians


def test_parts_are_what_is_saved_without_them() -> None:
    measured = {f"without-{part}": Seen(us=[30, 70]) for part in gateway_route.PARTS} | {"policy": Seen(us=[40, 90])}
    assert gateway.parts(measured)["part_auth_us"].median == 15
