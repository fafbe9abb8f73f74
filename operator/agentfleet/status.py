"""Writes status, and Events about it: at once for a decision or a changed condition, rarely for mere wording."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Generic

from agentfleet.cache import Cache
from agentfleet.cluster import Cluster
from agentfleet.errors import AgentfleetError
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.announcements import event_of, events
from agentfleet.planning.interim import Status
from agentfleet.resources.agent_status import AgentStatus
from agentfleet.resources.agentroute_status import AgentRouteStatus
from agentfleet.resources.modelserver_status import ModelServerStatus

logger = logging.getLogger(__name__)


class StatusWriter(Generic[Status]):
    """For the objects of one kind. Remembers when each one's status was last written, to hold to the interval."""

    def __init__(
        self, cluster: Cluster, cache: Cache, interval: float, decisions: Callable[[Status], dict[str, Any]]
    ) -> None:
        """`decisions` is a status without wording and live numbers: what is worth a write at once."""
        self._cluster = cluster
        self._cache = cache
        self._interval = interval
        self._decisions = decisions
        self._written: dict[Key, datetime] = {}

    async def write(self, parent: Manifest, before: Status, after: Status, now: datetime) -> float | None:
        """Write `after` where it says something new; returns the seconds until a put-off wording is due."""
        key = key_of(parent)
        if after == before:
            return None
        if self._decisions(after) == self._decisions(before):
            # After a restart the interval starts anew: a restart alone is no reason to write.
            since = (now - self._written.setdefault(key, now)).total_seconds()
            if since < self._interval:
                return self._interval - since
        self._written[key] = now
        metadata = {"name": key.name, "namespace": key.namespace}
        answer = await self._cluster.apply_status(
            {"apiVersion": parent["apiVersion"], "kind": parent["kind"], "metadata": metadata, "status": after.dump()}
        )
        if answer is None:
            return None
        self._cache.observe(answer)
        for event in events(parent, before, after, now):
            await self._announce(event)
        return None

    async def tell(self, parent: Manifest, news: Iterable[tuple[str, str, str]], now: datetime) -> None:
        """Events that no change of status tells of: type, reason and message of each."""
        for words in news:
            await self._announce(event_of(parent, *words, now))

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._written.pop(key, None)

    async def _announce(self, event: Manifest) -> None:
        try:
            await self._cluster.post_event(event)
        except AgentfleetError as error:
            # An Event is a courtesy; the status that it tells of is written.
            logger.warning("event %s could not be posted: %s", event["reason"], error)


def model_server_decisions(status: ModelServerStatus) -> dict[str, Any]:
    """Status of a ModelServer without what differs from look to look without anything having happened."""
    data = _without_messages(status.dump(), "conditions", "models")
    data.get("plan", {}).pop("explanation", None)
    for name in ("capacity", "gpu", "report"):
        data.pop(name, None)
    return _without_holding(data)


def agent_decisions(status: AgentStatus) -> dict[str, Any]:
    """The same of an Agent."""
    return _without_holding(_without_messages(status.dump(), "conditions"))


def agent_route_decisions(status: AgentRouteStatus) -> dict[str, Any]:
    """The same of an AgentRoute."""
    return _without_messages(status.dump(), "conditions", "targets", "parents")


def _without_holding(data: dict[str, Any]) -> dict[str, Any]:
    scaling = data.get("scaling", {})
    scaling.pop("suggestedMinReplicas", None)
    if scaling.get("decision", {}).get("state") == "Holding":
        del scaling["decision"]
    return data


def _without_messages(data: dict[str, Any], *lists: str) -> dict[str, Any]:
    for name in lists:
        for item in data.get(name, ()):
            item.pop("message", None)
    return data
