"""What gateways count: nothing that goes backwards, nothing for another's namespace, and silence is not zero."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.autoscale.samples import DemandSample
from agentfleet.monitor.demand import Demand, guests, sources_of
from agentfleet.objects import Key
from agentfleet.resources.modelserver import AllowedNamespaces

CHAT = Key("ModelServer", "team-a", "chat")
OTHER = Key("ModelServer", "team-a", "other")


def page(requests: float, waiting: float = 0, in_flight: float | None = None, key: Key = CHAT) -> str:
    label = {"ModelServer": "model_server", "Agent": "agent"}[key.kind]
    labels = f'{{namespace="{key.namespace}",{label}="{key.name}"}}'
    text = f"agentfleet_demand_requests_total{labels} {requests}\nagentfleet_demand_waiting{labels} {waiting}\n"
    return text + (f"agentfleet_demand_in_flight{labels} {in_flight}\n" if in_flight is not None else "")


def demand(**sources: str) -> Demand:
    found = Demand()
    found.set_sources(sources, {})
    return found


def arrived(found: Demand, key: Key = CHAT) -> float | None:
    sample, _ = found.sample(key, 0.0)
    return None if sample is None else sample.arrived


def test_what_came_before_we_looked_is_history() -> None:
    found = demand(a="team-a")
    found.take("a", page(1000, 2, 7))
    assert found.sample(CHAT, 5.0) == (DemandSample(5.0, 0.0, 2.0, sources=1, answered=1, in_flight=7.0), 1)
    found.take("a", page(1010))
    assert arrived(found) == 10


def test_a_restarted_gateway_takes_nothing_back() -> None:
    found = demand(a="team-a", b="team-a")
    for first, second in ((100, 50), (110, 60), (4, 61)):
        found.take("a", page(first))
        found.take("b", page(second))
    assert arrived(found) == 10 + 10 + 4 + 1


def test_requests_for_a_server_that_was_not_named_before_are_all_new() -> None:
    found = demand(a="team-a")
    found.take("a", page(1000))
    found.take("a", page(1000) + page(3, key=OTHER))
    assert (arrived(found), arrived(found, OTHER)) == (0, 3)


def test_an_agent_and_a_server_of_one_name_are_two() -> None:
    agent, found = Key("Agent", CHAT.namespace, CHAT.name), demand(a="team-a")
    found.take("a", page(10) + page(5, key=agent))
    found.take("a", page(11) + page(7, 3, key=agent))
    assert (arrived(found), arrived(found, agent)) == (1, 2)
    sample, _ = found.sample(agent, 0.0)
    assert sample is not None
    assert sample.waiting == 3


def test_a_gateway_that_was_silent_for_a_while_has_counted_on() -> None:
    found = demand(a="team-a", b="team-a")
    for address in "ab":
        found.take(address, page(100))
    found.take("a", page(101))
    found.take("b", None)
    sample, sources = found.sample(CHAT, 0.0)
    assert sample is not None
    assert (sample.arrived, sample.sources, sample.answered, sources) == (1, 2, 1, 2)
    found.take("b", page(140))
    assert arrived(found) == 41


def test_silence_is_not_zero() -> None:
    found = demand(a="team-a")
    assert found.sample(CHAT, 0.0) == (None, 1), "it may stand before any server of its namespace"
    found.take("a", None)
    assert found.sample(CHAT, 0.0) == (None, 1)
    found.take("a", page(5))
    found.take("a", None)
    assert found.sample(CHAT, 0.0) == (None, 1)
    assert found.sample(OTHER, 0.0) == (None, 0), "now it is known that it does not"


@pytest.mark.parametrize("bad", ["NaN", "-1", "many", "+Inf"])
def test_garbage_is_no_answer_and_no_new_beginning(bad: str) -> None:
    found = demand(a="team-a")
    found.take("a", page(1000))
    found.take("a", page(1000).replace(" 1000", " " + bad))
    assert found.sample(CHAT, 0.0) == (None, 1)
    found.take("a", page(1001))
    assert arrived(found) == 1


def test_a_count_without_what_waits_is_no_answer() -> None:
    found = demand(a="team-a")
    found.take("a", page(1).split("\n", maxsplit=1)[0])
    assert found.sample(CHAT, 0.0) == (None, 1)


def test_in_flight_is_known_only_where_all_tell_it() -> None:
    found = demand(a="team-a", b="team-a")
    found.take("a", page(1, in_flight=3))
    found.take("b", page(1))
    sample, _ = found.sample(CHAT, 0.0)
    assert sample is not None
    assert sample.in_flight is None


def test_a_gateway_speaks_for_its_own_namespace() -> None:
    found = demand(evil="team-b")
    found.take("evil", page(1, 99))
    assert found.sample(CHAT, 0.0) == (None, 0)
    assert found.addresses([CHAT]) == []


def test_a_gateway_of_a_namespace_that_is_let_in_speaks_for_what_it_names() -> None:
    found = Demand()
    sources, let_in = {"own": "team-a", "guest": "team-b"}, {CHAT: frozenset({"team-b"})}
    found.set_sources(sources, let_in)
    assert found.addresses([CHAT]) == ["own", "guest"]
    assert found.addresses([OTHER]) == ["own"]
    assert found.sample(CHAT, 0.0) == (None, 1), "what a guest stands before is not known until it says so"
    found.take("own", page(1))
    found.take("guest", page(100, 7) + page(50, 7, key=OTHER))
    found.take("guest", page(103, 7) + page(60, 7, key=OTHER))
    sample, sources_of_chat = found.sample(CHAT, 0.0)
    assert sample is not None
    assert (sample.arrived, sample.waiting, sources_of_chat) == (3, 7, 2)
    assert found.sample(OTHER, 0.0) == (None, 0)
    found.set_sources(sources, {})
    found.take("guest", page(200, 7))
    assert arrived(found) == 3, "let in no more: nothing is added, and nothing taken back"


ALL, SAME = {"from": "All"}, {"from": "Same"}
STAFF = {"from": "Selector", "selector": {"matchLabels": {"team": "staff"}}}
ANY = {"from": "Selector", "selector": {"matchLabels": {}}}


@pytest.mark.parametrize(
    ("allowed", "names"), [(None, ""), (SAME, ""), (ALL, "ab"), (STAFF, "a"), (ANY, "ab")], ids=str
)
def test_who_is_let_in(allowed: dict[str, Any] | None, names: str) -> None:
    labels = {"a": {"team": "staff"}}
    read = AllowedNamespaces.model_validate(allowed) if allowed else None
    assert guests(read, "ab", lambda name: labels.get(name, {})) == frozenset(names)


def test_other_labels_add_up() -> None:
    labels = ('a="1",namespace="team-a",model_server="chat"', 'namespace="team-a",model_server="chat",tier="x"')
    text = "".join(
        f"agentfleet_demand_requests_total{{{each}}} 1\nagentfleet_demand_waiting{{{each}}} 2\n" for each in labels
    )
    found = demand(a="team-a")
    found.take("a", text)
    sample, _ = found.sample(CHAT, 0.0)
    assert sample is not None
    assert sample.waiting == 4


def test_gateways_come_and_go() -> None:
    found = demand(a="team-a")
    found.take("a", page(10))
    found.take("a", page(15))
    found.set_sources({"a": "team-a", "b": "team-a"}, {})
    found.take("b", page(7000))
    assert arrived(found) == 5, "a gateway that is labelled later brings no flood"
    found.set_sources({"b": "team-a"}, {})
    found.take("a", page(99))
    found.take("b", page(7001))
    assert arrived(found) == 6
    found.set_sources({"b": "team-c"}, {})
    assert found.sample(CHAT, 0.0) == (None, 0)


def test_nobody_fills_the_memory() -> None:
    found = demand(a="team-a")
    for start in range(0, 5000, 1000):
        keys = (Key("ModelServer", "team-a", f"s{n}") for n in range(start, start + 1500))
        found.take("a", "".join(page(1, key=key) for key in keys))
    assert len(found._sources["a"].last) <= 2000


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 100)), max_size=40))
def test_it_never_goes_backwards(answers: list[tuple[str, int | None]]) -> None:
    found = demand(a="team-a", b="team-a")
    last = 0.0
    for address, count in answers:
        found.take(address, None if count is None else page(count))
        now = arrived(found)
        assert now is None or now >= last
        last = last if now is None else now


def pod(**change: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "agentfleet", "agentfleet.dev/demand-source": change.pop("port", "8404")}
    metadata = {"namespace": "team-a", "name": "gw-0", "labels": labels} | change.pop("metadata", {})
    return {"metadata": metadata, "status": {"phase": "Running", "podIP": "10.0.0.7"} | change}


@pytest.mark.parametrize(
    ("found", "sources"),
    [
        (pod(), {"10.0.0.7:8404": "team-a"}),
        (pod(podIP="fd00::7"), {"[fd00::7]:8404": "team-a"}),
        (pod(phase="Pending"), {}),
        (pod(podIP=None), {}),
        (pod(metadata={"deletionTimestamp": "2026-11-21T10:00:00Z"}), {}),
        (pod(metadata={"labels": {}}), {}),
        (pod(port="http"), {}),
        (pod(port="0"), {}),
        (pod(port="65536"), {}),
        (pod(port="²"), {}),
    ],
)
def test_which_pods_are_gateways(found: dict[str, Any], sources: dict[str, str]) -> None:
    assert sources_of([found]) == sources
