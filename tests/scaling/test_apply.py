"""From a decision to replicas, in mode Apply."""

from datetime import timedelta

import pytest

from agentfleet.errors import Transient
from tests.scaling.world import APPLY, ScalingWorld
from tests.world import KEY


async def test_apply_begins_with_the_replicas_of_the_spec_within_its_bounds(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY | {"minReplicas": 2})
    assert (world.replicas, world.scaling["desired"], world.scaling["mode"]) == (2, 2, "Apply")


async def test_apply_follows_the_loop_out_and_in(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    assert (world.replicas, world.scaling["desired"]) == (4, 4)
    assert (world.decision["action"], world.decision["from"], world.decision["to"]) == ("scale_out", 1, 4)
    assert (world.decision["state"], world.decision["inputs"]) == ("Applied", {"demand": "3.21"})
    await world.decide(2)
    assert world.replicas == 2
    assert [(each["from"], each["to"], each["state"]) for each in world.scaling["history"]] == [
        (4, 2, "Applied"),
        (1, 4, "Applied"),
    ]
    assert ("Normal", "ScaledOut") in world.events()
    assert ("Normal", "ScaledIn") in world.events()


async def test_scaling_is_no_rollout_and_ready_stays(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.script.target = 5
    await world.tick()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") is None
    assert world.condition("ScalingActive") == ("True", "ScalingApplied")
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_the_decision_is_in_status_before_the_replicas_change(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.cluster.writes.clear()
    await world.decide(3)
    verbs = [(verb, key.kind) for verb, key in world.cluster.writes]
    assert verbs.index(("apply_status", "ModelServer")) < verbs.index(("scale", "Deployment"))


async def test_a_restarted_operator_keeps_the_replicas(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(5)
    await world.settle()
    world.script.target = None
    world.start()
    await world.reconcile(KEY)
    await world.tick()
    await world.tick()
    assert world.replicas == 5
    assert world.cluster.writes == []


async def test_status_that_was_lost_costs_no_replica(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(5)
    world.cluster.patch_status(KEY, {})
    world.start()
    await world.settle()
    assert (world.replicas, world.scaling["desired"]) == (5, 5)


async def test_a_write_that_failed_is_made_up_for(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.cluster.fail = lambda verb, key: Transient("503") if verb == "scale" else None
    with pytest.raises(Transient):
        await world.decide(3)
    world.cluster.fail = lambda verb, key: None
    await world.settle()
    assert world.replicas == 3
    assert len(world.scaling["history"]) == 1


async def test_advice_is_acted_on_once(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(3)
    for _ in range(3):
        await world.reconcile(KEY)
    assert (world.replicas, len(world.scaling["history"])) == (3, 1)


async def test_old_advice_is_not_acted_on(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.script.target = 3
    world.now += timedelta(seconds=5)
    await world.loop.tick()
    world.now += timedelta(minutes=1)
    await world.reconcile(KEY)
    assert world.replicas == 1


async def test_a_spec_that_cannot_be_acted_on_holds_the_number(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    world.apply(replicas=1, scaling=APPLY, extraArgs=["--no-such-flag", "--port=1"])
    await world.reconcile(KEY)
    assert world.condition("Stalled") is not None
    await world.decide(4, ticks=3)
    assert (world.replicas, world.scaling["desired"]) == (1, 1)
    assert world.enqueued == []
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_history_is_of_twenty_changes(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    for number in range(25):
        await world.decide(2 + number % 2)
    assert len(world.scaling["history"]) == 20
