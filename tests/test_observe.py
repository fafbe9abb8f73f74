"""observe.py: which change of which object wakes whom."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agentfleet.cache import Cache
from agentfleet.metrics import Metrics
from agentfleet.objects import AGENT_ROUTE_LABEL, KINDS, MODEL_SERVER_LABEL, Key, Manifest, key_of
from agentfleet.observe import Observer
from agentfleet.references import ANY_NODE, References, served_key

PARENT = Key("ModelServer", "default", "llama")
OTHER = Key("ModelServer", "default", "other")
ROUTE = Key("AgentRoute", "default", "chat")
OWNER = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "ModelServer", "name": "llama", "uid": "parent"}


class Stage:
    """An Observer with its neighbours, and what it enqueued since the last look."""

    def __init__(self) -> None:
        self.cache, self.references = Cache(), References()
        self.seen: list[tuple[Key, bool]] = []
        self._woken: list[Key] = []
        self.observer = Observer(
            cache=self.cache, references=self.references, enqueue=self._woken.append, metrics=Metrics()
        )
        self.observer.subscribe(lambda key, initial: self.seen.append((key, initial)))

    def event(self, manifest: Manifest, *, deleted: bool = False, initial: bool = False) -> list[Key]:
        kind = KINDS[manifest["kind"]]
        body = {name: value for name, value in manifest.items() if name not in ("kind", "apiVersion")}
        self.observer(kind, body, deleted=deleted, initial=initial)
        return self.woken()

    def woken(self) -> list[Key]:
        woken = self._woken[:]
        self._woken.clear()
        return woken


def made(kind: str, name: str, **more: Any) -> Manifest:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    if KINDS[kind].namespaced:
        metadata["namespace"] = "default"
    metadata |= more.pop("metadata", {})
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata, **more}


def model_server() -> Manifest:
    return made("ModelServer", "llama", spec={"engine": "VLLM"}, status={"conditions": []})


def deployment() -> Manifest:
    return made(
        "Deployment",
        "llama",
        metadata={"ownerReferences": [OWNER], "managedFields": [{"manager": "a"}]},
        spec={"replicas": 1},
        status={"readyReplicas": 0},
    )


def pod() -> Manifest:
    return made(
        "Pod",
        "llama-1",
        metadata={"labels": {MODEL_SERVER_LABEL: "llama"}},
        spec={"nodeName": "n1", "tolerations": []},
        status={"phase": "Pending", "qosClass": "Burstable"},
    )


def node() -> Manifest:
    return made(
        "Node",
        "n1",
        metadata={"labels": {"zone": "a"}, "annotations": {"kubelet": "1"}},
        spec={"taints": []},
        status={
            "allocatable": {"nvidia.com/gpu": "4"},
            "images": [],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "1"}],
        },
    )


def claim() -> Manifest:
    return made("PersistentVolumeClaim", "models", spec={"storageClassName": "s"}, status={"phase": "Pending"})


def change(*path: str | int, to: Any) -> Callable[[Manifest], None]:
    def apply(manifest: Manifest) -> None:
        inner: Any = manifest
        for step in path[:-1]:
            inner = inner.setdefault(step, {}) if isinstance(inner, dict) else inner[step]
        inner[path[-1]] = to

    apply.__doc__ = ".".join(str(step) for step in path)
    return apply


CHANGES = [
    (model_server, change("metadata", "generation", to=2), True),
    (model_server, change("metadata", "deletionTimestamp", to="2026-01-01T00:00:00Z"), True),
    (model_server, change("metadata", "annotations", to={"agentfleet.dev/approve": "yes"}), True),
    (model_server, change("metadata", "uid", to="uid-of-its-successor"), True),
    (model_server, change("status", "conditions", to=[{"type": "Ready"}]), False),
    (model_server, change("metadata", "annotations", to={"argocd": "synced"}), False),
    (model_server, change("metadata", "labels", to={"team": "a"}), False),
    (deployment, change("status", "readyReplicas", to=1), True),
    (deployment, change("spec", "replicas", to=5), True),
    (deployment, change("metadata", "labels", to={"someone": "else"}), True),
    (deployment, change("metadata", "managedFields", to=[{"manager": "b"}]), False),
    (pod, change("status", "phase", to="Running"), True),
    (pod, change("status", "containerStatuses", to=[{"name": "engine", "restartCount": 1}]), True),
    (pod, change("metadata", "deletionTimestamp", to="2026-01-01T00:00:00Z"), True),
    (pod, change("spec", "tolerations", to=[{"key": "a"}]), False),
    (pod, change("metadata", "annotations", to={"istio": "x"}), False),
    (node, change("metadata", "labels", to={"zone": "b"}), True),
    (node, change("spec", "taints", to=[{"key": "gpu"}]), True),
    (node, change("spec", "unschedulable", to=True), True),
    (node, change("status", "allocatable", to={"nvidia.com/gpu": "8"}), True),
    (node, change("status", "conditions", 0, "status", to="Unknown"), True),
    (node, change("status", "conditions", 0, "lastHeartbeatTime", to="2"), False),
    (node, change("status", "images", to=[{"names": ["vllm"]}]), False),
    (node, change("metadata", "annotations", to={"kubelet": "2"}), False),
    (claim, change("status", "phase", to="Bound"), True),
    (claim, change("status", "capacity", to={"storage": "1Gi"}), False),
]


@pytest.mark.parametrize(
    ("make", "apply", "wakes"), CHANGES, ids=[f"{make.__name__} {apply.__doc__}" for make, apply, _ in CHANGES]
)
def test_which_changes_wake_the_parent(
    make: Callable[[], Manifest], apply: Callable[[Manifest], None], wakes: bool
) -> None:
    stage = Stage()
    stage.references.set(PARENT, {ANY_NODE, key_of(claim())})
    before = make()
    assert stage.event(before) == [PARENT], "whatever is new wakes"
    assert stage.event(before, initial=True) == [], "a re-listing of the same does not"
    after = copy.deepcopy(before)
    apply(after)
    after["metadata"]["resourceVersion"] = "2"
    assert stage.event(after) == ([PARENT] if wakes else [])
    assert stage.event(after, deleted=True) == [PARENT], "a deletion wakes"
    assert stage.cache.get(key_of(after)) is None


def agent() -> Manifest:
    return made("Agent", "helpdesk", spec={"role": "helpdesk"}, status={"conditions": []})


def namespace() -> Manifest:
    return made("Namespace", "default", metadata={"labels": {"team": "a"}}, spec={"finalizers": []})


def ready(status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": "Ready", "status": status, "reason": reason, "message": message}


TOLD = [
    (change("status", "conditions", to=[ready("True", "Serving")]), True),
    (change("status", "conditions", to=[ready("True", "ScaledToZero")]), True),
    (change("status", "url", to="http://b/v1"), True),
    (change("metadata", "generation", to=2), True),
    (change("metadata", "deletionTimestamp", to="2026-01-01T00:00:00Z"), True),
    (change("status", "conditions", to=[ready("Unknown", "WaitingForPods", "2 of 3 serve")]), False),
    (change("status", "conditions", to=[ready("Unknown", "WaitingForPods"), {"type": "Stalled"}]), False),
    (change("status", "replicas", to=7), False),
    (change("metadata", "labels", to={"team": "b"}), False),
]


@pytest.mark.parametrize(("apply", "wakes"), TOLD, ids=[f"{case[0].__doc__}-{case[1]}" for case in TOLD])
@pytest.mark.parametrize("make", [model_server, agent])
def test_what_wakes_a_route_before_it(
    make: Callable[[], Manifest], apply: Callable[[Manifest], None], wakes: bool
) -> None:
    """Its own status wakes nobody else, above all not the object itself, whose status is written by reconcile."""
    stage = Stage()
    before = make() | {"status": {"url": "http://a/v1", "conditions": [ready("Unknown", "WaitingForPods", "1 of 3")]}}
    stage.references.set(ROUTE, {key_of(before)})
    stage.event(before)
    after = copy.deepcopy(before)
    apply(after)
    after["metadata"]["resourceVersion"] = "2"
    assert (ROUTE in stage.event(after)) is wakes
    after["metadata"]["resourceVersion"] = "3"
    assert stage.event(after) == []


def test_a_status_of_its_own_wakes_a_model_server_never() -> None:
    stage = Stage()
    stage.references.set(ROUTE, {PARENT})
    assert stage.event(model_server()) == [ROUTE, PARENT]
    after = model_server()
    after["metadata"]["resourceVersion"] = "2"
    after["status"] = {"conditions": [ready("True", "Serving")]}
    assert stage.event(after) == [ROUTE]


def test_what_a_route_refers_to_wakes_it_when_it_comes_changes_and_goes() -> None:
    stage = Stage()
    stage.references.set(ROUTE, {key_of(agent()), key_of(namespace())})
    for make, itself in ((agent, [key_of(agent())]), (namespace, [])):
        assert stage.event(make()) == [*itself, ROUTE]
        assert stage.event(make(), deleted=True) == [*itself, ROUTE]
    stage.event(namespace())
    renamed = namespace()
    renamed["metadata"] |= {"resourceVersion": "2", "labels": {"team": "b"}}
    assert stage.event(renamed) == [ROUTE]


def test_a_kind_that_comes_or_goes_wakes_who_asked_for_it() -> None:
    stage = Stage()
    stage.references.set(ROUTE, {served_key("HTTPRoute")})
    stage.observer.served("HTTPRoute")
    assert stage.woken() == [ROUTE]
    stage.observer.served("InferencePool")
    assert stage.woken() == []


def test_the_pods_of_a_gateway_wake_its_route() -> None:
    stage = Stage()
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat-route", "uid": "s"}
    labels = {AGENT_ROUTE_LABEL: "chat"}
    gateway = made("Pod", "chat-route-0", metadata={"labels": labels, "ownerReferences": [owner]}, status={})
    assert stage.event(gateway) == [ROUTE]


def test_objects_of_nobody_wake_nobody() -> None:
    stage = Stage()
    assert stage.event(node()) == []
    assert stage.event(claim()) == []
    orphan = deployment()
    orphan["metadata"]["ownerReferences"] = []
    assert stage.event(orphan) == []


def test_a_foreign_change_that_came_with_an_answer_to_our_write_still_wakes() -> None:
    """Between our read and our write the pod became ready: the answer knows, reconcile does not yet."""
    stage = Stage()
    stage.event(deployment())
    answer = deployment()
    answer["metadata"]["resourceVersion"] = "3"
    answer["status"]["readyReplicas"] = 1
    stage.cache.observe(answer)
    assert stage.event(answer) == [PARENT]


def test_a_child_that_changes_hands_wakes_both() -> None:
    stage = Stage()
    stage.event(pod())
    moved = pod()
    moved["metadata"] |= {"resourceVersion": "2", "labels": {MODEL_SERVER_LABEL: "other"}}
    assert stage.event(moved) == [PARENT, OTHER]


def test_a_late_deletion_of_the_predecessor_keeps_the_successor() -> None:
    stage = Stage()
    old, new = deployment(), deployment()
    new["metadata"] |= {"uid": "uid-new", "resourceVersion": "7"}
    stage.event(old)
    stage.event(new)
    assert stage.event(old, deleted=True) == [PARENT]
    assert stage.event(new) == [], "nothing about the successor is news"
    assert stage.cache.version(key_of(new)) == 7


def test_a_ghost_is_dropped_and_its_parent_woken() -> None:
    stage = Stage()
    stage.event(deployment())
    stage.event(model_server())
    stage.observer.gone(key_of(deployment()))
    assert stage.woken() == [PARENT]
    stage.observer.gone(PARENT)
    assert stage.woken() == [PARENT]
    assert stage.cache.get(PARENT) is None


def test_listeners_are_told_after_the_cache() -> None:
    stage = Stage()
    stage.event(model_server(), initial=True)
    stage.event(model_server())
    assert stage.seen == [(PARENT, True), (PARENT, False)]
