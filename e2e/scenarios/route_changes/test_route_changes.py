"""Changes under steady load, and not one request is lost: 20 changes of routes with 10 rollouts of their gateways, keys
that come and go without a restart, an operator that is away; and what a gateway costs that is killed.

Several routes at once, since each gateway takes its time to leave. One stays as it is, for keys and the killed gateway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from e2e.install import NAMESPACE as OPERATORS
from e2e.scenarios import scripted
from e2e.scenarios.operators import DEPLOYMENT
from e2e.scenarios.routes import LOOKS, Route, gateways, route, status, wait_ready
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

CALM = "calm"
CHANGING = ("north", "east", "south", "west", "centre")
SHORTS = Rate(streams=0.3, stream_tokens=16, shorts=2.0)
STREAMS = Rate(streams=0.7, stream_tokens=60, shorts=0.0)
"""3 s each."""
_INTENTS = [{"name": "order", "keywords": ["order", "parcel"]}]
_WAVES: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"queue": {"max": 500, "timeout": "20s"}}, {"classify": {"intents": _INTENTS}}),
    (
        {"rules": [{"name": "orders", "match": {"intents": ["order"]}, "targets": ["quick"], "strategy": "Sticky"}]},
        {"limits": [{"scope": "Key", "requests": 100_000, "per": "Minute"}]},
    ),
)
"""Changes of each route. The second of a wave comes while gateways are about to be replaced because of the first."""
_ROLLED_OUT = 120
_KEYS_KNOWN = 125
"""Seconds: kubelet looks at Secrets once a minute or so."""
_KILLED = 10.0
"""Seconds in which Services hear of a killed gateway."""


@pytest.fixture(scope="module", autouse=True)
def flowing(scenario: Scenario) -> Iterator[dict[str, list[Traffic]]]:
    """Traffic through each route: short requests to a real engine, and streams of some seconds."""
    scripted.apply_engines(scenario, scripted.model_server("talker", replicas=2, script="gap=0.05"))
    scenario.apply("fleet.yaml")
    written = yaml.safe_load((scenario.folder / "route.yaml").read_text(encoding="utf-8"))
    names = (CALM, *CHANGING)
    routes = [{**written, "metadata": {"name": name}} for name in names]
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": routes}))
    scenario.wait_ready(timeout=90)
    wait_ready(scenario, *names, timeout=120)
    with ExitStack() as stack:
        found: dict[str, list[Traffic]] = {}
        for name in names:
            address = stack.enter_context(route(scenario, name)).address
            _wait_reached(scenario, Route(address, "sk-alice"))
            found[name] = [
                stack.enter_context(traffic(address, f"model/{model}", rate, name=f"{name} {model}", key="sk-alice"))
                for model, rate in {"quick": SHORTS, "talker": STREAMS}.items()
            ]
        _flows_on(scenario, found)
        yield found


def _wait_reached(scenario: Scenario, each: Route) -> None:
    def all_ready() -> bool:
        return all(target["ready"] == 2 for target in each.get("/health").json()["targets"])

    # each look comes to either gateway
    scenario.until(lambda: all(all_ready() for _ in range(LOOKS)), "both gateways know all pods")


def _flows_on(scenario: Scenario, flowing: dict[str, list[Traffic]]) -> None:
    """Wait until streams that begin from now on were answered through every route."""
    every = [seen for both in flowing.values() for seen in both]
    since = {seen.name: seen.now for seen in every}
    scenario.until(lambda: all(seen.whole(after=since[seen.name]) for seen in every), "streams end well", timeout=60)


def _phase(flowing: dict[str, list[Traffic]], name: str) -> None:
    for both in flowing.values():
        for seen in both:
            seen.phase = name


@pytest.fixture(scope="module")
def keys_changed(scenario: Scenario, flowing: dict[str, list[Traffic]]) -> float:
    """When carol's key came and bob's went, by time.monotonic()."""
    data = {"stringData": {"carol": "sk-carol"}, "data": {"bob": None}}
    scenario.kube.patch("Secret", "keys", scenario.namespace, data)
    return time.monotonic()


def test_a_gateway_is_killed_and_nobody_is_there_to_mend_it(
    scenario: Scenario, flowing: dict[str, list[Traffic]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an operator: what a gateway had is lost with it, what comes later is not."""
    _phase(flowing, "operator away")
    scenario.kubectl("-n", OPERATORS, "scale", f"deployment/{DEPLOYMENT}", "--replicas=0")
    try:
        scenario.until(lambda: not scenario.operators.pods(), "the operator is away")
        _flows_on(scenario, flowing)
        _phase(flowing, "a gateway killed")
        victim = gateways(scenario, CALM)[0]["metadata"]["name"]
        scenario.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
        began = [seen.now for seen in flowing[CALM]]
        scenario.until(lambda: len(gateways(scenario, CALM)) == 2, "it is made anew", timeout=30)
        time.sleep(_KILLED)
        _flows_on(scenario, flowing)
    finally:
        scenario.kubectl("-n", OPERATORS, "scale", f"deployment/{DEPLOYMENT}", "--replicas=1")
        scenario.operators.wait_ready()
    lost = [each for seen in flowing[CALM] for each in seen.losses]
    late = [
        str(each)
        for seen, killed in zip(flowing[CALM], began, strict=True)
        for each in seen.losses
        if each.began > killed + _KILLED
    ]
    with capsys.disabled():
        print(f"\na gateway of two killed: {len(lost)} requests lost with it")
    assert not late, "\n".join(late)


