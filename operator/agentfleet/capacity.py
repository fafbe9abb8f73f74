"""What is free on the nodes, asked for when a decision needs it: rollouts of GPU pods, hardware profiles.

Watching every pod of the cluster would cost far more than the few decisions that look at them, so the API server is
asked, and the answer is held for a moment for whoever asks next. It decides nothing.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from agentfleet.cache import Cache
from agentfleet.cluster import Cluster
from agentfleet.planning.nodes import NodeView, node_view

_HELD = 15.0
"""Seconds for which an answer is good enough."""


class Capacity:
    """Nodes from the cache, with what pods have requested on them."""

    def __init__(self, cluster: Cluster, cache: Cache, *, known: bool) -> None:
        """`known` is False where nodes are not watched, or pods of other namespaces may not be seen."""
        self._cluster = cluster
        self._cache = cache
        self._known = known
        self._usage: Mapping[str, Mapping[str, int]] = {}
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def nodes(self) -> tuple[NodeView, ...] | None:
        """All nodes, sorted by name; None where they are not known. Raises what Cluster.node_usage raises."""
        if not self._known:
            return None
        usage = await self._held_usage()
        nodes = (self._cache.get(key) for key in self._cache.keys("Node"))
        views = (node_view(node, ()) for node in nodes if node is not None)
        return tuple(replace(view, used=usage.get(view.name, {})) for view in views)

    async def _held_usage(self) -> Mapping[str, Mapping[str, int]]:
        """Whoever comes while the API server is being asked waits for the same answer."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._asked_at is None or now - self._asked_at > _HELD:
                self._usage = await self._cluster.node_usage()
                self._asked_at = now
            return self._usage
