"""Two thousand generated specs, sound ones and garbage: the operator lives, answers each, and is idle again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from e2e.scenarios.kube import Refused
from e2e.scenarios.scenario import Scenario
from tests.specs import garbage, specs

_HOW_MANY = 2_000
_HOW_MANY_IN_FULL = 10_000
_CLIENTS = 8
_NO_NODE = {"nodeSelector": {"agentfleet.dev/no-such-node": "true"}}


def _generated(how_many: int) -> list[Any]:
    """Specs, the same in every run. Nearly all want no pods, and none fits a node: it is the operator that is tried."""
    found: list[Any] = []

    @given(specs() | garbage(), st.sampled_from([0] * 49 + [1]))
    @settings(
        max_examples=how_many,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def collect(spec: Any, most_replicas: int) -> None:
        found.append(_cheap(spec, most_replicas))

    collect()
    return found


def _cheap(spec: Any, most_replicas: int) -> Any:
    """`spec` with few pods, for which no node will do; what is of the wrong shape stays so."""
    if not isinstance(spec, dict):
        return spec
    replicas, placement = spec.get("replicas", 0), spec.get("placement", {})
    if type(replicas) is int and replicas >= 0:
        spec = {**spec, "replicas": min(replicas, most_replicas)}
    return {**spec, "placement": {**placement, **_NO_NODE}} if isinstance(placement, dict) else spec


@pytest.fixture(scope="module", autouse=True)
def restarts(scenario: Scenario) -> int:
    """Restarts of the operator before all this."""
    return scenario.operators.restarts()


@pytest.fixture(scope="module")
def accepted(scenario: Scenario, full: bool) -> set[str]:
    """Names of the ModelServers that the API server took."""
    results: Counter[int] = Counter()

    def post(item: tuple[int, Any]) -> Iterator[str]:
        index, spec = item
        name = f"generated-{index}"
        manifest = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "metadata": {"name": name}}
        try:
            scenario.kube.create("ModelServer", {**manifest, "spec": spec}, scenario.namespace)
        except Refused as error:
            results[error.status] += 1
            return
        results[201] += 1
        yield name

    found = _generated(_HOW_MANY_IN_FULL if full else _HOW_MANY)
    with ThreadPoolExecutor(_CLIENTS) as pool:
        names = {name for posted in pool.map(lambda item: list(post(item)), enumerate(found)) for name in posted}
    print(f"{len(found)} specs: {dict(results)}")
    assert set(results) <= {201, 400, 422}, "neither taken nor refused for what they are"
    return names


def test_a_good_part_is_accepted(accepted: set[str]) -> None:
    assert len(accepted) >= _HOW_MANY // 5


def test_each_accepted_one_gets_an_answer(scenario: Scenario, accepted: set[str]) -> None:
    def all_answered() -> bool:
        servers = scenario.kube.list("ModelServer", scenario.namespace)
        answered = {
            server["metadata"]["name"]
            for server in servers
            if server["status"].get("observedGeneration") == server["metadata"]["generation"]
        }
        return accepted <= answered

    scenario.until(all_answered, "every ModelServer has been observed", timeout=120)


def test_the_queue_is_empty_again(scenario: Scenario, accepted: set[str]) -> None:
    assert accepted
    scenario.until(lambda: scenario.operators.metric("agentfleet_queue_depth") == 0, "no key waits", timeout=60)
    assert scenario.operators.metric("agentfleet_reconciles_total", result="error") == 0


def test_the_operator_was_not_restarted(scenario: Scenario, restarts: int, accepted: set[str]) -> None:
    assert accepted
    assert scenario.operators.restarts() == restarts
    assert scenario.operators.is_ready()


def test_no_reason_is_an_internal_error(scenario: Scenario, accepted: set[str]) -> None:
    assert accepted
    reasons = Counter(
        condition["reason"]
        for server in scenario.kube.list("ModelServer", scenario.namespace)
        for condition in server["status"].get("conditions", ())
    )
    print(dict(reasons))
    assert "InternalError" not in reasons
