"""reconcile(key) against an in-memory cluster: what stands there afterwards, not which calls were made."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentfleet.cache import Cache
from agentfleet.errors import NotReady, Transient
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.metrics import Metrics
from agentfleet.objects import Key, Manifest
from agentfleet.reconcile import Reconciler
from agentfleet.references import ANY_NODE, References
from agentfleet.settings import Settings
from tests.builders import NAMESPACE, UID, manifest
from tests.fakes import FakeCluster

KEY = Key("ModelServer", NAMESPACE, "phi")
SERVICE = Key("Service", NAMESPACE, "phi-model")
CLAIM = Key("PersistentVolumeClaim", NAMESPACE, "models")


class World:
    """An operator without its edges: cluster, cache, reconciler and a clock that tests move."""

    def __init__(self, **settings: Any) -> None:
        self.now = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
        self.cluster = FakeCluster()
        self.cache = Cache()
        self.references = References()
        self.answers: dict[str, Mapping[str, Any]] = {}
        self.settings = Settings(**settings)
        self.cluster.on_change = lambda seen, deleted: self.cache.observe(seen, deleted=deleted)
        self.start()
        self.cluster.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("models")})

    def start(self) -> None:
        """A new operator process over the same cluster; its watches have listed everything."""
        self.metrics = Metrics()
        self.cluster.writes.clear()
        self.reconcile = Reconciler(
            cluster=self.cluster,
            cache=self.cache,
            references=self.references,
            sidecars=self,
            settings=self.settings,
            metrics=self.metrics,
            now=lambda: self.now,
        )

    async def statuses(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        return {name: self.answers[name] for name in addresses if name in self.answers}

    def apply(self, engine: str = "LlamaCpp", **spec: Any) -> None:
        self.cluster.put(without_status(manifest(engine, **spec)))

    async def settle(self) -> None:
        """Reconcile, and let a small kubelet and Deployment controller answer, until nothing changes any more."""
        for _ in range(50):
            before = dict(self.cluster.objects)
            await self.reconcile(KEY)
            self.run_pods()
            if before == self.cluster.objects:
                return
        raise AssertionError("did not settle")

    def run_pods(self) -> None:
        """Every Deployment gets its pods, and every pod is Ready at once."""
        for key, deployment in list(self.cluster.objects.items()):
            if key.kind != "Deployment":
                continue
            wanted = deployment["spec"].get("replicas", 1)
            for index in range(20):
                pod = Key("Pod", NAMESPACE, f"{key.name}-{index}")
                if index < wanted and pod not in self.cluster.objects:
                    self.cluster.put(self.pod(deployment, pod.name))
                elif index >= wanted and pod in self.cluster.objects:
                    self.cluster.remove(pod)
            status = {"replicas": wanted, "readyReplicas": wanted}
            if deployment.get("status") != status:
                self.cluster.patch_status(key, status)

    def pod(self, deployment: Manifest, name: str, **status: Any) -> Manifest:
        self.answers[name] = {"engineVersion": "b1", "models": [{"name": "phi", "state": "Ready"}]}
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"}
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        metadata = {**meta(name), "labels": labels, "creationTimestamp": "2026-11-21T10:00:00Z"}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status or ready}

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects[KEY]["status"]
        return status

    def condition(self, kind: str) -> tuple[str, str] | None:
        for condition in self.status.get("conditions", ()):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return None

    def deployments(self) -> dict[str, int]:
        return {key.name: o["spec"]["replicas"] for key, o in self.cluster.objects.items() if key.kind == "Deployment"}


def meta(name: str) -> Manifest:
    return {"name": name, "namespace": NAMESPACE}


def without_status(given: Manifest) -> Manifest:
    metadata = {name: given["metadata"][name] for name in ("name", "namespace")} | {"uid": UID}
    return {name: value for name, value in given.items() if name != "status"} | {"metadata": metadata}


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
    edited["metadata"]["annotations"]["mesh"] = "on"
    world.cluster.put(edited)
    await world.settle()
    repaired = world.cluster.objects[SERVICE]
    assert repaired["spec"]["selector"]["agentfleet.dev/modelserver"] == "phi"
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
    world.cluster.patch_status(pod, {"conditions": [{"type": "Ready", "status": "False"}]})
    await world.reconcile(KEY)
    assert world.condition("Ready") == ("False", "ReplicasUnavailable")
    assert world.condition("Reconciling") is None


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
