"""Pods that began with a variable that has changed since are replaced, once, and not again by a restart."""

from typing import Any

import pytest

from tests.reconcilers.agents import AgentWorld

ENV = [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}}]
SAYS_SO = {"ready": True, "problems": {}, "changed": ["API_KEY"]}
WELL = {"ready": True, "problems": {}, "changed": []}
RENEWED = "agentfleet.dev/environment-renewed"


@pytest.fixture
async def world() -> AgentWorld:
    """An Agent whose pods serve."""
    found = AgentWorld()
    found.agent(runtime={"env": ENV})
    found.answers["helper-agent-0"] = WELL
    await found.settle()
    return found


def renewed(world: AgentWorld) -> str | None:
    value: str | None = world.template()["metadata"].get("annotations", {}).get(RENEWED)
    return value


async def told(world: AgentWorld, answer: dict[str, Any]) -> None:
    """Pods answer, and the operator has worked on it."""
    world.answers["helper-agent-0"] = answer
    for _ in range(3):
        if await world.once() != 0:
            return
    raise AssertionError("it comes to no rest")


async def test_pods_that_tell_of_a_changed_variable_are_replaced(world: AgentWorld) -> None:
    before = world.status["revision"]
    assert renewed(world) is None
    await told(world, SAYS_SO)
    assert renewed(world) is not None
    assert world.template()["metadata"]["labels"]["agentfleet.dev/revision"] != before
    assert world.condition("Reconciling") == ("True", "RollingOut")
    world.answers["helper-agent-0"] = WELL
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_what_was_renewed_stays_so(world: AgentWorld) -> None:
    await told(world, SAYS_SO)
    first = renewed(world)
    world.answers["helper-agent-0"] = WELL
    await world.settle()
    world.start()
    world.later(3600)
    world.cluster.writes.clear()
    await world.once()
    assert (renewed(world), world.cluster.writes) == (first, [])


async def test_pods_of_the_former_revision_are_not_heard_again(world: AgentWorld) -> None:
    await told(world, SAYS_SO)
    first = renewed(world)
    world.later(600)
    await told(world, SAYS_SO)  # the Deployment has made no new pods yet
    assert renewed(world) == first


async def test_who_always_says_so_is_replaced_every_five_minutes_at_most(world: AgentWorld) -> None:
    await told(world, SAYS_SO)
    first = renewed(world)
    world.run_deployment()
    world.later(60)
    await told(world, SAYS_SO)
    assert renewed(world) == first
    world.later(240)
    await told(world, SAYS_SO)
    assert renewed(world) != first


@pytest.mark.parametrize("changed", [None, "API_KEY", 7, {}, [], [None], [""]])
async def test_an_image_of_the_users_own_may_answer_anything(world: AgentWorld, changed: Any) -> None:
    await told(world, WELL | {"changed": changed})
    assert renewed(world) is None


async def test_an_agent_without_such_variables_is_left_alone(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    world.cluster.writes.clear()
    await told(world, SAYS_SO)
    world.later(60)
    await told(world, SAYS_SO)
    assert world.cluster.writes == []
