"""What reconcile tells: conditions, progress, Events, and how GitOps tools read them."""

from datetime import timedelta

import pytest

from agentfleet.objects import Key, Manifest
from agentfleet.references import ANY_NODE
from tests.builders import NAMESPACE, manifest
from tests.world import KEY, World, without_status


@pytest.fixture
def world() -> World:
    return World()


async def test_an_unknown_site_is_told_with_the_sites_that_there_are(world: World) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "edge-1", "labels": {"topology.kubernetes.io/zone": "store-1"}},
    }
    world.cluster.put(node)
    world.apply(placement={"sites": ["store-9"]})
    await world.reconcile(KEY)
    [name] = world.deployments()
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    world.cluster.put(world.pod(deployment, f"{name}-0", conditions=[unschedulable]))
    await world.reconcile(KEY)
    assert world.condition("Reconciling") == ("True", "Unschedulable")
    assert "sites that there are: store-1" in str(world.status)
    assert world.references.parents(Key("Node", "", "edge-7")) == [KEY]
    assert ANY_NODE.kind == "Node"
    world.now += timedelta(minutes=31)
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "Unschedulable")


async def test_a_pod_that_crashes_later_is_no_rollout(world: World) -> None:
    world.apply()
    await world.settle()
    [pod] = [key for key in world.cluster.objects if key.kind == "Pod"]
    world.now += timedelta(hours=2)
    engine = {"name": "engine", "ready": False, "started": True, "restartCount": 0, "state": {"running": {}}}
    world.cluster.patch_status(
        pod, {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [engine]}
    )
    await world.reconcile(KEY)
    assert world.condition("Ready") == ("False", "ReplicasUnavailable")
    assert world.condition("Reconciling") is None
    assert world.condition("Stalled") is None, "a pod that has served is never late for its start"


async def test_one_crash_among_serving_pods_stalls_nothing(world: World) -> None:
    world.apply(replicas=3)
    await world.settle()
    pod = next(key for key in world.cluster.objects if key.kind == "Pod")
    ended = {"terminated": {"exitCode": 139, "message": "segmentation fault"}}
    engine = {"name": "engine", "ready": False, "restartCount": 1, "state": {"waiting": {}}, "lastState": ended}
    world.cluster.patch_status(
        pod, {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [engine]}
    )
    await world.reconcile(KEY)
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Stalled") is None


async def test_a_start_that_takes_too_long_is_told(world: World) -> None:
    world.apply(startupTimeout="2m")
    await world.reconcile(KEY)
    [name] = world.deployments()
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    engine = {"name": "engine", "ready": False, "started": False, "restartCount": 0, "state": {"running": {}}}
    world.cluster.put(world.pod(deployment, f"{name}-0", phase="Running", containerStatuses=[engine]))
    await world.reconcile(KEY)
    assert world.condition("Stalled") is None
    world.now += timedelta(minutes=3)
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "ProbeTimeout")


async def test_scaling_out_from_zero_is_no_alarm(world: World) -> None:
    world.apply(replicas=0)
    await world.settle()
    assert world.condition("ModelReady") == ("Unknown", "ScaledToZero")
    said = len(world.cluster.posted_events)
    world.apply(replicas=1)
    await world.reconcile(KEY)
    assert world.condition("Ready") == ("False", "WaitingForPods")
    assert world.condition("Reconciling") is None
    assert [event["type"] for event in world.cluster.posted_events[said:]] == []


