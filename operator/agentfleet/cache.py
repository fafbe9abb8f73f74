"""What the watches have seen, as compact bytes: read by reconcile, filled by observe.py, repaired by resync.py.

Objects are kept without managedFields (half of a Deployment) and only with what reconcile reads; a dict costs ten
times its JSON, so each entry is one bytes object, parsed when it is asked for.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agentfleet.objects import DELETION_COST, DEMAND_SOURCE_LABEL, GROUP, KINDS, Key, Manifest, key_of, parent_of

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_TOMBSTONES = 4096


def _pick(source: Manifest, *names: str) -> Manifest:
    return {name: source[name] for name in names if name in source}


def _full_metadata(manifest: Manifest) -> Manifest:
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    if _LAST_APPLIED in metadata.get("annotations", {}):
        metadata["annotations"] = {
            name: value for name, value in metadata["annotations"].items() if name != _LAST_APPLIED
        }
    return metadata


def _essential_metadata(manifest: Manifest) -> Manifest:
    """Identity, ownership, labels, deletion, and of the annotations only those that we set or read."""
    metadata = _pick(
        manifest["metadata"],
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "labels",
        "ownerReferences",
        "creationTimestamp",
        "deletionTimestamp",
    )
    ours = {
        name: value
        for name, value in manifest["metadata"].get("annotations", {}).items()
        if name.startswith(GROUP + "/") or name == DELETION_COST
    }
    if ours:
        metadata["annotations"] = ours
    return metadata


def _whole(manifest: Manifest) -> Manifest:
    rest = _pick(manifest, "apiVersion", "kind", "spec", "data", "binaryData", "immutable", "status")
    return {**rest, "metadata": _full_metadata(manifest)}


def _limits(spec: Manifest) -> Manifest:
    """What the use of CPU and memory is compared with."""
    limited = [
        {"name": container["name"], "resources": {"limits": _pick(container["resources"]["limits"], "cpu", "memory")}}
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ()))
        if container.get("resources", {}).get("limits")
    ]
    return {"containers": limited} if limited else {}


def _pod(manifest: Manifest) -> Manifest:
    return {
        **_pick(manifest, "apiVersion", "kind"),
        "metadata": _essential_metadata(manifest),
        "spec": {**_pick(manifest.get("spec", {}), "nodeName"), **_limits(manifest.get("spec", {}))},
        "status": _pick(
            manifest.get("status", {}),
            "phase",
            "reason",
            "message",
            "conditions",
            "containerStatuses",
            "initContainerStatuses",
            "podIP",
            "startTime",
        ),
    }


def _node(manifest: Manifest) -> Manifest:
    status = manifest.get("status", {})
    # without the heartbeat times, which change every few minutes and mean nothing to placement
    ready = [
        _pick(each, "type", "status", "reason") for each in status.get("conditions", ()) if each["type"] == "Ready"
    ]
    return {
        **_pick(manifest, "apiVersion", "kind"),
        "metadata": _essential_metadata(manifest),
        "spec": _pick(manifest.get("spec", {}), "taints", "unschedulable"),
        "status": {**_pick(status, "allocatable", "capacity"), "conditions": ready},
    }


def _namespace(manifest: Manifest) -> Manifest:
    """Its labels, which say whose objects may refer to ours."""
    return {**_pick(manifest, "apiVersion", "kind"), "metadata": _essential_metadata(manifest)}


def _claim(manifest: Manifest) -> Manifest:
    return {
        **_pick(manifest, "apiVersion", "kind"),
        "metadata": _essential_metadata(manifest),
        "spec": _pick(manifest.get("spec", {}), "storageClassName", "accessModes", "volumeName", "resources"),
        "status": _pick(manifest.get("status", {}), "phase"),
    }


def _wish(manifest: Manifest) -> Manifest:
    """Without status: a budget counts pods in it, which would wake its parent for every one of them."""
    return {**_pick(manifest, "apiVersion", "kind", "spec"), "metadata": _full_metadata(manifest)}


def _account(manifest: Manifest) -> Manifest:
    """Without the Secrets that older clusters note on it."""
    kept = _pick(manifest, "apiVersion", "kind", "automountServiceAccountToken")
    return {**kept, "metadata": _full_metadata(manifest)}


def _autoscaler(manifest: Manifest) -> Manifest:
    """Only what it scales: its status changes all the time."""
    return {
        **_pick(manifest, "apiVersion", "kind"),
        "metadata": _essential_metadata(manifest),
        "spec": _pick(manifest.get("spec", {}), "scaleTargetRef"),
    }


_SLIM: dict[str, Callable[[Manifest], Manifest]] = {
    "NetworkPolicy": _wish,
    "ServiceAccount": _account,
    "PodDisruptionBudget": _wish,
    "Pod": _pod,
    "Node": _node,
    "Namespace": _namespace,
    "PersistentVolumeClaim": _claim,
    "HorizontalPodAutoscaler": _autoscaler,
    "ScaledObject": _autoscaler,
}
"""What is kept of each kind; everything but managedFields and kubectl's copy of the object where not named."""


def slim(manifest: Manifest) -> Manifest:
    """The part of an object that reconcile reads; shares its values with `manifest`."""
    return _SLIM.get(manifest["kind"], _whole)(manifest)


