"""reconcile(key) against an in-memory cluster: what stands there afterwards, not which calls were made."""

import copy
from datetime import timedelta

import pytest

from agentfleet.errors import NotReady, Transient
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Key
from agentfleet.settings import Settings
from tests.builders import NAMESPACE, manifest
from tests.world import CLAIM, KEY, SERVICE, World, meta, without_status


@pytest.fixture
def world() -> World:
    return World()


async def test_a_model_server_becomes_a_deployment_and_two_services(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    assert list(world.deployments().values()) == [2]
    assert {key.name for key in world.cluster.objects if key.kind == "Service"} == {"phi-model", "phi-model-pods"}
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") is None
    assert world.condition("ModelReady") == ("True", "Loaded")
    assert world.status["url"] == "http://phi-model.demo.svc.cluster.local/v1"
    assert world.status["observedGeneration"] == 1
    assert (world.status["replicas"], world.status["readyReplicas"], world.status["engineVersion"]) == (2, 2, "b1")


async def test_while_pods_are_on_their_way_it_is_in_progress(world: World) -> None:
    world.apply()
    await world.reconcile(KEY)
    assert world.condition("Ready") == ("Unknown", "WaitingForPods")
    assert world.condition("Reconciling") == ("True", "RollingOut")
    assert "Stalled" not in str(world.status)


async def test_the_second_pass_writes_nothing(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    world.cluster.writes.clear()
    await world.reconcile(KEY)
    assert world.cluster.writes == []


async def test_a_restart_writes_nothing_and_applies_nothing(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    world.start()
    world.now += timedelta(hours=1)
    await world.reconcile(KEY)
    assert world.cluster.writes == []


async def test_the_users_object_is_never_written_but_for_status(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    assert {verb for verb, key in world.cluster.writes if key.kind == "ModelServer"} == {"apply_status"}


async def test_a_deleted_child_comes_back(world: World) -> None:
    world.apply()
    await world.settle()
    world.cluster.remove(SERVICE)
    await world.settle()
    assert SERVICE in world.cluster.objects


async def test_an_edited_child_is_repaired_and_foreign_additions_stay(world: World) -> None:
    world.apply()
    await world.settle()
    edited = copy.deepcopy(world.cluster.objects[SERVICE])
    edited["spec"]["selector"] = {"agentfleet.dev/modelserver": "other"}
    edited["spec"]["ports"].append({"name": "web", "port": 8000})
    edited["metadata"]["annotations"]["mesh"] = "on"
    world.cluster.put(edited)
    await world.settle()
    repaired = world.cluster.objects[SERVICE]
    assert repaired["spec"]["selector"]["agentfleet.dev/modelserver"] == "phi"
    assert [port["name"] for port in repaired["spec"]["ports"]] == ["http"]
    assert repaired["metadata"]["annotations"]["mesh"] == "on"


async def test_a_workload_that_was_scaled_by_hand_is_scaled_back(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    [name] = world.deployments()
    await world.cluster.scale(Key("Deployment", NAMESPACE, name), 5)
    await world.settle()
    assert world.deployments() == {name: 2}


async def test_scaling_the_model_server_is_no_rollout(world: World) -> None:
    world.apply(replicas=1)
    await world.settle()
    [name] = world.deployments()
    world.apply(replicas=3)
    await world.reconcile(KEY)
    assert world.deployments() == {name: 3}
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") is None


async def test_a_changed_spec_is_a_new_revision_and_the_old_one_goes_when_the_new_one_serves(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    [old] = world.deployments()
    world.apply(replicas=2, llamaCpp={"threads": 2})
    await world.reconcile(KEY)
    assert world.deployments()[old] == 2
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") == ("True", "RollingOut")
    await world.settle()
    [new] = world.deployments()
    assert new != old
    assert world.deployments() == {new: 2}
    assert world.condition("Reconciling") is None


async def test_a_new_revision_that_fails_leaves_the_old_one_serving(world: World) -> None:
    world.apply()
    await world.settle()
    [old] = world.deployments()
    world.apply(image="no/such:image")
    await world.reconcile(KEY)
    [new] = set(world.deployments()) - {old}
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    status = {"containerStatuses": [{"name": "engine", "image": "no/such:image", "ready": False, "state": waiting}]}
    world.cluster.put(world.pod(world.cluster.objects[Key("Deployment", NAMESPACE, new)], f"{new}-0", **status))
    await world.reconcile(KEY)
    assert world.deployments() == {old: 1, new: 1}
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Stalled") == ("True", "ImagePullFailed")


async def test_scaled_to_zero_is_ready(world: World) -> None:
    world.apply(replicas=0)
    await world.settle()
    assert world.condition("Ready") == ("True", "ScaledToZero")
    assert list(world.deployments().values()) == [0]


async def test_a_foreign_object_with_our_name_is_left_alone(world: World) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": meta("phi-model"), "spec": {"selector": {"app": "x"}}}
    world.cluster.put(foreign)
    world.cache.drop(SERVICE)  # it has none of our labels, so no watch shows it
    world.apply()
    after = await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "NameConflict")
    assert world.condition("Ready") == ("False", "NameConflict")
    assert world.cluster.objects[SERVICE]["spec"] == {"selector": {"app": "x"}}
    assert after is not None
    world.cluster.remove(SERVICE)
    await world.settle()
    assert world.condition("Stalled") is None
    assert world.condition("Ready") == ("True", "Serving")


async def test_children_of_a_deleted_namesake_are_waited_for(world: World) -> None:
    world.apply()
    await world.settle()
    reborn = without_status(manifest())
    reborn["metadata"]["uid"] = "99999999-2222-3333-4444-555555555555"
    world.cluster.put(reborn)
    with pytest.raises(NotReady, match="deleted namesake"):
        await world.reconcile(KEY)
    assert world.condition("Reconciling") == ("True", "WaitingForDeletion")


async def test_a_missing_claim_stalls_until_it_is_there(world: World) -> None:
    world.cluster.remove(CLAIM)
    world.apply()
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "ClaimNotFound")
    assert world.deployments() == {}
    assert world.references.parents(CLAIM) == [KEY]
    world.cluster.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("models")})
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_an_object_from_before_a_rule_is_stalled_by_name_of_its_field(world: World) -> None:
    world.apply(replicas=-5)
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    [message] = [c["message"] for c in world.status["conditions"] if c["type"] == "Stalled"]
    assert message.startswith("spec.replicas: -5: ")
    assert world.status["observedGeneration"] == 1


async def test_a_bad_flag_is_told_before_any_pod_starts(world: World) -> None:
    world.apply("VLLM", extraArgs=["--enforce-eagre"])
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "BadFlag")
    assert world.deployments() == {}


async def test_an_invalid_change_leaves_what_serves_alone(world: World) -> None:
    world.apply(replicas=2)
    await world.settle()
    serving = world.deployments()
    world.apply(replicas=2, serviceAccountName="admin")
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "NotAllowed")
    assert world.condition("Ready") == ("True", "Serving")
    assert world.deployments() == serving


