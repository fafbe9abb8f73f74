"""Advice without acting on it, and who takes over from whom."""

from datetime import timedelta

from tests.scaling.world import APPLY, ScalingWorld
from tests.world import KEY

# --- Manual and Recommend --------------------------------------------------------------------------------------------


async def test_recommend_is_the_default_and_says_what_it_would_do(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    assert (world.replicas, world.scaling["desired"], world.scaling["mode"]) == (1, 1, "Recommend")
    assert (world.decision["state"], world.decision["to"]) == ("Recommended", 3)
    assert world.condition("ScalingActive") == ("True", "ScalingRecommended")
    assert ("Normal", "ScalingRecommended") in world.events()


async def test_a_recommendation_keeps_its_id_while_it_is_repeated(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    first = world.decision
    await world.decide(3, ticks=20)
    assert world.decision == first
    assert world.events().count(("Normal", "ScalingRecommended")) == 1


async def test_a_wish_that_wavers_keeps_its_id_for_a_minute(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    first = world.decision["id"]
    await world.decide(4, ticks=3)
    await world.decide(1, ticks=3)
    assert world.decision["id"] == first
    await world.decide(4, ticks=14)
    assert (world.decision["to"], world.decision["state"]) == (4, "Recommended")
    assert world.decision["id"] != first
    assert not world.scaling["history"]  # the same advice with another number is no change


async def test_advice_of_a_former_spec_is_not_followed(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(4)
    world.apply(replicas=1, scaling={"mode": "Apply", "maxReplicas": 2})
    await world.settle()
    assert world.replicas == 1
    await world.decide(2)
    assert world.replicas == 2


async def test_a_wish_that_goes_back_and_forth_writes_no_status(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    first = world.decision["id"]
    for target in (4, 3) * 12:
        await world.decide(target)
    assert world.decision["id"] == first


async def test_a_recommendation_that_is_called_for_no_longer_is_withdrawn(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    await world.decide(1, ticks=14, binding="Enough")
    assert world.decision["state"] == "Holding"
    assert [each["state"] for each in world.scaling["history"]] == ["Superseded"]


async def test_a_recommendation_that_somebody_followed_is_applied(world: ScalingWorld) -> None:
    await world.run(replicas=1)
    await world.decide(3)
    world.apply(replicas=3)
    await world.settle()
    assert (world.replicas, world.decision["state"]) == (3, "Applied")


async def test_manual_gives_no_advice(world: ScalingWorld) -> None:
    await world.run(replicas=2, scaling={"mode": "Manual"})
    await world.decide(5)
    assert world.replicas == 2
    assert "decision" not in world.scaling
    assert world.condition("ScalingActive") == ("False", "ScalingManual")
    assert world.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_a_server_that_was_taken_to_zero_by_hand_is_left_there(world: ScalingWorld) -> None:
    await world.run(replicas=0)
    assert world.condition("Ready") == ("True", "ScaledToZero")
    assert (world.script.situations[-1].minimum, world.script.situations[-1].maximum) == (0, 8)
    assert world.condition("ScalingActive") == ("True", "ScalingRecommended")


# --- taking over and handing back ------------------------------------------------------------------------------------


async def test_apply_takes_over_what_there_is(world: ScalingWorld) -> None:
    await world.run(replicas=5)
    world.apply(replicas=1, scaling=APPLY)
    world.cluster.writes.clear()
    world.apply(replicas=5, scaling=APPLY)
    await world.settle()
    assert world.replicas == 5
    assert not [write for write in world.cluster.writes if write[0] == "scale"]


async def test_leaving_apply_holds_until_somebody_sets_replicas(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=1, scaling={"mode": "Recommend"})
    await world.settle()
    assert (world.replicas, world.scaling["handedBack"]["specReplicas"]) == (4, 1)
    world.now += timedelta(minutes=9)
    await world.reconcile(KEY)
    assert world.replicas == 4
    world.apply(replicas=6, scaling={"mode": "Recommend"})
    await world.settle()
    assert (world.replicas, "handedBack" in world.scaling) == (6, False)


async def test_leaving_apply_ends_after_ten_minutes(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=1, scaling={"mode": "Manual"})
    after = await world.reconcile(KEY)
    assert after is not None
    assert after <= 600
    world.now += timedelta(minutes=10)
    await world.settle()
    assert (world.replicas, "handedBack" in world.scaling) == (1, False)


async def test_who_leaves_apply_with_another_number_gets_it(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=2, scaling={"mode": "Manual"})
    await world.settle()
    assert world.replicas == 2


async def test_back_into_apply_within_the_ten_minutes(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.apply(replicas=1, scaling={"mode": "Manual"})
    await world.settle()
    world.apply(replicas=1, scaling=APPLY)
    await world.settle()
    assert (world.replicas, world.scaling["desired"], "handedBack" in world.scaling) == (4, 4, False)