@pytest.mark.usefixtures("keys_changed")
@pytest.mark.parametrize("wave", range(len(_WAVES)))
def test_routes_change_and_gateways_are_replaced(
    scenario: Scenario, flowing: dict[str, list[Traffic]], wave: int
) -> None:
    _phase(flowing, f"{2 * len(CHANGING)} changes ({wave + 1})")
    before = {name: _revision(scenario, name) for name in CHANGING}
    began = time.monotonic()
    for change in _WAVES[wave]:
        for name in CHANGING:
            scenario.kube.patch("AgentRoute", name, scenario.namespace, {"spec": change})
        time.sleep(2)
    wait_ready(scenario, *CHANGING, timeout=_ROLLED_OUT)
    print(f"wave {wave + 1}: {time.monotonic() - began:.0f} s")
    assert all(_revision(scenario, name) != before[name] for name in CHANGING)
    _flows_on(scenario, flowing)
    for name in CHANGING:
        for seen in flowing[name]:
            seen.assert_nothing_lost()


def _revision(scenario: Scenario, name: str) -> str:
    return str(status(scenario, name)["revision"])


def test_keys_come_and_go_without_a_restart(
    scenario: Scenario, keys_changed: float, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = gateways(scenario, CALM)
    with route(scenario, CALM) as calm:
        carol, bob = Route(calm.address, "sk-carol"), Route(calm.address, "sk-bob")

        def known() -> bool:
            # Several times, so that both gateways are asked.
            answers = {(carol.get("/v1/models").status_code, bob.get("/v1/models").status_code) for _ in range(8)}
            return answers == {(200, 401)}

        scenario.until(known, "carol is let in and bob is not", timeout=keys_changed + _KEYS_KNOWN - time.monotonic())
    with capsys.disabled():
        print(f"\nkeys were known after {time.monotonic() - keys_changed:.0f} s at most")
    assert [pod["metadata"]["uid"] for pod in gateways(scenario, CALM)] == [pod["metadata"]["uid"] for pod in pods]
    assert not any(each["restartCount"] for pod in pods for each in pod["status"]["containerStatuses"])


def test_counts(flowing: dict[str, list[Traffic]], capsys: pytest.CaptureFixture[str]) -> None:
    every = [seen for both in flowing.values() for seen in both]
    for seen in every:
        seen.stop()
    for seen in every:
        seen.end()
    with capsys.disabled():
        print(f"\n{table(*every)}")
    for name in CHANGING:
        for seen in flowing[name]:
            seen.assert_nothing_lost()
    for seen in flowing[CALM]:
        late = [str(each) for each in seen.losses if "changes" in each.phase]
        assert not late, "\n".join(late)
