"""cli/server.py: what is read from a ModelServer, whatever it lacks."""

import pytest

from agentfleet.cli.seen import Trouble
from agentfleet.cli.server import Server, change_text
from agentfleet.objects import Manifest
from tests.cli.servers import DECISION, READY, condition, deciding, model_server


@pytest.mark.parametrize(
    ("spec", "scaling", "mode"),
    [
        ({}, {}, "Recommend"),
        ({"scaling": {"mode": "Apply"}}, {}, "Apply"),
        ({"scaling": {"mode": "Apply"}}, {"mode": "Recommend"}, "Recommend"),  # a conflict: the operator knows better
        ({"placement": {"mode": "PerNode"}}, {}, None),
        ({"engine": "External"}, {}, None),
    ],
)
def test_mode(spec: Manifest, scaling: Manifest, mode: str | None) -> None:
    assert Server(model_server(spec=spec, scaling=scaling)).mode == mode


def test_an_object_that_the_operator_has_not_seen() -> None:
    server = Server({"metadata": {"name": "a", "namespace": "b"}, "spec": {"engine": "VLLM"}})
    assert not server.is_healthy
    assert [trouble.reason for trouble in server.troubles] == ["NotSeen"]
    assert (server.wanted, server.ready, server.demand, server.requests_per_second) == (1, 0, None, None)


@pytest.mark.parametrize(
    ("found", "troubled"),
    [
        (READY, False),
        (condition("Ready", "False"), True),
        (condition("Ready", "Unknown"), True),
        (condition("Reconciling", "True"), False),
        (condition("Stalled", "True"), True),
        (condition("CapacityBlocked", "True"), True),
        (condition("CapacityBlocked", "False"), False),
        (condition("MetricsAvailable", "False", "MetricsMissing"), True),
        (condition("MetricsAvailable", "False", "MetricsStarting"), False),
        (condition("ScalingActive", "False", "ScalingManual"), False),
        (condition("ScalingActive", "False", "NoDemandSource"), True),
    ],
)
def test_troubles(found: Manifest, troubled: bool) -> None:
    server = Server(model_server(conditions=[found]))
    assert server.troubles == ([Trouble(found["type"], found["reason"], "")] if troubled else [])


def test_demand_of_the_decision_comes_before_that_of_the_report() -> None:
    report = {"requestsPerSecond": "3"}
    assert Server(model_server(report=report)).demand == 3
    assert Server(deciding() | {"status": deciding()["status"] | {"report": report}}).demand == 12.1


def test_goal() -> None:
    assert Server(model_server()).goal == (2.0, 0.1)
    assert Server(model_server(spec={"scaling": {"slo": {"timeToFirstToken": "500ms"}}})).goal == (0.5, 0.1)


def test_change_text() -> None:
    assert change_text(DECISION) == "scale_out 2 → 4"
    assert change_text(DECISION | {"action": "hold"}) == "hold"
