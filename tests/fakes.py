"""An in-memory Cluster for tests: it keeps the promises of the Protocol that reconcile relies on.

Use:

    cluster = FakeCluster()
    cluster.put(model_server)                      # a user's or a controller's write: bumps generation on a spec change
    cluster.on_change = lambda manifest, deleted: cache.observe(manifest, deleted=deleted)
    cluster.fail = lambda verb, key: Transient("503") if verb == "apply" else None
    await reconcile(key)
    assert cluster.objects[key]["spec"] == ...     # the state
    assert cluster.writes == []                    # (verb, key) of each write that reached the server

Server-side apply is a three-way merge with what was applied last: a dropped field goes, a foreign one stays, list
entries with a `name`, `type` or `uid` are matched by it. An apply that changes nothing keeps the resourceVersion and
tells no watcher, as the real one. Dropping `spec.replicas` of a Deployment sets it to 1 unless `scale` owns it.
"""

import copy
import itertools
from collections.abc import Callable

from agentfleet.cluster import Listed, Listing
from agentfleet.errors import Conflict, Transient
from agentfleet.objects import FIELD_MANAGER, KINDS, MANAGED_BY, Key, Manifest, key_of
from agentfleet.planning.nodes import pod_requests, total

_NOT_SPEC = ("apiVersion", "kind", "metadata", "status")
_SCALED = ("Deployment", "LeaderWorkerSet")
_LIST_KEYS = ("name", "type", "uid")


