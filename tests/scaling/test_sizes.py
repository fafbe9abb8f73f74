"""Larger and smaller replicas, and what is not scaled."""

from datetime import timedelta
from typing import Any

import pytest

from agentfleet.objects import Manifest
from tests.scaling.world import APPLY, ScalingWorld
from tests.world import KEY, meta

# --- larger and smaller replicas -------------------------------------------------------------------------------------

FACTS = {"attentionHeads": 32, "kvHeads": 8, "layers": 32, "hiddenSize": 4096, "parameters": 8000000000}
VERTICAL = {"vertical": {"mode": "Apply", "maxTensor": 4}}


def node() -> Manifest:
    status = {
        "allocatable": {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    labels = {"nvidia.com/gpu.memory": "81920"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "gpu", "labels": labels},
        "spec": {},
        "status": status,
    }


async def vertical_world(**scaling: Any) -> ScalingWorld:
    world = ScalingWorld()
    world.cluster.put(node())
    model = {"uri": "hf://acme/chat-8b@main", "facts": FACTS}
    await world.run("VLLM", replicas=2, model=model, parallelism={"tensor": "Auto"}, scaling=scaling)
    return world


async def test_a_larger_size_is_recommended_by_default() -> None:
    world = await vertical_world()
    assert world.script.situations[-1].tensors == (1, 2, 4)
    world.script.tensor = 2
    await world.tick()
    assert (world.decision["action"], world.decision["from"], world.decision["to"]) == ("scale_up", 1, 2)
    assert (world.decision["state"], "tensor" in world.scaling) == ("Recommended", False)


async def test_a_larger_size_is_rolled_out_with_new_pods_first_and_not_again_at_once() -> None:
    world = await vertical_world(**VERTICAL)
    [before] = world.deployments()
    world.script.tensor = 2
    await world.tick()
    assert (world.scaling["tensor"], world.decision["state"]) == (2, "Applied")
    assert world.deployments()[before] == 2
    assert world.status["rollout"]["strategy"] == "Surge"
    await world.settle()
    [after] = world.deployments()
    assert after != before
    assert world.status["plan"]["tensor"] == 2
    world.script.tensor = 4
    for _ in range(5):
        await world.tick()
    assert world.scaling["tensor"] == 2
    world.now += timedelta(minutes=30)
    await world.tick()
    await world.settle()
    assert world.scaling["tensor"] == 4


async def test_another_size_in_the_spec_ends_the_chosen_one() -> None:
    world = await vertical_world(**VERTICAL)
    world.script.tensor = 2
    await world.tick()
    await world.settle()
    world.script.tensor = None
    model = {"uri": "hf://acme/chat-8b@main", "facts": FACTS}
    world.apply("VLLM", replicas=2, model=model, parallelism={"tensor": 4}, scaling=VERTICAL)
    await world.settle()
    assert (world.status["plan"]["tensor"], "tensor" in world.scaling) == (4, False)


async def test_a_size_may_be_chosen_though_the_spec_names_another() -> None:
    world = ScalingWorld()
    world.cluster.put(node())
    model = {"uri": "hf://acme/chat-8b@main", "facts": FACTS}
    await world.run("VLLM", replicas=1, model=model)
    assert world.script.situations[-1].tensors == ()
    world.apply("VLLM", replicas=1, model=model, scaling=VERTICAL)
    await world.settle()
    await world.tick()
    assert world.script.situations[-1].tensors == (1, 2, 4)


# --- what is not scaled ----------------------------------------------------------------------------------------------


async def test_pods_of_every_node_are_watched_and_not_scaled(world: ScalingWorld) -> None:
    await world.run(placement={"mode": "PerNode"}, scaling=APPLY)
    assert world.condition("MetricsAvailable") is not None
    assert world.condition("ScalingActive") is None
    assert "scaling" not in world.status


async def test_endpoints_outside_are_neither(world: ScalingWorld) -> None:
    spec = {"engine": "External", "external": {"url": "https://api.example.com/v1", "model": "m"}}
    metadata = meta("phi") | {"uid": "external"}
    world.cluster.put(
        {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "metadata": metadata, "spec": spec}
    )
    await world.reconcile(KEY)
    await world.tick()
    assert world.condition("MetricsAvailable") is None
    assert "scaling" not in world.status
    assert world.loop.advice(KEY, "external") is None


async def test_a_scheduled_minimum_reaches_the_loop(world: ScalingWorld) -> None:
    window = {"cron": "0 10 * * *", "duration": "1h", "minReplicas": 3}
    await world.run(replicas=1, scaling=APPLY | {"schedule": [window]})
    await world.tick()
    assert (world.script.situations[-1].minimum, world.script.situations[-1].scheduled) == (3, True)
    assert world.replicas == 3
    world.now += timedelta(hours=1)
    await world.tick()
    assert (world.script.situations[-1].minimum, world.script.situations[-1].scheduled) == (1, False)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"cron": "0 8 * * 1-8", "duration": "1h"}, "scaling.schedule[0].cron: '0 8 * * 1-8' is no cron expression"),
        ({"cron": "0 8 30 2 *", "duration": "1h"}, "Bad day-of-month"),
        ({"cron": "0 8 * * *", "duration": "1h", "timeZone": "Mars/X"}, "scaling.schedule[0].timeZone: 'Mars/X'"),
    ],
)
async def test_a_schedule_that_cannot_be_read_is_stalled(world: ScalingWorld, window: Any, words: str) -> None:
    await world.run(replicas=2, scaling=APPLY)
    world.apply(replicas=2, scaling=APPLY | {"schedule": [window]})
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    [message] = [each["message"] for each in world.status["conditions"] if each["type"] == "Stalled"]
    assert words in message
    assert world.replicas == 2
