"""The one door to the API server: a Protocol for the rest of the operator, and KubeCluster, which implements it.

Nearly all writes are server-side apply with one field manager; nothing here decides what to write.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agentfleet.objects import Key, Manifest


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a metadata listing."""

    key: Key
    uid: str
    resource_version: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of one kind at one moment; `resource_version` is that moment."""

    resource_version: int
    items: tuple[Listed, ...]


class Cluster(Protocol):
    """What the operator asks of an API server.

    Every method raises Transient where a later try may help (refused, timed out, 429, 5xx), Conflict on 409 and
    InvalidSpec(reason="Rejected") with the server's own words on a request that will never be accepted (400, 403, 422,
    and the 500 that the server answers to a patch it cannot type).
    """

    async def apply(self, manifest: Manifest, *, force: bool) -> Manifest:
        """Server-side apply `manifest`, creating it where absent; returns the live object.

        Without force a field of another manager is a Conflict: the first apply of a name that we have never seen
        is made so, and an object that is not ours is never taken over.
        """

    async def create(self, manifest: Manifest) -> bool:
        """Create an object that is only ever made, never read or changed; False where one of its name is there."""

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        """Server-side apply the status sub-resource; None where the object is gone."""

    async def scale(self, key: Key, replicas: int) -> None:
        """Server-side apply `replicas` on the scale sub-resource, with force."""

    async def replace_ports(self, key: Key, ports: list[Manifest]) -> None:
        """Replace all ports of a Service by a merge patch: an apply keeps, beside ours, what others have put there."""

    async def get(self, key: Key) -> Manifest | None:
        """The live object, None where absent."""

    async def delete(self, key: Key, uid: str) -> None:
        """Delete in the background if it still is the object with this uid; absent is fine."""

    async def list_metadata(self, kind: str) -> Listing:
        """Names, uids and versions of all objects of a kind in the watched namespaces, by a consistent read."""

    async def serves(self, kind: str) -> bool:
        """True where the API server has this kind now: an optional kind's CRD may be absent."""

    async def node_usage(self) -> Mapping[str, Mapping[str, int]]:
        """Node → resource → what the pods on it have requested: CPU in thousandths, all else in units or bytes.

        Pods of all namespaces, which needs that permission; only those that have a node and have not ended.
        """

    async def pod_events(self, namespace: str, uid: str) -> list[Manifest]:
        """core/v1 Events about one pod, oldest first: mount failures appear nowhere else."""

    async def post_event(self, manifest: Manifest) -> None:
        """Create one core/v1 Event."""