class FakeCluster:
    """See the module docstring. `objects` is the state; every method of the Protocol is here."""

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.writes: list[tuple[str, Key]] = []
        self.posted_events: list[Manifest] = []
        self.pod_events_by_uid: dict[str, list[Manifest]] = {}
        self.absent_kinds: set[str] = set()
        self.usage_asked = 0
        self.on_change: Callable[[Manifest, bool], object] = lambda manifest, deleted: None
        self.fail: Callable[[str, Key], Exception | None] = lambda verb, key: None
        self._applied: dict[tuple[Key, str], Manifest] = {}
        self._scaled: set[Key] = set()
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)
        self._version = 0

    # --- what tests do -------------------------------------------------------------------------------------------

    def put(self, manifest: Manifest) -> Manifest:
        """Create or replace an object as a user or a controller would, without our field manager."""
        key = key_of(manifest)
        old = self.objects.get(key)
        new = copy.deepcopy(manifest)
        new["metadata"] = {**(old["metadata"] if old else {}), **new["metadata"]}
        if old is not None and "status" in old:
            new.setdefault("status", copy.deepcopy(old["status"]))
        return self._store(key, old, new)

    def patch_status(self, key: Key, status: Manifest) -> Manifest:
        """Replace an object's status as its controller would."""
        old = self.objects[key]
        return self._store(key, old, {**copy.deepcopy(old), "status": copy.deepcopy(status)})

    def remove(self, key: Key) -> None:
        """Delete an object and, as the garbage collector would, everything that it owns."""
        gone = self.objects.pop(key, None)
        if gone is None:
            return
        self._applied = {owner: manifest for owner, manifest in self._applied.items() if owner[0] != key}
        self._scaled.discard(key)
        gone["metadata"]["resourceVersion"] = self._next_version()
        self.on_change(copy.deepcopy(gone), True)
        uid = gone["metadata"]["uid"]
        owned = [
            child
            for child, manifest in self.objects.items()
            if any(owner.get("uid") == uid for owner in manifest["metadata"].get("ownerReferences", ()))
        ]
        for child in owned:
            self.remove(child)

    # --- the Protocol --------------------------------------------------------------------------------------------

    async def apply(self, manifest: Manifest, *, force: bool) -> Manifest:
        key = key_of(manifest)
        self._write("apply", key)
        desired = {name: value for name, value in copy.deepcopy(manifest).items() if name != "status"}
        old = self.objects.get(key)
        if old is None and desired["metadata"].get("uid"):
            raise Conflict(f"{key}: uid mismatch: the object is gone")
        if old is not None and not force and not _managed(old):
            raise Conflict(f"{key}: Apply failed with a conflict: the fields belong to another manager")
        before = self._applied.get((key, "main"), {})
        new = _merge(old or {"metadata": {}}, before, desired)
        if key.kind in _SCALED:
            self._keep_replicas(key, old, desired, new)
        new["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER, "operation": "Apply"}]
        self._applied[key, "main"] = desired
        return self._store(key, old, new)

    async def create(self, manifest: Manifest) -> bool:
        key = key_of(manifest)
        self._write("create", key)
        if key in self.objects:
            return False
        self._store(key, None, copy.deepcopy(manifest))
        return True

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        key = key_of(manifest)
        self._write("apply_status", key)
        old = self.objects.get(key)
        if old is None:
            return None
        status = copy.deepcopy(manifest.get("status", {}))
        before = self._applied.get((key, "status"), {})
        self._applied[key, "status"] = status
        return self._store(key, old, {**copy.deepcopy(old), "status": _merge(old.get("status", {}), before, status)})

    async def scale(self, key: Key, replicas: int) -> None:
        self._write("scale", key)
        old = self.objects.get(key)
        if old is None:
            raise Transient(f"{key} is not found")
        self._scaled.add(key)
        self._store(key, old, {**copy.deepcopy(old), "spec": {**copy.deepcopy(old["spec"]), "replicas": replicas}})

    async def replace_ports(self, key: Key, ports: list[Manifest]) -> None:
        self._write("replace_ports", key)
        old = self.objects[key]
        self._store(key, old, {**copy.deepcopy(old), "spec": {**old["spec"], "ports": copy.deepcopy(ports)}})

    async def get(self, key: Key) -> Manifest | None:
        self._may_fail("get", key)
        return copy.deepcopy(self.objects.get(key))

    async def delete(self, key: Key, uid: str) -> None:
        self._write("delete", key)
        old = self.objects.get(key)
        if old is not None and old["metadata"]["uid"] == uid:
            self.remove(key)

    async def list_metadata(self, kind: str) -> Listing:
        self._may_fail("list", Key(kind, "", ""))
        items = tuple(
            Listed(key, manifest["metadata"]["uid"], int(manifest["metadata"]["resourceVersion"]))
            for key, manifest in sorted(self.objects.items())
            if key.kind == kind and (not KINDS[kind].managed_only or _has_our_label(manifest))
        )
        return Listing(self._version, items)

    async def serves(self, kind: str) -> bool:
        self._may_fail("serves", Key(kind, "", ""))
        return kind not in self.absent_kinds

    async def node_usage(self) -> dict[str, dict[str, int]]:
        self._may_fail("node_usage", Key("Pod", "", ""))
        self.usage_asked += 1
        usage: dict[str, dict[str, int]] = {}
        for key, pod in self.objects.items():
            node = pod.get("spec", {}).get("nodeName")
            if key.kind == "Pod" and node and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                usage[node] = total((usage.get(node, {}), pod_requests(pod)))
        return usage

    async def pod_events(self, namespace: str, uid: str) -> list[Manifest]:
        self._may_fail("events", Key("Pod", namespace, uid))
        return copy.deepcopy(self.pod_events_by_uid.get(uid, []))

    async def post_event(self, manifest: Manifest) -> None:
        self._may_fail("post_event", Key("Event", manifest["metadata"].get("namespace", ""), ""))
        self.posted_events.append(copy.deepcopy(manifest))

    # --- inside --------------------------------------------------------------------------------------------------

    def _write(self, verb: str, key: Key) -> None:
        self._may_fail(verb, key)
        self.writes.append((verb, key))

    def _may_fail(self, verb: str, key: Key) -> None:
        error = self.fail(verb, key)
        if error is not None:
            raise error

    def _next_version(self) -> str:
        self._version = next(self._versions)
        return str(self._version)

    def _keep_replicas(self, key: Key, old: Manifest | None, desired: Manifest, new: Manifest) -> None:
        if "replicas" in desired["spec"]:
            return
        owned_by_scale = old is not None and key in self._scaled
        new["spec"]["replicas"] = old["spec"]["replicas"] if old is not None and owned_by_scale else 1

    def _store(self, key: Key, old: Manifest | None, new: Manifest) -> Manifest:
        if old is not None and _content(old) == _content(new):
            return copy.deepcopy(old)
        metadata = new["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._uids)}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        changed = old is None or _spec(old) != _spec(new)
        metadata["generation"] = (old["metadata"]["generation"] if old else 0) + (1 if changed else 0)
        metadata["resourceVersion"] = self._next_version()
        self.objects[key] = new
        self.on_change(copy.deepcopy(new), False)
        return copy.deepcopy(new)


def _managed(manifest: Manifest) -> bool:
    return any(entry["manager"] == FIELD_MANAGER for entry in manifest["metadata"].get("managedFields", ()))


def _has_our_label(manifest: Manifest) -> bool:
    labels: dict[str, str] = manifest["metadata"].get("labels", {})
    return labels.get(MANAGED_BY) == FIELD_MANAGER


def _spec(manifest: Manifest) -> Manifest:
    return {name: value for name, value in manifest.items() if name not in _NOT_SPEC}


def _content(manifest: Manifest) -> Manifest:
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
    return {**manifest, "metadata": metadata}


def _merge(live: object, before: object, desired: object) -> Manifest:
    """`live` with `desired` over it and without what only `before` asked for."""
    merged = _merge_value(live, before, desired)
    assert isinstance(merged, dict)
    return merged


def _merge_value(live: object, before: object, desired: object) -> object:
    if isinstance(live, dict) and isinstance(desired, dict):
        dropped = set(before) - set(desired) if isinstance(before, dict) else set()
        merged = {name: copy.deepcopy(value) for name, value in live.items() if name not in dropped}
        earlier = before if isinstance(before, dict) else {}
        for name, value in desired.items():
            merged[name] = _merge_value(live.get(name), earlier.get(name), value)
        return merged
    if isinstance(live, list) and isinstance(desired, list):
        return _merge_list(live, before, desired)
    return copy.deepcopy(desired)


def _merge_list(live: list[object], before: object, desired: list[object]) -> object:
    earlier = before if isinstance(before, list) else []
    key = next((name for name in _LIST_KEYS if _keyed(name, [*live, *desired])), None)
    if key is None:
        return copy.deepcopy(desired)
    old = _by(key, live)
    prior = _by(key, earlier)
    new = _by(key, desired)
    foreign = [copy.deepcopy(entry) for name, entry in old.items() if name not in new and name not in prior]
    return [_merge_value(old.get(name), prior.get(name), entry) for name, entry in new.items()] + foreign


def _keyed(name: str, entries: list[object]) -> bool:
    return bool(entries) and all(isinstance(entry, dict) and name in entry for entry in entries)


def _by(name: str, entries: list[object]) -> dict[object, object]:
    return {entry[name]: entry for entry in entries if isinstance(entry, dict) and name in entry}
