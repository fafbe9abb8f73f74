"""Writes status, and Events about it: at once for a decision or a changed condition, rarely for mere wording."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from agentfleet.cache import Cache
from agentfleet.cluster import Cluster
from agentfleet.errors import AgentfleetError
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.announcements import event_of, events
from agentfleet.resources.modelserver_status import ModelServerStatus

logger = logging.getLogger(__name__)


class StatusWriter:
    """Remembers when each object's status was last written, to hold to the interval."""

    def __init__(self, cluster: Cluster, cache: Cache, interval: float) -> None:
        self._cluster = cluster
        self._cache = cache
        self._interval = interval
        self._written: dict[Key, datetime] = {}

    async def write(
        self, parent: Manifest, before: ModelServerStatus, after: ModelServerStatus, now: datetime
    ) -> float | None:
        """Write `after` where it says something new; returns the seconds until a put-off wording is due."""
        key = key_of(parent)
        if after == before:
            return None
        if _decisions(after) == _decisions(before):
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


def _decisions(status: ModelServerStatus) -> dict[str, Any]:
    """Status without wording and live numbers: they differ from look to look without anything having happened."""
    data = status.dump()
    for item in (*data.get("conditions", ()), *data.get("models", ())):
        item.pop("message", None)
    data.get("plan", {}).pop("explanation", None)
    for name in ("capacity", "gpu", "report"):
        data.pop(name, None)
    scaling = data.get("scaling", {})
    scaling.pop("suggestedMinReplicas", None)
    if scaling.get("decision", {}).get("state") == "Holding":
        del scaling["decision"]
    return data
