"""A human's word."""

from datetime import timedelta

from agentfleet.objects import APPROVE_ANNOTATION, REJECT_ANNOTATION
from tests.scaling.world import APPROVED, ScalingWorld
from tests.world import KEY


async def test_a_decision_waits_for_approval_and_is_applied_once(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3, ticks=5)
    assert (world.replicas, world.decision["state"]) == (1, "AwaitingApproval")
    assert world.condition("ScalingActive") == ("False", "AwaitingApproval")
    assert world.events().count(("Normal", "AwaitingApproval")) == 1
    world.annotate(APPROVE_ANNOTATION, world.decision["id"])
    await world.settle()
    assert (world.replicas, world.decision["state"]) == (3, "Applied")
    await world.decide(5)
    assert (world.replicas, world.decision["state"]) == (3, "AwaitingApproval")
    assert world.condition("ScalingActive") == ("False", "AwaitingApproval")


async def test_another_id_is_said_to_be_wrong(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3)
    world.annotate(APPROVE_ANNOTATION, "0123456789")
    await world.settle()
    assert world.replicas == 1
    assert world.condition("ScalingActive") == ("False", "ApprovalUnknown")


async def test_approval_expires_and_is_asked_for_again(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3)
    first = world.decision["id"]
    world.now += timedelta(minutes=11)
    await world.reconcile(KEY)
    assert world.decision["state"] == "Expired"
    await world.decide(3)
    assert (world.decision["state"], world.decision["id"] != first) == ("AwaitingApproval", True)
    world.annotate(APPROVE_ANNOTATION, first)
    await world.settle()
    assert (world.replicas, world.condition("ScalingActive")) == (1, ("False", "ApprovalUnknown"))


async def test_a_rejected_change_is_not_asked_for_again_before_its_time(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3)
    world.annotate(REJECT_ANNOTATION, world.decision["id"])
    await world.settle()
    assert world.decision["state"] == "Rejected"
    await world.decide(3, ticks=10)
    assert (world.replicas, world.decision["state"]) == (1, "Rejected")
    await world.decide(4)
    await world.decide(1, binding="Budget")
    assert world.decision["state"] == "Rejected"  # a number that wavers is no other question
    await world.decide(5)
    assert (world.decision["to"], world.decision["state"]) == (5, "AwaitingApproval")


async def test_an_approved_scale_in_waits_until_data_speaks_for_it_again(world: ScalingWorld) -> None:
    await world.run(replicas=3, scaling=APPROVED)
    await world.decide(1)
    waiting = world.decision["id"]
    await world.decide(3, binding="StaleData")
    world.annotate(APPROVE_ANNOTATION, waiting)
    await world.settle()
    assert world.replicas == 3
    await world.decide(1)
    assert world.replicas == 1


async def test_what_became_of_an_approved_change_is_in_history_too(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPROVED)
    await world.decide(3, ticks=3)
    world.annotate(APPROVE_ANNOTATION, world.decision["id"])
    await world.settle()
    world.script.says = "as foretold"
    await world.tick()
    assert world.scaling["history"][0]["verdict"] == "as foretold"
