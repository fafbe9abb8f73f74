"""The small pure parts around a decision: goals, budgets, victims, capacity in status, other autoscalers, decimals."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.autoscale.decision import Goal, Learnt, Step
from agentfleet.objects import DELETION_COST, GROUP, Key, Manifest, parent_of
from agentfleet.planning.autoscalers import conflict_of
from agentfleet.planning.budget import Allowance, allowance, budget_of
from agentfleet.planning.decimals import decimal
from agentfleet.planning.learnt import capacity_status, learnt_before
from agentfleet.planning.observed import Observed
from agentfleet.planning.scaling_goal import goal_of
from agentfleet.planning.scaling_types import Standing
from agentfleet.planning.vertical import spec_tensor, with_tensor
from agentfleet.planning.victims import victims
from tests.builders import NAMESPACE, server


@pytest.mark.parametrize(
    ("spec", "goal"),
    [
        ({}, Goal()),
        ({"replicas": 12}, Goal(maximum=12)),
        ({"replicas": 0}, Goal(minimum=0)),
        ({"replicas": 0, "scaling": {"mode": "Apply", "maxReplicas": 3}}, Goal(minimum=1, maximum=3)),
        ({"scaling": {"minReplicas": 0, "maxReplicas": 2, "scaleToZeroAfter": "5m"}}, Goal(0, 2, to_zero_after=300.0)),
        ({"scaling": {"minReplicas": 20}}, Goal(20, 20)),
        ({"scaling": {"slo": {"timeToFirstToken": "500ms", "timePerOutputToken": "30ms"}}}, Goal(1, 8, 0.5, 0.03)),
        ({"scaling": {"loadFactorPercent": 70, "maxStep": 2}}, Goal(load_factor=0.7, max_step=2)),
        ({"scaling": {"loadFactorPercent": "Auto"}}, Goal()),
        (
            {"scaling": {"stabilization": {"out": "10s", "in": "0s"}, "pause": {"out": True}}},
            Goal(stabilization_out=10.0, stabilization_in=0.0, pause_out=True),
        ),
        ({"scaling": {"pause": {"in": True}, "vertical": {"maxTensor": 8}}}, Goal(pause_in=True, max_tensor=8)),
    ],
)
def test_goals(spec: dict[str, Any], goal: Goal) -> None:
    assert goal_of(server(**spec)) == goal


# --- budgets ---------------------------------------------------------------------------------------------------------


def standing(gpus: int | None, max_gpus: int | None = None) -> Standing:
    return Standing("u", server().spec, "Apply", 2, "1", Goal(), gpus=gpus, max_gpus=max_gpus)


@pytest.mark.parametrize(
    ("gpus", "max_gpus", "budget", "others", "expected"),
    [
        (1, None, None, None, Allowance(None)),
        (0, 4, 4, None, Allowance(None)),
        (2, 9, None, None, Allowance(4)),
        (2, 2, None, None, Allowance(2)),  # what there is stays
        (1, None, 8, 5, Allowance(3)),
        (1, 20, 8, 5, Allowance(3)),
        (1, 3, 80, 5, Allowance(3)),
        (1, None, 8, 9, Allowance(2)),
        (1, None, 8, None, Allowance(2, known=False)),
        (None, 8, None, None, Allowance(2, known=False)),
        (None, None, None, None, Allowance(None)),
    ],
)
def test_allowance(
    gpus: int | None, max_gpus: int | None, budget: int | None, others: int | None, expected: Allowance
) -> None:
    assert allowance(standing(gpus, max_gpus), 2, budget, others) == expected


def test_budgets_by_namespace() -> None:
    assert [budget_of(name, {"a": 0, "*": 8}) for name in ("a", "b")] == [0, 8]
    assert budget_of("b", {"a": 1}) is None


# --- victims ---------------------------------------------------------------------------------------------------------

WORKLOAD = Key("Deployment", NAMESPACE, "phi-model-1")


def pod(name: str, *, ready: bool = True, made: int = 0, cost: str | None = None) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": NAMESPACE, "uid": name, "labels": {"agentfleet.dev/revision": "1"}}
    metadata["creationTimestamp"] = f"2026-11-21T10:00:{made:02}Z"
    if cost:
        metadata["annotations"] = {DELETION_COST: cost}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"kind": "Pod", "metadata": metadata, "status": {"conditions": conditions}}


def observed(*pods: Manifest, replicas: int | None = None) -> Observed:
    metadata = {"name": "phi-model-1", "namespace": NAMESPACE, "uid": "d", "labels": {"agentfleet.dev/revision": "1"}}
    spec = {"replicas": len(pods) if replicas is None else replicas}
    return Observed(deployments=({"kind": "Deployment", "metadata": metadata, "spec": spec},), pods=pods)


@pytest.mark.parametrize(
    ("pods", "replicas", "in_flight", "expected"),
    [
        ([pod("a"), pod("b"), pod("c")], 2, {"a": 3, "b": 0, "c": 1}, {"b": "-1"}),
        ([pod("a"), pod("b"), pod("c")], 1, {"a": 3, "b": 0, "c": 1}, {"b": "-1", "c": "-1"}),
        ([pod("a"), pod("b", ready=False), pod("c")], 2, {"a": 3, "c": 1}, {}),
        ([pod("a"), pod("b")], 1, {"a": 1}, {"a": "-1"}),
        ([pod("a", made=1), pod("b", made=2)], 1, {"a": 0, "b": 0}, {"b": "-1"}),
        ([pod("a"), pod("b", cost="-1"), pod("c")], 2, {"a": 0, "b": 9, "c": 9}, {"a": "-1", "b": "0"}),
        ([pod("a"), pod("b", cost="-1")], 1, {"a": 9, "b": 0}, {}),
        ([pod("a"), pod("b")], 2, {}, {}),
        ([pod("a"), pod("b")], 0, {}, {}),
        ([pod("a"), pod("b")], 5, {}, {}),
    ],
    ids=[
        "idle",
        "two",
        "not ready goes first",
        "unknown is busy",
        "newest",
        "former mark",
        "marked",
        "none",
        "all",
        "out",
    ],
)
def test_victims(pods: list[Manifest], replicas: int, in_flight: dict[str, float], expected: dict[str, str]) -> None:
    found = victims(observed(*pods), WORKLOAD, replicas, in_flight)
    assert {pod["metadata"]["name"]: cost for pod, cost in found} == expected


# --- capacity in status ----------------------------------------------------------------------------------------------


def test_capacity_comes_back_as_it_was() -> None:
    learnt = Learnt(6.875, 120, 1_800_000_000.0, Step(0.0115, 0.000079, 5.12e-8), None, 1155.5, 211.0)
    status = capacity_status("k", learnt, None)
    assert learnt_before(status, "k") == Learnt(6.875, 120, 1_800_000_000.0, learnt.step, None, 1156.0, 211.0)
    assert learnt_before(status, "other") is None
    assert learnt_before(None, "k") is None


@pytest.mark.parametrize(("rate", "changes"), [(7.0, False), (7.5, False), (7.8, True), (6.2, True)])
def test_small_changes_of_capacity_are_not_told(rate: float, changes: bool) -> None:
    before = capacity_status("k", Learnt(7.0, 1, 0.0), None)
    assert (capacity_status("k", Learnt(rate, 2, 60.0), before) != before) is changes


def test_capacity_of_something_else_is_told_at_once() -> None:
    before = capacity_status("k", Learnt(7.0, 1, 0.0), None)
    after = capacity_status("other", Learnt(7.0, 1, 0.0), before)
    assert after is not None
    assert after.key == "other"
    assert capacity_status("other", None, before) == before


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_another_size_is_rolled_with_new_pods_first_unless_the_spec_says_how() -> None:
    plain = server("VLLM")
    assert with_tensor(plain, None) is plain
    assert (spec_tensor(plain), spec_tensor(server("VLLM", parallelism={"tensor": "Auto"}))) == ("1", "Auto")
    larger = with_tensor(plain, 2).spec
    assert larger.parallelism is not None
    assert larger.rollout is not None
    assert (larger.parallelism.tensor, larger.rollout.strategy) == (2, "Surge")
    explicit = with_tensor(server("VLLM", rollout={"strategy": "NoSurge"}), 2).spec
    assert explicit.rollout is not None
    assert explicit.rollout.strategy == "NoSurge"


# --- other autoscalers -----------------------------------------------------------------------------------------------


def autoscaler(
    kind: str, name: str, version: str = f"{GROUP}/v1alpha1", by: str = "HorizontalPodAutoscaler"
) -> Manifest:
    target = {"apiVersion": version, "kind": kind, "name": name}
    return {"kind": by, "metadata": {"name": "x", "namespace": "demo"}, "spec": {"scaleTargetRef": target}}


@pytest.mark.parametrize(
    ("manifest", "parent"),
    [
        (autoscaler("ModelServer", "phi"), "phi"),
        (autoscaler("ModelServer", "phi", by="ScaledObject"), "phi"),
        (autoscaler("ModelServer", "phi", "serving.other.dev/v1"), None),
        (autoscaler("Deployment", "phi-model-0123abcd", "apps/v1"), "phi"),
        (autoscaler("LeaderWorkerSet", "phi-0123abcd", "leaderworkerset.x-k8s.io/v1"), "phi"),
        (autoscaler("Deployment", "web", "apps/v1"), None),
        ({"kind": "ScaledObject", "metadata": {"name": "x", "namespace": "demo"}, "spec": {}}, None),
    ],
)
def test_what_an_autoscaler_is_about(manifest: Manifest, parent: str | None) -> None:
    assert parent_of(manifest) == (Key("ModelServer", "demo", parent) if parent else None)


def test_keda_takes_a_deployment_where_no_kind_is_named() -> None:
    ours = observed(pod("a"))
    scaled = {"kind": "ScaledObject", "metadata": {"name": "x"}, "spec": {"scaleTargetRef": {"name": "phi-model-1"}}}
    conflict = conflict_of(server(), Observed(deployments=ours.deployments, autoscalers=(scaled,)))
    assert str(conflict) == "ScaledObject x scales Deployment phi-model-1, whose replicas are this ModelServer's"


# --- decimals --------------------------------------------------------------------------------------------------------


@given(st.floats())
def test_decimals_are_what_the_contract_takes(value: float) -> None:
    text = decimal(value)
    if text is None:
        return
    assert len(text) <= 32
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=1e-3, abs=1e-300)
