"""From a watch event to the keys that it concerns: fills the cache, and wakes a parent only for news that it reads.

Status writes of our own come back as events, and every resync of a controller touches its objects: waking parents for
those would keep reconcile busy with itself. News is judged against what the *watch* showed last, not against the cache:
the cache also learns from answers to our writes, and those may hold a foreign change that reconcile has not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentfleet.cache import Cache, pack, slim
from agentfleet.metrics import Metrics
from agentfleet.objects import GROUP, KINDS, PARENTS, Key, Kind, Manifest, key_of, parent_of
from agentfleet.references import References, served_key
from agentfleet.resources.conditions import READY


def relevant(manifest: Manifest) -> Manifest:
    """What of an object wakes its parents, and itself where it is one, when it changes.

    Of agentfleet's own kinds only what their user changes, never status; of others all that reconcile reads.
    """
    metadata = manifest["metadata"]
    if _is_ours(manifest):
        return {
            "uid": metadata["uid"],
            "generation": metadata.get("generation"),
            "deletionTimestamp": metadata.get("deletionTimestamp"),
            "annotations": _annotations(metadata.get("annotations", {})),
        }
    kept = slim(manifest)
    return {**kept, "metadata": {name: value for name, value in kept["metadata"].items() if name != "resourceVersion"}}


def told(manifest: Manifest) -> Manifest:
    """What of one of agentfleet's own kinds wakes those that refer to it, beside that: whether it serves, and where."""
    status = manifest.get("status") or {}
    ready = [condition for condition in status.get("conditions") or () if condition.get("type") == READY]
    return {
        "url": status.get("url"),
        "ready": [(condition.get("status"), condition.get("reason")) for condition in ready],
    }


def _is_ours(manifest: Manifest) -> bool:
    return KINDS[manifest["kind"]].group == GROUP


def _annotations(annotations: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in annotations.items() if name.startswith(GROUP + "/")}


class Observer:
    """What handlers.py calls for each event."""

    def __init__(
        self,
        *,
        cache: Cache,
        references: References,
        enqueue: Callable[[Key], None],
        metrics: Metrics,
    ) -> None:
        self._cache = cache
        self._references = references
        self._enqueue = enqueue
        self._metrics = metrics
        self._seen: list[Callable[[Key, bool], None]] = []
        self._fingerprints: dict[Key, _Fingerprint] = {}

    def subscribe(self, seen: Callable[[Key, bool], None]) -> None:
        """Tell `seen(key, initial)` of every event, after the cache; `initial` where it came by a listing."""
        self._seen.append(seen)

    def __call__(self, kind: Kind, body: Manifest, *, deleted: bool, initial: bool) -> None:
        """Take in one event; objects of a listing carry no kind, so it is given."""
        manifest = {**body, "apiVersion": kind.api_version, "kind": kind.name}
        key = key_of(manifest)
        self._metrics.watch_events.labels(kind.name).inc()
        former = self._cache.parent(key)
        self._cache.observe(manifest, deleted=deleted)
        self._notice(key, manifest, former, deleted=deleted)
        for seen in self._seen:
            seen(key, initial)

    def gone(self, key: Key) -> None:
        """A listing has shown that a cached object no longer exists."""
        former = self._cache.parent(key)
        self._cache.drop(key)
        self._fingerprints.pop(key, None)
        self._wake(key, former)

    def served(self, kind: str) -> None:
        """An optional kind is served from now on, or is not any more."""
        for parent in self._references.parents(served_key(kind)):
            self._enqueue(parent)

    def _notice(self, key: Key, manifest: Manifest, former: Key | None, *, deleted: bool) -> None:
        known, seen = self._fingerprints.get(key), _fingerprint(manifest)
        if deleted:
            if known is not None and known.uid == seen.uid:
                del self._fingerprints[key]
        else:
            self._fingerprints[key] = seen
        if deleted or known is None or (known.uid, known.own) != (seen.uid, seen.own):
            self._wake(key, former, parent_of(manifest))
        elif known.told != seen.told:
            for parent in self._references.parents(key):
                self._enqueue(parent)

    def _wake(self, key: Key, *parents: Key | None) -> None:
        concerned = {parent for parent in parents if parent is not None}
        if key.kind in PARENTS:
            concerned.add(key)
        concerned.update(self._references.parents(key))
        for parent in sorted(concerned):
            self._enqueue(parent)


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """What the watch showed last of one object, in hashes."""

    uid: str
    own: int
    """Of what wakes its parents and itself."""
    told: int
    """Of what wakes those that refer to it."""


def _fingerprint(manifest: Manifest) -> _Fingerprint:
    own = hash(pack(relevant(manifest)))
    return _Fingerprint(manifest["metadata"]["uid"], own, hash(pack(told(manifest))) if _is_ours(manifest) else own)
