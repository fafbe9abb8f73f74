"""cache.py: which of two observations is newer, what is kept of each kind, and who belongs to whom."""

import copy
import json
from typing import Any

import pytest

from agentfleet.cache import Cache, slim
from agentfleet.objects import MODEL_SERVER_LABEL, Key, Manifest

PARENT = Key("ModelServer", "default", "llama")
OWNER = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "name": "llama", "uid": "parent"}


def deployment(version: int, *, name: str = "llama", uid: str = "a", **spec: Any) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid,
            "resourceVersion": str(version),
            "ownerReferences": [OWNER],
        },
        "spec": spec,
    }


KEY = Key("Deployment", "default", "llama")


def test_an_older_observation_is_refused() -> None:
    cache = Cache()
    assert cache.observe(deployment(5, replicas=1))
    assert not cache.observe(deployment(4, replicas=9))
    assert cache.observe(deployment(6, replicas=2))
    assert cache.get(KEY) == deployment(6, replicas=2)
    assert cache.version(KEY) == 6


def test_the_same_version_is_no_error() -> None:
    cache = Cache()
    assert cache.observe(deployment(5))
    assert cache.observe(deployment(5))


def test_a_late_answer_does_not_bring_back_the_deleted() -> None:
    cache = Cache()
    cache.observe(deployment(5))
    assert cache.observe(deployment(7), deleted=True)
    assert not cache.observe(deployment(6))
    assert cache.get(KEY) is None


@pytest.mark.parametrize("deleted_first", [True, False])
def test_a_name_used_anew_survives_the_deletion_of_its_predecessor(deleted_first: bool) -> None:
    """kopf works on each uid by itself, so the two events may come in either order."""
    cache = Cache()
    cache.observe(deployment(5, uid="old"))
    events = [(deployment(6, uid="old"), True), (deployment(7, uid="new"), False)]
    for manifest, deleted in events if deleted_first else reversed(events):
        cache.observe(manifest, deleted=deleted)
    assert cache.get(KEY) == deployment(7, uid="new")


def test_a_dropped_object_stays_away_until_it_is_created_anew() -> None:
    cache = Cache()
    cache.observe(deployment(5))
    cache.drop(KEY)
    assert cache.get(KEY) is None
    assert not cache.observe(deployment(5))
    assert cache.observe(deployment(9, uid="b"))


def test_what_is_returned_is_a_copy() -> None:
    cache = Cache()
    cache.observe(deployment(5, replicas=1))
    found = cache.get(KEY)
    assert found is not None
    found["spec"]["replicas"] = 99
    assert cache.get(KEY) == deployment(5, replicas=1)


def test_children_are_found_by_owner_and_pods_by_label() -> None:
    cache = Cache()
    cache.observe(deployment(1, name="b", uid="b"))
    cache.observe(deployment(2, name="a", uid="a"))
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "default",
            "uid": "p",
            "resourceVersion": "3",
            "labels": {MODEL_SERVER_LABEL: "llama"},
        },
    }
    cache.observe(pod)
    elsewhere = copy.deepcopy(pod)
    elsewhere["metadata"] |= {"namespace": "other", "uid": "q"}
    cache.observe(elsewhere)
    assert [child["metadata"]["name"] for child in cache.children(PARENT, "Deployment")] == ["a", "b"]
    assert [child["metadata"]["namespace"] for child in cache.children(PARENT, "Pod")] == ["default"]
    assert cache.children(PARENT, "Service") == []
    assert cache.parent(Key("Pod", "other", "p")) == Key("ModelServer", "other", "llama")


def test_a_child_that_changes_its_owner_leaves_the_old_one() -> None:
    cache = Cache()
    cache.observe(deployment(1))
    moved = deployment(2)
    moved["metadata"]["ownerReferences"] = [{**OWNER, "name": "other"}]
    cache.observe(moved)
    assert cache.children(PARENT, "Deployment") == []
    assert len(cache.children(Key("ModelServer", "default", "other"), "Deployment")) == 1


def test_keys_counts_and_the_newest_version() -> None:
    cache = Cache()
    assert (cache.keys("Deployment"), cache.count("Deployment"), cache.newest("Deployment")) == ([], 0, 0)
    cache.observe(deployment(4, name="b", uid="b"))
    cache.observe(deployment(9, name="a", uid="a"))
    assert [key.name for key in cache.keys("Deployment")] == ["a", "b"]
    assert (cache.count("Deployment"), cache.newest("Deployment")) == (2, 9)


