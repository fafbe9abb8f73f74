"""reconcile(key): read the cache → validate → plan → apply → status. The one path for every change of every kind.

Level-based: it never asks which event happened, and running it twice writes nothing the second time. Here is what is
alike for all kinds: absence, errors, ghosts. What a kind needs is in reconcilers/, what shall be is said by planning/.
"""

import logging
from collections.abc import Mapping
from typing import Any

from agentfleet.errors import AgentfleetError, InvalidSpec, NotReady
from agentfleet.objects import Key, Manifest
from agentfleet.planning.interim import internal_error, waiting
from agentfleet.reconcilers.base import Ghost, KindReconciler, Surroundings, sooner

logger = logging.getLogger(__name__)


class Reconciler:
    """Brings the children and the status of one object to what its spec says."""

    def __init__(self, around: Surroundings, kinds: Mapping[str, KindReconciler[Any]]) -> None:
        """`kinds` has one for each of objects.PARENTS."""
        self._cache = around.cache
        self._metrics = around.metrics
        self._now = around.now
        self._kinds = kinds

    async def __call__(self, key: Key) -> float | None:
        """One pass over `key`; returns the seconds after which to look again, None where the watches suffice."""
        kind = self._kinds[key.kind]
        parent = self._cache.get(key)
        if parent is None or "deletionTimestamp" in parent["metadata"]:
            # Children go by garbage collection: they carry an owner reference, and no finalizer holds the parent.
            kind.forget(key)
            return None
        try:
            return await kind.work(key, parent, kind.status_of(parent))
        except Ghost:
            self._drop(key, kind)
            return None
        except InvalidSpec as error:
            before = kind.last_status(key, parent)
            return sooner(error.after, await self._say(kind, parent, before, kind.stalled(key, parent, before, error)))
        except NotReady as error:
            before = kind.last_status(key, parent)
            await self._say(kind, parent, before, waiting(before, error, _generation(parent), self._now()))
            raise
        except AgentfleetError:
            raise
        except Exception as error:
            before = kind.last_status(key, parent)
            await self._say(kind, parent, before, internal_error(before, _generation(parent), error, self._now()))
            raise

    async def _say(self, kind: KindReconciler[Any], parent: Manifest, before: Any, after: Any) -> float | None:
        due: float | None = await kind.status.write(parent, before, after, self._now())
        return due

    def _drop(self, key: Key, kind: KindReconciler[Any]) -> None:
        logger.info("dropped: it was deleted while the watch was away", extra={"key": str(key)})
        self._metrics.ghosts_dropped.labels(key.kind).inc()
        self._cache.drop(key)
        kind.forget(key)


def _generation(parent: Manifest) -> int:
    generation: int = parent["metadata"]["generation"]
    return generation
