"""What holds the loop up."""

import copy

import pytest

from agentfleet.autoscale.decision import Health
from agentfleet.objects import Key, Manifest
from tests.builders import NAMESPACE
from tests.scaling.world import APPLY, ScalingWorld
from tests.world import KEY, meta

# --- what holds the loop up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("binding", "reason"),
    [("Paused", "ScalingPaused"), ("ReversalBreaker", "ReversalBreaker"), ("Budget", "BudgetExceeded")],
)
async def test_what_blocks_is_said(world: ScalingWorld, binding: str, reason: str) -> None:
    await world.run(replicas=2, scaling=APPLY)
    world.script.unconstrained = 5
    await world.decide(2, binding=binding)
    assert world.condition("ScalingActive") == ("False", reason)
    assert (world.decision["state"], world.decision["binding"]) == ("Blocked", binding)
    world.script.unconstrained = 2
    await world.decide(2, binding="Enough")
    assert world.decision["state"] == "Blocked"  # at a budget the wish comes and goes with every few requests
    await world.decide(2, binding="Enough", ticks=36)
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    assert world.decision["state"] == "Holding"


@pytest.mark.parametrize(
    ("health", "condition"),
    [
        (Health("Missing", None, silent=("a",)), ("False", "MetricsMissing")),
        (Health("Stale", 20.0), ("False", "MetricsStale")),
        (Health("Partial", 3.0, silent=("a", "b")), ("False", "MetricsPartial")),
        (Health("Starting", None), ("Unknown", "MetricsStarting")),
        (Health("Fresh", 1.0, missing_metrics=("vllm:kv_cache_usage_perc",)), ("False", "MetricsRenamed")),
    ],
)
async def test_how_well_it_is_seen(world: ScalingWorld, health: Health, condition: tuple[str, str]) -> None:
    await world.run(replicas=2)
    world.script.health = health
    await world.tick()
    assert world.condition("MetricsAvailable") == condition
    assert (("Warning", condition[1]) in world.events()) is (condition[0] == "False")


async def test_a_replica_without_a_node_is_capacity_blocked(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    [name] = world.deployments()
    world.script.target = 2
    await world.tick()
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    reason = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    world.cluster.put(world.pod(deployment, f"{name}-1", conditions=[reason]))
    await world.reconcile(KEY)
    assert world.condition("CapacityBlocked") == ("True", "Unschedulable")
    await world.tick()
    [seen] = [each for each in world.script.last.ticks[-1].replicas if not each.ready]
    assert seen.problem == "Unschedulable"
    world.cluster.put(world.pod(deployment, f"{name}-1"))
    await world.reconcile(KEY)
    assert world.condition("CapacityBlocked") is None


async def test_replicas_that_the_quota_refuses_are_seen_as_stuck(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    [name] = world.deployments()
    world.script.target = 3
    await world.tick()
    refused = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota: q'}
    world.cluster.patch_status(Key("Deployment", NAMESPACE, name), {"replicas": 1, "conditions": [refused]})
    await world.reconcile(KEY)
    assert world.condition("CapacityBlocked") == ("True", "QuotaExceeded")
    await world.tick()
    problems = [each.problem for each in world.script.last.ticks[-1].replicas]
    assert problems == [None, "QuotaExceeded", "QuotaExceeded"]


async def test_zero_needs_a_source_of_demand(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY | {"minReplicas": 0})
    assert world.script.situations[-1].minimum == 1
    assert world.condition("ScalingActive") == ("True", "NoDemandSource")
    world.looks[KEY] = ({}, None, 1)
    await world.tick()
    assert world.script.situations[-1].minimum == 0
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    await world.decide(0)
    await world.settle()
    assert world.replicas == 0
    assert world.condition("Ready") == ("True", "ScaledToZero")


# --- budgets ---------------------------------------------------------------------------------------------------------


async def test_max_gpus_limits_what_is_added() -> None:
    world = ScalingWorld()
    await world.run("VLLM", replicas=1, scaling=APPLY | {"maxGpus": 5}, parallelism={"tensor": 2})
    await world.decide(8)
    assert world.script.situations[-1].affordable == 2
    assert world.replicas == 2


async def test_the_namespace_budget_counts_its_other_servers() -> None:
    world = ScalingWorld(gpu_budgets={"*": 4})
    await world.run("VLLM", replicas=1, scaling=APPLY)
    [name] = world.deployments()
    assert world.script.situations[-1].affordable == 4
    manifest: Manifest = copy.deepcopy(world.cluster.objects[KEY])
    manifest["metadata"] = meta("other") | {"uid": "other"}
    manifest["spec"] = {"engine": "VLLM", "model": {"uri": "hf://a/b@main"}, "replicas": 2}
    manifest.pop("status")
    world.cluster.put(manifest)
    await world.tick()
    assert world.script.situations[-1].affordable == 1, "unknown until it has been reconciled"
    await world.decide(3)
    assert world.deployments()[name] == 1
    await world.reconcile(Key("ModelServer", NAMESPACE, "other"))
    await world.decide(3)
    assert world.deployments()[name] == 2
