"""What an Agent's spec.scaling asks of the scaling loop, and what else may write its replicas."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agentfleet.objects import Key, Manifest, parent_of
from agentfleet.planning.agent_observed import AgentObserved
from agentfleet.planning.agent_scaling import agent_goal, settle_agent, subject, target_concurrency
from agentfleet.resources.agent_status import AgentStatus
from tests.agents import agent
from tests.builders import NAMESPACE

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def deployment(replicas: int) -> Manifest:
    metadata = {"name": "helper-agent", "namespace": NAMESPACE, "uid": "d", "labels": {}}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


def hpa(name: str, kind: str = "Deployment", version: str = "apps/v1") -> Manifest:
    reference = {"apiVersion": version, "kind": kind, "name": name}
    metadata = {"name": "foreign", "namespace": NAMESPACE}
    return {"kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": {"scaleTargetRef": reference}}


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ({}, 8),
        ({"concurrency": {"max": 100}}, 80),
        ({"concurrency": {"max": 1}}, 1),
        ({"concurrency": {"max": 100}, "scaling": {"targetConcurrency": 3}}, 3),
    ],
)
def test_what_one_replica_shall_have(spec: dict[str, Any], target: int) -> None:
    assert target_concurrency(agent(**spec)) == target


@pytest.mark.parametrize(
    ("scaling", "bounds"),
    [
        (None, (1, 1)),
        ({"minReplicas": 3}, (3, 3)),
        ({"minReplicas": 0}, (0, 1)),
        ({"maxReplicas": 5}, (1, 5)),
    ],
)
def test_bounds(scaling: dict[str, Any] | None, bounds: tuple[int, int]) -> None:
    goal = agent_goal(agent(scaling=scaling) if scaling else agent())
    assert (goal.minimum, goal.maximum) == bounds


def test_windows_and_pauses_are_those_of_the_loop() -> None:
    asked = agent(
        scaling={
            "maxReplicas": 5,
            "minReplicas": 0,
            "scaleToZeroAfter": "1m",
            "stabilization": {"out": "5s", "in": "1m"},
            "pause": {"in": True},
        }
    )
    goal = agent_goal(asked)
    assert (goal.stabilization_out, goal.stabilization_in, goal.to_zero_after) == (5.0, 60.0, 60.0)
    assert (goal.pause_in, goal.pause_out, goal.load_factor) == (True, False, 1.0)
    assert subject(asked).engine == "Agent"
    assert subject(agent()) == subject(agent(instructions="Be kind.")), "equal bounds are equal to the loop"


def test_what_runs_stays_where_the_loop_takes_over() -> None:
    asked = agent(scaling={"maxReplicas": 5})
    assert settle_agent(asked, AgentStatus(), AgentObserved(), None, NOW).replicas == 1
    running = AgentObserved(children=(deployment(4),))
    assert settle_agent(asked, AgentStatus(), running, None, NOW).replicas == 4


def test_another_autoscaler_on_the_deployment_is_told_and_nothing_is_decided() -> None:
    asked = agent(scaling={"maxReplicas": 5})
    seen = AgentObserved(children=(deployment(2),), autoscalers=(hpa("helper-agent"),))
    settled = settle_agent(asked, AgentStatus(), seen, None, NOW)
    status, reason, message = settled.conditions["ConflictingAutoscaler"]
    assert (status, reason) == ("True", "OtherAutoscaler")
    assert "Deployment helper-agent, whose replicas are this Agent's" in message
    assert settled.mode == "Recommend"
    assert settled.replicas == 2


@pytest.mark.parametrize(
    ("autoscaler", "parent"),
    [
        (hpa("helper-agent"), Key("Agent", NAMESPACE, "helper")),
        (hpa("helper", "Agent", "agentfleet.dev/v1alpha1"), Key("Agent", NAMESPACE, "helper")),
        (hpa("phi-model-0123abcd"), Key("ModelServer", NAMESPACE, "phi")),
        (hpa("-agent"), None),
        (hpa("web"), None),
    ],
)
def test_whose_replicas_an_autoscaler_writes(autoscaler: Manifest, parent: Key | None) -> None:
    assert parent_of(autoscaler) == parent
