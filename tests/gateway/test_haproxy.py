"""What a gateway's configuration is made of, and that HAProxy takes it, whatever users write."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from agentfleet.gateway.haproxy import render
from agentfleet.gateway.haproxy_chain import chains
from agentfleet.gateway.haproxy_process import MOST_AT_ONCE
from agentfleet.gateway.layout import Budget, Jwt, Layout, Limit, Peer
from agentfleet.gateway.types import EVERY_CAUSE, Cause, Match, Policy, Rule
from e2e.support import haproxy
from tests.gateway import routes
from tests.gateway.starting import check, furnish

_GOLDEN = Path(__file__).parent / "golden"


def _plain() -> tuple[Policy, Layout]:
    """One model, nothing said."""
    policy = routes.policy(routes.target(0, "phi"))
    return policy, routes.layout(policy, sensitive=(), complexity=())


def _fleet() -> tuple[Policy, Layout]:
    """Two gateways, tiers, an owner of places, keys, limits and intents."""
    small = routes.target(0, "small", tier="Lightweight", scales_to_zero=True)
    big = routes.target(1, "big", capacity=4)
    helper = routes.target(2, "helper", kind="Agent", side_effects=True, capacity=10)
    rules = (
        Rule("sticky", Match(intents=("code",)), ("t0", "t1"), strategy="Sticky"),
        Rule("agents", Match(), ("t2",), when=("Saturated",), side_effects=False),
    )
    policy = routes.policy(small, big, helper, rules=rules, intents=("code", "talk"))
    backends = (
        routes.backend(small, hashed=True),
        routes.backend(big, owner=0, hashed=True),
        routes.backend(helper, owner=1),
    )
    layout = routes.layout(
        policy,
        backends=backends,
        peers=(Peer("chat-route-0", "10.96.0.10"), Peer("chat-route-1", "10.96.0.11")),
        api_keys=True,
        limits=(Limit("Key", "requests", 60, 60), Limit("Group", "tokens", 100_000, 3600)),
        ask_intent=True,
        sensitive=(),
        complexity=(),
    )
    return policy, layout


def _outside() -> tuple[Policy, Layout]:
    """A site of its own with pods near and far, a cloud behind it, an identity provider, budgets and TLS."""
    near = routes.target(0, "near", location="Edge")
    cloud = routes.target(1, "cloud", kind="External", location="Cloud", region="eu")
    rules = (Rule("hurried", Match(), ("t0", "t1"), first_byte_ms=2000, request_ms=60_000, max_attempts=2),)
    policy = routes.policy(near, cloud, rules=rules, deny_cloud_from="Confidential")
    backends = (
        routes.backend(near, near="near-${SITE}.team.svc.cluster.local"),
        routes.backend(
            cloud, host="api.example.com", port=443, tls=True, health=None, has_credentials=True, path="/openai/v1"
        ),
    )
    layout = routes.layout(
        policy,
        backends=backends,
        tls=True,
        jwt=Jwt("https://idp.example.com", ("fleet",), "RS256", "groups", "sub"),
        budgets=(
            Budget("Route", "usd", "250.00", "Month", "LocalOnly"),
            Budget("Group", "tokens", "1", "Day", "Reject"),
        ),
        audit_content=True,
        explain=False,
        complexity=(),
    )
    return policy, layout


_ROUTES = {"plain": _plain, "fleet": _fleet, "outside": _outside}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway")
    furnish(folder)
    return folder


@pytest.mark.parametrize("name", _ROUTES)
def test_golden(name: str) -> None:
    policy, layout = _ROUTES[name]()
    golden = _GOLDEN / f"{name}.cfg"
    assert render(policy, layout)["haproxy.cfg"] == golden.read_text(), f"render {name} anew if this is what you want"


@pytest.mark.parametrize("host", ["chat-route-0", "chat-route-1"])
@pytest.mark.parametrize("name", _ROUTES)
def test_haproxy_takes_it(name: str, host: str, folder: Path) -> None:
    check(render(*_ROUTES[name]()), folder, host=host)


@pytest.mark.parametrize("name", _ROUTES)
def test_haproxy_34_takes_it(name: str, folder: Path) -> None:
    try:
        haproxy.command("3.4")
    except haproxy.Missing as error:
        pytest.skip(str(error))
    check(render(*_ROUTES[name]()), folder, "3.4")


def test_pods_with_a_certificate_show_that_of_their_service(folder: Path) -> None:
    """Also to those who were held until there was a pod."""
    helper = routes.target(0, "helper", kind="Agent", side_effects=True, scales_to_zero=True)
    encrypted = routes.backend(helper, tls=True, port=8443, service="helper-agent.team.svc", service_port=443)
    policy = routes.policy(helper)
    files = render(policy, routes.layout(policy, backends=(encrypted,)))
    check(files, folder)
    checked = "ssl verify required verifyhost helper-agent.team.svc sni str(helper-agent.team.svc) ca-file @system-ca"
    lines = files["haproxy.cfg"].splitlines()
    assert [line for line in lines if line.strip().startswith("default-server check") and line.endswith(checked)]
    assert [line for line in lines if "server gate helper-agent.team.svc:443" in line and line.endswith(checked)]


def test_equal_routes_are_equal_bytes() -> None:
    assert render(*_fleet()) == render(*_fleet())


def test_a_changed_policy_changes_its_file_alone() -> None:
    policy, layout = _plain()
    changed = render(replace(policy, default_complexity="Complex"), layout)
    before = render(policy, layout)
    assert [name for name in before if before[name] != changed[name]] == ["route.json"]


def test_files_of_a_route() -> None:
    files = render(*_fleet())
    assert {"haproxy.cfg", "route.json", "models.json", "agentroute.lua", "agentroute_usage.lua"} <= set(files)
    assert files["models.map"].split("\n")[0] == "auto 1"
    assert files["intents.map"] == "1 code\n2 talk\n"
    assert "audit" not in files["route.json"]


def test_patterns_that_look_like_comments() -> None:
    policy, layout = _plain()
    files = render(policy, replace(layout, sensitive=(("#[0-9]+", "Internal"),)))
    assert files["sensitivity.map"] == "[#][0-9]+ Internal\n"


@pytest.mark.parametrize(
    ("when", "attempts", "letters"),
    [
        (EVERY_CAUSE, 3, {"Q", "QTRS", "TRS"}),
        (("RateLimited",), 3, {"R", "Q", "QTRS", "TRS"}),
        (("Saturated", "Timeout"), 5, {"T", "QT", "Q", "QTRS", "TRS"}),
        ((), 3, {"Q", "QTRS", "TRS"}),
    ],
)
def test_chains_that_requests_can_take(when: tuple[Cause, ...], attempts: int, letters: set[str]) -> None:
    targets = [routes.target(number, f"t{number}") for number in range(6)]
    rule = Rule("r", Match(), ("t0",), when=when, max_attempts=attempts)
    found = chains(routes.policy(*targets, rules=(rule,)))
    assert set(found) == letters
    assert max(found.values()) == max(3, attempts if when else 3)


@pytest.mark.parametrize("name", _ROUTES)
def test_bodies_are_read_before_headers_are_changed(name: str) -> None:
    """HAProxy copies a whole buffer to read a body after a header was changed."""
    config = render(*_ROUTES[name]())["haproxy.cfg"]
    lines = config.partition("\nfrontend route\n")[2].partition("\n\n")[0].split("\n")
    for kind in ("http-request", "http-response"):
        # What is for the decider is read by nobody here.
        own = [line for line in lines if line.startswith(f"  {kind} ") and not line.endswith(" if decided")]
        reads = [at for at, line in enumerate(own) if re.search(r"wait-for-body|re[qs]\.body|lua\.scan", line)]
        changes = [at for at, line in enumerate(own) if re.search(r" (?:set|add|del|replace)-header ", line)]
        assert reads
        assert max(reads) < min(changes, default=len(own)), own[min(changes)]


@pytest.mark.parametrize("name", ["fleet", "outside"])
def test_the_filter_of_usage_is_for_streams(name: str) -> None:
    """It costs more than all else that a hop does."""
    sections = render(*_ROUTES[name]())["haproxy.cfg"].split("\n\n")
    filtered = {
        found[1] for each in sections if "lua.usage" in each and (found := re.search(r"^backend (\w+?)_", each, re.M))
    }
    assert filtered <= {"stream", "own"}


def test_one_target_has_no_chain() -> None:
    assert chains(_plain()[0]) == {}
    assert "\nbackend try_" not in render(*_plain())["haproxy.cfg"]


def test_the_policys_letters_are_all_there() -> None:
    """Whatever txn.retry says must be a backend."""
    for make in _ROUTES.values():
        policy, layout = make()
        text = render(policy, layout)["haproxy.cfg"]
        backends = set(re.findall(r"^backend (\S+)", text, re.MULTILINE))
        assert {f"try_{letters}_1" for letters in chains(policy)} <= backends
        used = set(re.findall(r"abns@(\S+)", text))
        assert used == set(re.findall(r"bind abns@(\S+)", text))


def test_shared_tables_are_named_by_what_they_count() -> None:
    """While a route changes, gateways of two revisions tell each other what they have counted."""
    policy, layout = _fleet()

    def tables(policy: Policy, layout: Layout) -> set[str]:
        return set(re.findall(r"^  table (\S+)", render(policy, layout)["haproxy.cfg"], re.MULTILINE))

    before = tables(policy, layout)
    assert tables(policy, replace(layout, limits=layout.limits[::-1])) == before
    other_intents = tables(replace(policy, intents=policy.intents[::-1]), layout)
    assert before - other_intents == {name for name in before if name.startswith("intents_")}
    other_amount = replace(layout, limits=(replace(layout.limits[0], amount=61), layout.limits[1]))
    assert len(before - tables(policy, other_amount)) == 2
    twice = replace(layout, limits=layout.limits + layout.limits)
    assert len(tables(policy, twice)) == 2 * len(before) - 1


def test_a_full_gateway_has_room_for_probes() -> None:
    """All that clients may have, with what each can have in a chain of five, and as much at the owner's port."""
    most = re.findall(r"fd-hard-limit (\d+)", render(*_fleet())["haproxy.cfg"])
    assert int(most[0]) // 2 > (5 + 2) * MOST_AT_ONCE


def _read_by(host: str, text: str) -> list[str]:
    """The lines that HAProxy reads as this gateway."""
    lines, holds = [], [True]
    for line in text.splitlines():
        if line.startswith(".if"):
            named = re.fullmatch(r'\.if (!?)streq\("\$HOSTNAME",(.+)\)', line)
            holds.append(named is None or (named[2] == host) != bool(named[1]))
        elif line == ".else":
            holds[-1] = not holds[-1]
        elif line == ".endif":
            holds.pop()
        elif all(holds):
            lines.append(line)
    return lines


def test_no_gateway_needs_the_network_to_reach_itself() -> None:
    """Not every cluster lets a pod reach itself by its own Service."""
    policy, layout = _fleet()
    text = render(policy, layout)["haproxy.cfg"]
    for peer in layout.peers:
        lines = _read_by(peer.name, text)
        assert f"  server {peer.name}" in lines, "one of its peers is itself"
        others = {other.address for other in layout.peers if other != peer}
        servers = [line for line in lines if line.startswith("  server ")]
        assert not [line for line in servers if peer.address in line]
        assert {address for address in others for line in servers if address in line} == others