def pack(manifest: Manifest) -> bytes:
    """Canonical JSON."""
    return json.dumps(manifest, separators=(",", ":"), sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: str
    version: int
    parent: Key | None
    content: bytes


class Cache:
    """Last seen state of every watched object, indexed by the agentfleet object it belongs to."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[Key, _Entry]] = {kind: {} for kind in KINDS}
        self._children: dict[Key, set[Key]] = {}
        self._sources: set[Key] = set()
        # uids never come back: what is known to be gone is not let in again by a late answer to a write
        self._gone: dict[str, None] = {}
        self._served: set[str] = set()

    def observe(self, manifest: Manifest, *, deleted: bool = False) -> bool:
        """Take in an object from a watch or from an answer to a write; False when it is older than what is held.

        `manifest` must carry `kind`. Older is judged by resourceVersion, and by the uid where the name was used anew.
        """
        key = _interned(key_of(manifest))
        uid = manifest["metadata"]["uid"]
        version = int(manifest["metadata"]["resourceVersion"])
        old = self._entries[key.kind].get(key)
        if deleted:
            self._bury(uid)
            if old is None or (old.uid != uid and old.version > version):
                return False
            self._remove(key, old)
            return True
        if uid in self._gone or (old is not None and version < old.version):
            return False
        if old is not None:
            self._remove(key, old)
        self._insert(key, _Entry(uid, version, parent_of(manifest), pack(slim(manifest))))
        if key.kind == "Pod" and DEMAND_SOURCE_LABEL in manifest["metadata"].get("labels", {}):
            self._sources.add(key)
        return True

    def serve(self, kind: str) -> None:
        """An optional kind is served, and what there is of it is here."""
        self._served.add(kind)

    def withdraw(self, kind: str) -> None:
        """An optional kind is not served any more."""
        self._served.discard(kind)

    @property
    def served(self) -> frozenset[str]:
        """Optional kinds that the API server has, and whose absent objects are really absent."""
        return frozenset(self._served)

    def get(self, key: Key) -> Manifest | None:
        """A fresh copy of the object, None where unknown."""
        entry = self._entries[key.kind].get(key)
        return None if entry is None else _unpack(entry)

    def children(self, parent: Key, kind: str) -> list[Manifest]:
        """Objects of `kind` that belong to `parent` (objects.parent_of), sorted by name."""
        keys = sorted(key for key in self._children.get(parent, ()) if key.kind == kind)
        return [_unpack(self._entries[kind][key]) for key in keys]

    def child_versions(self, parent: Key, kind: str) -> frozenset[tuple[Key, int]]:
        """Which children of a kind there are, and their versions: cheap to compare, unlike the children themselves."""
        held = self._entries[kind]
        return frozenset((key, held[key].version) for key in self._children.get(parent, ()) if key.kind == kind)

    def demand_sources(self) -> list[Manifest]:
        """Pods of gateways that count requests, sorted by name."""
        return [_unpack(self._entries["Pod"][key]) for key in sorted(self._sources)]

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Labels of a namespace; none where namespaces are not watched."""
        found = self.get(Key("Namespace", "", name))
        labels: Mapping[str, str] = found["metadata"].get("labels", {}) if found else {}
        return labels

    def keys(self, kind: str) -> list[Key]:
        """All known keys of a kind, sorted."""
        return sorted(self._entries[kind])

    def count(self, kind: str) -> int:
        """How many objects of a kind are held."""
        return len(self._entries[kind])

    def version(self, key: Key) -> int | None:
        """The resourceVersion that is held, None where unknown."""
        entry = self._entries[key.kind].get(key)
        return None if entry is None else entry.version

    def newest(self, kind: str) -> int:
        """The highest resourceVersion held of a kind, 0 where none is."""
        return max((entry.version for entry in self._entries[kind].values()), default=0)

    def parent(self, key: Key) -> Key | None:
        """The agentfleet object that a held object belongs to."""
        entry = self._entries[key.kind].get(key)
        return None if entry is None else entry.parent

    def drop(self, key: Key) -> None:
        """Forget an object that a listing has shown to be gone."""
        entry = self._entries[key.kind].get(key)
        if entry is not None:
            self._bury(entry.uid)
            self._remove(key, entry)

    def _insert(self, key: Key, entry: _Entry) -> None:
        self._entries[key.kind][key] = entry
        if entry.parent is not None:
            self._children.setdefault(entry.parent, set()).add(key)

    def _remove(self, key: Key, entry: _Entry) -> None:
        del self._entries[key.kind][key]
        self._sources.discard(key)
        if entry.parent is not None:
            siblings = self._children[entry.parent]
            siblings.discard(key)
            if not siblings:
                del self._children[entry.parent]

    def _bury(self, uid: str) -> None:
        self._gone[uid] = None
        while len(self._gone) > _TOMBSTONES:
            del self._gone[next(iter(self._gone))]


def _unpack(entry: _Entry) -> Manifest:
    manifest: Manifest = json.loads(entry.content)
    return manifest


def _interned(key: Key) -> Key:
    """Thousands of keys share few kinds and namespaces; parsed JSON brings each its own copy."""
    return Key(sys.intern(key.kind), sys.intern(key.namespace), key.name)
