"""Carries out wishes against the cluster: sends only what would change something, never takes over what is not ours."""

import copy
import logging

from agentfleet.cache import Cache
from agentfleet.cluster import Cluster
from agentfleet.errors import AgentfleetError, Conflict, InvalidSpec, NotReady
from agentfleet.manifests.merge import contains
from agentfleet.manifests.names import APPLIED_ANNOTATION
from agentfleet.metrics import Metrics
from agentfleet.objects import AGENT_ROUTE_LABEL, MANAGED_BY, PARENT_LABELS, Key, Manifest, key_of
from agentfleet.planning.victims import marked

logger = logging.getLogger(__name__)

_FOREIGN_RETRY = 30.0
"""Seconds between looks at a foreign object that has one of our names: such objects are not watched."""

_GOING_RETRY = 1.0
"""Seconds between looks at a child of a deleted namesake, until the garbage collector has taken it."""


class Applier:
    """Applies and scales children; the answers go into the cache, so that the next pass sees what it did."""

    def __init__(self, cluster: Cluster, cache: Cache, metrics: Metrics) -> None:
        self._cluster = cluster
        self._cache = cache
        self._metrics = metrics

    async def apply(self, manifest: Manifest) -> None:
        """Make the object as `manifest` says; nothing is sent where it already is so.

        InvalidSpec (NameConflict) where the name belongs to somebody else, NotReady where the object is on its way out.
        """
        key = key_of(manifest)
        live = self._cache.get(key)
        if live is None:
            answer = await self._first_apply(key, manifest)
        else:
            _check_owner(key, live, manifest)
            if _is_current(live, manifest):
                self._metrics.applies_skipped.labels(key.kind).inc()
                return
            if _has_foreign_ports(live, manifest):
                await self._cluster.replace_ports(key, manifest["spec"]["ports"])
            answer = await self._cluster.apply(manifest, force=True)
        _check_owner(key, answer, manifest)
        self._cache.observe(answer)

    async def scale(self, key: Key, replicas: int) -> None:
        """Set a workload's replicas unless it has them."""
        live = self._cache.get(key)
        if live is None or live["spec"].get("replicas", 1) == replicas:
            return
        await self._cluster.scale(key, replicas)

    async def mark(self, pod: Manifest, cost: str) -> None:
        """Give a pod its deletion cost: a courtesy, without which pods go in any order, and finish their work too."""
        try:
            answer = await self._cluster.apply(marked(pod, cost), force=True)
        except AgentfleetError as error:
            logger.warning("pod %s gets no deletion cost: %s", pod["metadata"]["name"], error)
        else:
            self._cache.observe(answer)

    async def _first_apply(self, key: Key, manifest: Manifest) -> Manifest:
        # Without force: on an object that somebody else made, a field of theirs answers with a conflict.
        try:
            return await self._cluster.apply(manifest, force=False)
        except Conflict:
            found = await self._cluster.get(key)
            if found is None:
                raise
            _check_owner(key, found, manifest)
            return await self._cluster.apply(manifest, force=True)


def _is_current(live: Manifest, manifest: Manifest) -> bool:
    """True when the last apply was of this very wish and nobody has undone any of it since."""
    applied = live["metadata"].get("annotations", {}).get(APPLIED_ANNOTATION)
    if applied != manifest["metadata"]["annotations"][APPLIED_ANNOTATION]:
        return False
    wish = copy.copy(manifest)
    if AGENT_ROUTE_LABEL not in manifest["metadata"].get("labels", {}) and "replicas" in wish.get("spec", {}):
        # The number of pods is compared and written by scale(); of gateways, which know each other, it is configured.
        wish["spec"] = {name: value for name, value in wish["spec"].items() if name != "replicas"}
    return contains(live, wish)


def _has_foreign_ports(live: Manifest, manifest: Manifest) -> bool:
    """True for a Service with a port that is not ours: if it has the name of one of ours, no apply is accepted."""
    if manifest["kind"] != "Service":
        return False
    ours = {port["port"] for port in manifest["spec"]["ports"]}
    return any(port["port"] not in ours for port in live["spec"].get("ports", ()))


def _check_owner(key: Key, live: Manifest, manifest: Manifest) -> None:
    ours = next(iter(manifest["metadata"].get("ownerReferences", ())), None)
    owners = live["metadata"].get("ownerReferences", [])
    if ours is None or (key.kind == "PersistentVolumeClaim" and not owners):
        # A claim that was kept has no owner, also where it is to have one from now on.
        _check_labels(key, live, manifest)
    elif not any(owner["uid"] == ours["uid"] for owner in owners):
        if any((owner["kind"], owner["name"]) == (ours["kind"], ours["name"]) for owner in owners):
            raise NotReady(
                "WaitingForDeletion", f"{key.kind} {key.name} of a deleted namesake is still there", after=_GOING_RETRY
            )
        raise _conflict(key, ours["kind"])
    if "deletionTimestamp" in live["metadata"]:
        raise NotReady("WaitingForDeletion", f"{key.kind} {key.name} is being deleted", after=_GOING_RETRY)


def _check_labels(key: Key, live: Manifest, manifest: Manifest) -> None:
    """A child without owner, which outlives its parent, is known by its labels."""
    labels, wanted = live["metadata"].get("labels", {}), manifest["metadata"]["labels"]
    ours = [label for label in (MANAGED_BY, *PARENT_LABELS) if label in wanted]
    if any(labels.get(label) != wanted[label] for label in ours):
        raise _conflict(key, next(PARENT_LABELS[label] for label in ours if label in PARENT_LABELS))


def _conflict(key: Key, parent: str) -> InvalidSpec:
    return InvalidSpec("NameConflict", f"{key.kind} {key.name} exists and is not this {parent}'s.", _FOREIGN_RETRY)
