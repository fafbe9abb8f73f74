"""Beside an HPA or KEDA."""

from agentfleet.objects import Key, Manifest
from tests.builders import NAMESPACE
from tests.scaling.world import APPLY, ScalingWorld
from tests.world import meta

HPA = Key("HorizontalPodAutoscaler", NAMESPACE, "hpa")


def hpa(kind: str = "ModelServer", name: str = "phi") -> Manifest:
    version = "agentfleet.dev/v1alpha1" if kind == "ModelServer" else "apps/v1"
    target = {"apiVersion": version, "kind": kind, "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta("hpa"),
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9},
    }


async def test_an_hpa_on_the_model_server_may_stay_outside_of_apply(world: ScalingWorld) -> None:
    world.cluster.put(hpa())
    await world.run(replicas=2)
    assert world.condition("ConflictingAutoscaler") is None


async def test_an_hpa_in_apply_is_a_conflict_and_only_advice_is_given(world: ScalingWorld) -> None:
    world.cluster.put(hpa())
    await world.run(replicas=2, scaling=APPLY)
    assert world.condition("ConflictingAutoscaler") == ("True", "OtherAutoscaler")
    await world.decide(5)
    assert (world.replicas, world.scaling["mode"], world.decision["state"]) == (2, "Recommend", "Recommended")
    await world.decide(2)
    world.cluster.remove(HPA)
    await world.settle()
    assert world.condition("ConflictingAutoscaler") is None
    assert (world.replicas, world.scaling["mode"]) == (2, "Apply")


async def test_an_hpa_that_comes_while_apply_is_in_force_causes_no_dip(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(4)
    world.script.target = None
    world.cluster.put(hpa())
    await world.settle()
    assert (world.replicas, world.scaling["handedBack"]["replicas"]) == (4, 4)
    world.apply(replicas=5, scaling=APPLY)  # the HPA writes /scale
    await world.settle()
    assert world.replicas == 5


async def test_an_hpa_on_our_deployment_is_always_a_conflict(world: ScalingWorld) -> None:
    await world.run(replicas=2)
    [name] = world.deployments()
    world.cluster.put(hpa("Deployment", name))
    await world.settle()
    assert world.condition("ConflictingAutoscaler") == ("True", "OtherAutoscaler")
    world.cluster.put(hpa("Deployment", "phi-model-00000000"))
    await world.settle()
    assert world.condition("ConflictingAutoscaler") is None


async def test_a_scaled_object_of_keda_counts_too(world: ScalingWorld) -> None:
    target = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "name": "phi"}
    scaled = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta("keda")}
    world.cluster.put(scaled | {"spec": {"scaleTargetRef": target}})
    await world.run(replicas=2, scaling=APPLY)
    assert world.condition("ConflictingAutoscaler") == ("True", "OtherAutoscaler")