async def test_an_upgrade_of_the_operator_alone_restarts_no_engine(world: World) -> None:
    world.apply()
    await world.settle()
    world.settings = Settings(sidecar_image="agentfleet/operator:next")
    world.start()
    await world.settle()
    assert world.cluster.writes == []
    world.apply(llamaCpp={"threads": 2})
    await world.settle()
    [name] = world.deployments()
    [sidecar] = world.cluster.objects[Key("Deployment", NAMESPACE, name)]["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["image"] == "agentfleet/operator:next"


async def test_a_volume_that_cannot_be_mounted_is_found_in_the_events() -> None:
    world = World(host_path_root="/srv")
    world.apply(model={"uri": "file:///srv/none/a.gguf"})
    await world.reconcile(KEY)
    [name] = world.deployments()
    scheduled = {"type": "PodScheduled", "status": "True"}
    creating = [{"name": "engine", "ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}]
    deployment = world.cluster.objects[Key("Deployment", NAMESPACE, name)]
    stored = world.cluster.put(
        world.pod(deployment, f"{name}-0", conditions=[scheduled], containerStatuses=creating, phase="Pending")
    )
    message = "hostPath type check failed: /srv/none is not a directory"
    world.cluster.pod_events_by_uid[stored["metadata"]["uid"]] = [{"reason": "FailedMount", "message": message}]
    world.now += timedelta(seconds=10)
    await world.reconcile(KEY)
    assert world.condition("Stalled") == ("True", "ModelNotFound")


async def test_a_failing_api_server_is_tried_again_and_says_nothing_in_status(world: World) -> None:
    world.apply()
    world.cluster.fail = lambda verb, key: Transient("503") if verb == "apply" else None
    with pytest.raises(Transient):
        await world.reconcile(KEY)
    assert "conditions" not in world.status if "status" in world.cluster.objects[KEY] else True
    world.cluster.fail = lambda verb, key: None
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_bug_is_shown_and_tried_again(world: World) -> None:
    world.apply()
    world.cluster.fail = lambda verb, key: KeyError("spec") if verb == "apply" else None
    with pytest.raises(KeyError):
        await world.reconcile(KEY)
    assert world.condition("Ready") == ("Unknown", "InternalError")


async def test_files_of_an_old_revision_stay_until_its_pods_are_gone(world: World) -> None:
    world.apply(files=[{"path": "/etc/a", "content": "1"}])
    await world.settle()
    [old] = [key for key in world.cluster.objects if key.kind == "ConfigMap"]
    world.apply(files=[{"path": "/etc/a", "content": "2"}])
    await world.reconcile(KEY)
    assert old in world.cluster.objects
    await world.settle()
    [new] = [key for key in world.cluster.objects if key.kind == "ConfigMap"]
    assert new != old


async def test_a_deleted_model_server_is_forgotten(world: World) -> None:
    world.apply(placement={"sites": ["store-1"]})
    await world.settle()
    world.cluster.remove(KEY)
    assert await world.reconcile(KEY) is None
    assert world.references.parents(CLAIM) == []
    assert not [key for key in world.cluster.objects if key.kind in ("Deployment", "Service")]


async def test_revisions_are_labelled(world: World) -> None:
    world.apply()
    await world.settle()
    [name] = world.deployments()
    labels = world.cluster.objects[Key("Deployment", NAMESPACE, name)]["metadata"]["labels"]
    assert name.endswith(labels[REVISION_LABEL])
    assert world.status["revision"] == labels[REVISION_LABEL]


async def test_children_of_a_ghost_are_not_made_again(world: World) -> None:
    """The parent was deleted during an outage: its children's deletions are seen, its own is not."""
    world.apply()
    await world.settle()
    tell = world.cluster.on_change
    world.cluster.on_change = lambda seen, deleted: None if seen["kind"] == "ModelServer" else tell(seen, deleted)
    world.cluster.remove(KEY)
    world.cluster.writes.clear()
    assert await world.reconcile(KEY) is None
    assert world.cluster.writes == []
    assert world.cache.get(KEY) is None
