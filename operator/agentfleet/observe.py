"""From a watch event to the keys that it concerns: fills the cache, and wakes a parent only for news that it reads.

Status writes of our own come back as events, and every resync of a controller touches its objects: waking parents for
those would keep reconcile busy with itself. News is judged against what the *watch* showed last, not against the cache:
the cache also learns from answers to our writes, and those may hold a foreign change that reconcile has not seen.
"""

from collections.abc import Callable
from typing import Any

from agentfleet.cache import Cache, pack, slim
from agentfleet.metrics import Metrics
from agentfleet.objects import GROUP, PARENTS, Key, Kind, Manifest, key_of, parent_of
from agentfleet.references import References


def relevant(manifest: Manifest) -> Manifest:
    """What of an object wakes its parents when it changes.

    Of a parent kind only what its user changes, never status; of others all that reconcile reads.
    """
    metadata = manifest["metadata"]
    if manifest["kind"] in PARENTS:
        return {
            "uid": metadata["uid"],
            "generation": metadata.get("generation"),
            "deletionTimestamp": metadata.get("deletionTimestamp"),
            "annotations": _ours(metadata.get("annotations", {})),
        }
    kept = slim(manifest)
    return {**kept, "metadata": {name: value for name, value in kept["metadata"].items() if name != "resourceVersion"}}


def _ours(annotations: dict[str, Any]) -> dict[str, Any]:
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
        self._fingerprints: dict[Key, tuple[str, int]] = {}

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
        if self._is_news(key, manifest, deleted=deleted):
            self._wake(key, former, parent_of(manifest))
        for seen in self._seen:
            seen(key, initial)

    def gone(self, key: Key) -> None:
        """A listing has shown that a cached object no longer exists."""
        former = self._cache.parent(key)
        self._cache.drop(key)
        self._fingerprints.pop(key, None)
        self._wake(key, former)

    def _is_news(self, key: Key, manifest: Manifest, *, deleted: bool) -> bool:
        uid = manifest["metadata"]["uid"]
        known = self._fingerprints.get(key)
        if deleted:
            if known is not None and known[0] == uid:
                del self._fingerprints[key]
            return True
        fingerprint = (uid, hash(pack(relevant(manifest))))
        self._fingerprints[key] = fingerprint
        return fingerprint != known

    def _wake(self, key: Key, *parents: Key | None) -> None:
        concerned = {parent for parent in parents if parent is not None}
        if key.kind in PARENTS:
            concerned.add(key)
        concerned.update(self._references.parents(key))
        for parent in sorted(concerned):
            self._enqueue(parent)
