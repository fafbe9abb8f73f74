"""Makes the Secret that identities are signed with, where a namespace has none: for routes and agents alike.

It is never read: pods mount it. That it is there can therefore not be seen, but by pods that serve.
"""

import logging
import secrets
from datetime import datetime

from agentfleet.manifests.gateway_identity import identity_secret
from agentfleet.reconcilers.base import Surroundings

logger = logging.getLogger(__name__)

_BYTES = 32
_RETRY = 60.0
"""Seconds between tries in one namespace while pods that mount it are not ready."""


class Identities:
    """Remembers where it has tried."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._tried: dict[str, datetime] = {}

    async def ensure(self, namespace: str) -> None:
        """Make it where it is not; for whoever has pods that do not serve."""
        now, tried = self._around.now(), self._tried.get(namespace)
        if tried is not None and (now - tried).total_seconds() < _RETRY:
            return
        if await self._around.cluster.create(identity_secret(namespace, secrets.token_hex(_BYTES))):
            logger.info("made the key that identities in namespace %s are signed with", namespace)
        self._tried[namespace] = now
