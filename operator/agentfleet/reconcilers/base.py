"""What the reconcilers of all kinds share: their surroundings, how children are made, what reconcile.py asks of them.

    reconcile.py ─ errors, ghosts ─▶ KindReconciler.work ─▶ planning/ (what shall be) ─▶ Children (makes it so)
                                                         └▶ StatusWriter

Nothing here knows a kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from agentfleet.apply import Applier
from agentfleet.cache import Cache
from agentfleet.cluster import Cluster
from agentfleet.errors import InvalidSpec
from agentfleet.metrics import Metrics
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.interim import Status, status_of
from agentfleet.planning.questions import mount_failure, stuck_before_start
from agentfleet.references import References
from agentfleet.settings import Settings
from agentfleet.status import StatusWriter

_Parent = TypeVar("_Parent")


@dataclass(frozen=True)
class Surroundings:
    """The parts of the operator that every kind needs."""

    cluster: Cluster
    cache: Cache
    references: References
    settings: Settings
    metrics: Metrics
    now: Callable[[], datetime]


class Ghost(Exception):
    """The object in work is in the cache alone: it was deleted while the watch was away."""


class KindReconciler(ABC, Generic[Status]):
    """Brings the children and the status of the objects of one kind to what their specs say."""

    def __init__(
        self, around: Surroundings, model: type[Status], decisions: Callable[[Status], dict[str, Any]]
    ) -> None:
        """`decisions` is what of a status is worth a write at once (status.py)."""
        self._around = around
        self._model = model
        self._children = Children(around)
        self.status = StatusWriter(around.cluster, around.cache, around.settings.status_interval, decisions)

    @abstractmethod
    async def work(self, key: Key, parent: Manifest, before: Status) -> float | None:
        """One pass; returns the seconds after which to look again, None where the watches suffice."""

    @abstractmethod
    def stalled(self, key: Key, parent: Manifest, before: Status, error: InvalidSpec) -> Status:
        """The status of an object that cannot be acted on."""

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._around.references.set(key, ())
        self.status.forget(key)

    def status_of(self, parent: Manifest) -> Status:
        """The status that it carries."""
        return status_of(self._model, parent)

    def last_status(self, key: Key, parent: Manifest) -> Status:
        """Status after what was written in a pass that did not come to its end."""
        return self.status_of(self._around.cache.get(key) or parent)


class Children:
    """Makes and deletes children of any parent."""

    def __init__(self, around: Surroundings) -> None:
        self._cluster = around.cluster
        self._cache = around.cache
        self.applier = Applier(around.cluster, around.cache, around.metrics)

    async def make(self, apply: Iterable[Manifest], delete: Iterable[tuple[Key, str]]) -> None:
        """Apply in order, then delete."""
        for manifest in apply:
            await self.applier.apply(manifest)
        for key, uid in delete:
            await self._cluster.delete(key, uid)

    async def check_ghost(
        self, key: Key, uid: str, observed_generation: int | None, children: Sequence[Manifest]
    ) -> None:
        """Raise Ghost where children are missing because their parent is: an outage may have hidden its deletion.

        Children of a ghost would be made and garbage-collected in turns until a listing tells. An object that has never
        been worked on has no children yet, so creating one costs no look.
        """
        if observed_generation in (None, -1) or all(self._cache.get(key_of(child)) for child in children):
            return
        live = await self._cluster.get(key)
        if live is None or live["metadata"]["uid"] != uid:
            raise Ghost(str(key))


def parsed(read: Callable[[Manifest], _Parent], parent: Manifest) -> _Parent:
    """`parent` as its model; InvalidSpec where the API server's checks were not in force."""
    try:
        return read(parent)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec("InvalidSpec", f"{where}: {first['input']!r}: {first['msg']}.") from error
    except ValueError as error:
        raise InvalidSpec("InvalidSpec", f"{error}.") from error


async def mount_failures(around: Surroundings, pods: Iterable[Manifest]) -> dict[str, str]:
    """Pod name → why a volume of it cannot be mounted: told by Events alone, which are asked for where a pod hangs."""
    failures = {}
    for pod in stuck_before_start(pods, around.now()):
        metadata = pod["metadata"]
        message = mount_failure(await around.cluster.pod_events(metadata["namespace"], metadata["uid"]))
        if message:
            failures[metadata["name"]] = message
    return failures


def nodes(around: Surroundings) -> list[Manifest] | None:
    """All nodes; None where they are not watched."""
    if not around.settings.watch_nodes:
        return None
    found = (around.cache.get(key) for key in around.cache.keys("Node"))
    return [node for node in found if node is not None]


def sites(around: Surroundings) -> frozenset[str] | None:
    """Sites that nodes have; None where nodes are not watched."""
    found, label = nodes(around), around.settings.site_label
    if found is None:
        return None
    labels = (node["metadata"].get("labels", {}) for node in found)
    return frozenset(values[label] for values in labels if label in values)


def sooner(*times: float | None) -> float | None:
    """The earliest; None where there is none."""
    return min((time for time in times if time is not None), default=None)