NOISE = {
    "managedFields": [{"manager": "agentfleet", "fieldsV1": {"f:spec": {}}}],
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "agentfleet.dev/x": "1", "note": "hi"},
}
IDENTITY = {"name": "x", "namespace": "default", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}}

SLIM = [
    pytest.param(
        {"kind": "Deployment", "metadata": {**IDENTITY, **NOISE}, "spec": {"replicas": 1}, "status": {"replicas": 1}},
        {
            "kind": "Deployment",
            "metadata": {**IDENTITY, "annotations": {"agentfleet.dev/x": "1", "note": "hi"}},
            "spec": {"replicas": 1},
            "status": {"replicas": 1},
        },
        id="Deployment: all but managedFields and kubectl's copy",
    ),
    pytest.param(
        {"kind": "ConfigMap", "metadata": IDENTITY, "data": {"a": "b"}, "immutable": True},
        {"kind": "ConfigMap", "metadata": IDENTITY, "data": {"a": "b"}, "immutable": True},
        id="ConfigMap",
    ),
    pytest.param(
        {"kind": "Namespace", "metadata": IDENTITY, "spec": {"finalizers": ["kubernetes"]}, "status": {}},
        {"kind": "Namespace", "metadata": IDENTITY},
        id="Namespace: no more than its labels",
    ),
    pytest.param(
        {
            "kind": "Pod",
            "metadata": {**IDENTITY, **NOISE},
            "spec": {"nodeName": "n1", "containers": [{"name": "engine"}], "volumes": []},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}],
                "qosClass": "Burstable",
                "conditions": [{"type": "Ready"}],
                "containerStatuses": [{"name": "engine"}],
                "initContainerStatuses": [{"name": "loader"}],
            },
        },
        {
            "kind": "Pod",
            "metadata": {**IDENTITY, "annotations": {"agentfleet.dev/x": "1"}},
            "spec": {"nodeName": "n1"},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready"}],
                "containerStatuses": [{"name": "engine"}],
                "initContainerStatuses": [{"name": "loader"}],
            },
        },
        id="Pod",
    ),
    pytest.param(
        {
            "kind": "Node",
            "metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "labels": {"zone": "a"}, **NOISE},
            "spec": {"taints": [{"key": "gpu"}], "unschedulable": True, "podCIDR": "10.0.0.0/24"},
            "status": {
                "allocatable": {"cpu": "4"},
                "capacity": {"cpu": "4"},
                "images": [{"names": ["big"]}],
                "nodeInfo": {"machineID": "x"},
                "conditions": [
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": "now"},
                ],
            },
        },
        {
            "kind": "Node",
            "metadata": {
                "name": "n",
                "uid": "u",
                "resourceVersion": "1",
                "labels": {"zone": "a"},
                "annotations": {"agentfleet.dev/x": "1"},
            },
            "spec": {"taints": [{"key": "gpu"}], "unschedulable": True},
            "status": {
                "allocatable": {"cpu": "4"},
                "capacity": {"cpu": "4"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        },
        id="Node: no images, no heartbeats",
    ),
    pytest.param(
        {
            "kind": "PodDisruptionBudget",
            "metadata": IDENTITY,
            "spec": {"maxUnavailable": 1},
            "status": {"currentHealthy": 2},
        },
        {"kind": "PodDisruptionBudget", "metadata": IDENTITY, "spec": {"maxUnavailable": 1}},
        id="PodDisruptionBudget: no counts",
    ),
    pytest.param(
        {
            "kind": "PersistentVolumeClaim",
            "metadata": IDENTITY,
            "spec": {"storageClassName": "s", "accessModes": ["ReadWriteMany"], "resources": {}, "volumeName": "pv"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        },
        {
            "kind": "PersistentVolumeClaim",
            "metadata": IDENTITY,
            "spec": {"storageClassName": "s", "accessModes": ["ReadWriteMany"], "resources": {}, "volumeName": "pv"},
            "status": {"phase": "Bound"},
        },
        id="PersistentVolumeClaim",
    ),
]


@pytest.mark.parametrize(("manifest", "kept"), SLIM)
def test_what_is_kept(manifest: Manifest, kept: Manifest) -> None:
    before = json.dumps(manifest)
    assert slim(manifest) == kept
    assert json.dumps(manifest) == before, "the object of the caller must stay as it is"