async def test_going_back_halfway_is_a_rollout_too(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    world.apply(replicas=2, llamaCpp={"threads": 2})
    await world.reconcile(KEY)
    world.run_pods()
    world.apply(replicas=2)
    await world.reconcile(KEY)
    assert world.condition("Reconciling") == ("True", "RollingOut")
    await world.settle()
    assert world.condition("Reconciling") is None


async def test_an_answer_that_makes_no_sense_is_no_answer(world: World) -> None:
    world.apply()
    await world.reconcile(KEY)
    [name] = world.deployments()
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    world.cluster.put(world.pod(deployment, f"{name}-0", podIP="10.0.0.1", phase="Running"))
    for nonsense in ({"models": [{"name": "phi", "state": "Dreaming"}]}, {"models": "all"}, {"models": [1]}):
        world.answers[f"{name}-0"] = nonsense
        await world.reconcile(KEY)
        assert world.status["models"] == [{"name": "phi", "state": "Pending"}]


async def test_a_status_that_is_none_is_replaced(world: World) -> None:
    world.apply()
    world.cluster.patch_status(KEY, {"conditions": "none", "readyReplicas": -7})
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_progress_is_written_in_steps_of_ten(world: World) -> None:
    world.apply("Ollama")
    await world.reconcile(KEY)
    [name] = world.deployments()
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    world.cluster.put(world.pod(deployment, f"{name}-0", podIP="10.0.0.1", phase="Running"))
    writes = []
    for percent in range(100):
        world.answers[f"{name}-0"] = {"models": [{"name": "phi", "state": "Downloading", "progressPercent": percent}]}
        world.cluster.writes.clear()
        after = await world.reconcile(KEY)
        writes.append(len(world.cluster.writes))
    assert sum(writes) == 10
    assert after is not None
    assert world.status["models"] == [{"name": "phi", "state": "Downloading", "progressPercent": 90}]
    assert world.condition("ModelReady") == ("Unknown", "Downloading")


async def test_wording_alone_is_written_rarely(world: World) -> None:
    world.apply()
    await world.reconcile(KEY)
    [name] = world.deployments()
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]

    async def crash(words: str) -> int:
        ended = {"terminated": {"exitCode": 1, "message": words}}
        status = {"containerStatuses": [{"name": "engine", "ready": False, "state": ended}]}
        world.cluster.put(world.pod(deployment, f"{name}-0", **status))
        world.cluster.writes.clear()
        await world.reconcile(KEY)
        return len(world.cluster.writes)

    assert await crash("address 0x1") == 1
    assert await crash("address 0x2") == 0
    assert await crash("address 0x3") == 0
    world.now += timedelta(seconds=301)
    assert await crash("address 0x4") == 1


async def test_events_tell_of_changes_once(world: World) -> None:
    world.apply()
    await world.settle()
    said = [event["reason"] for event in world.cluster.posted_events]
    assert said == ["Serving", "RolledOut"]
    world.apply(serviceAccountName="admin")
    await world.reconcile(KEY)
    await world.reconcile(KEY)
    world.apply()
    await world.settle()
    said = [event["reason"] for event in world.cluster.posted_events][2:]
    assert said == ["NotAllowed", "Recovered"]


def kstatus(stored: Manifest) -> str:
    """What kstatus, and so Flux and `kubectl wait` users, make of an object: its rules, in its order."""
    metadata, status = stored["metadata"], stored.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"


async def test_gitops_tools_read_every_phase_rightly(world: World) -> None:
    world.cluster.put({**without_status(manifest()), "status": {"observedGeneration": -1}})
    assert kstatus(world.cluster.objects[KEY]) == "InProgress", "born"
    await world.reconcile(KEY)
    assert kstatus(world.cluster.objects[KEY]) == "InProgress", "pods on their way"
    await world.settle()
    assert kstatus(world.cluster.objects[KEY]) == "Current", "serving"
    world.apply(llamaCpp={"threads": 2})
    assert kstatus(world.cluster.objects[KEY]) == "InProgress", "changed, not yet seen"
    await world.reconcile(KEY)
    assert kstatus(world.cluster.objects[KEY]) == "InProgress", "rolling out"
    await world.settle()
    assert kstatus(world.cluster.objects[KEY]) == "Current", "rolled out"
    world.apply(serviceAccountName="admin")
    await world.reconcile(KEY)
    assert kstatus(world.cluster.objects[KEY]) == "Failed", "only a human can help"
    world.apply(replicas=0)
    await world.settle()
    assert kstatus(world.cluster.objects[KEY]) == "Current", "scaled to zero on purpose"
