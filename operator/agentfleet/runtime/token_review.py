"""Whose a service account's token is: asked of the API server (TokenReview), with the pod's own token.

access.py asks it for direct callers. An answer holds for a minute at most, so a deleted account is out by then.
The API server away means 503: nobody is let in on a guess. A token that does not even claim our audience, or that
claims to have run out, is refused without asking, so that junk does not become load on the API server.
"""

import asyncio
import base64
import hashlib
import json
import logging
import os
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from agentfleet.runtime.types import Caller, RunError

log = logging.getLogger(__name__)

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCOUNT = "system:serviceaccount:"
_HOLDS = 60.0
_REFUSED_HOLDS = 10.0
_MOST = 1000
"""Answers that are remembered."""
_AT_ONCE = 10
_TIMEOUT = 5.0
_LONGEST = 16_384


class NoAnswer(Exception):
    """The API server said something else than yes or no."""


class Reviewer:
    """Remembers answers by the token's hash; several who ask for one token wait for one answer."""

    def __init__(self, url: str, *, audience: str, token_file: Path, ca_file: Path, clock: Callable[[], float]) -> None:
        self._url = url.rstrip("/") + _PATH
        self._audience = audience
        self._token_file = token_file
        self._ca_file = ca_file
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Caller | None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._client: httpx.AsyncClient | None = None
        self._client_ca: float = 0.0

    @classmethod
    def in_cluster(cls, audience: str, clock: Callable[[], float]) -> "Reviewer":
        """By what Kubernetes gives every pod; ValueError outside of one."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ValueError("access: token_review is on, and KUBERNETES_SERVICE_HOST and _PORT are not set")
        host = f"[{host}]" if ":" in host else host
        return cls(
            f"https://{host}:{port}",
            audience=audience,
            token_file=MOUNTED / "token",
            ca_file=MOUNTED / "ca.crt",
            clock=clock,
        )

    async def review(self, token: str) -> Caller | None:
        """Whose it is; None where it is not believed."""
        expires = _claimed_end(token, self._audience)
        now = self._clock()
        if expires is None or expires <= now:
            return None
        key = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(key)
        if known and known[0] > now:
            return known[1]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._ask_and_remember(key, token, expires))
            task.add_done_callback(lambda done: self._answered(key, done))
        # one who goes away must not take the answer from the others who wait for it
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give connections back."""
        for task in self._asked.values():
            task.cancel()
        if self._client:
            await self._client.aclose()

    def _answered(self, key: str, task: "asyncio.Task[Caller | None]") -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to those who wait, if anybody still does

    async def _ask_and_remember(self, key: str, token: str, expires: float) -> Caller | None:
        try:
            async with asyncio.timeout(_TIMEOUT), self._places:
                caller = await self._ask(token)
        except (TimeoutError, httpx.HTTPError, OSError, ValueError, NoAnswer) as error:
            log.error("the API server does not review tokens: %s: %s", type(error).__name__, error)
            raise RunError(
                503, "token_review_unavailable", "Who is calling cannot be told now.", retry_after=5
            ) from error
        now = self._clock()
        self._known[key] = (min(expires, now + _HOLDS) if caller else now + _REFUSED_HOLDS, caller)
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return caller

    async def _ask(self, token: str) -> Caller | None:
        own = self._token_file.read_text(encoding="utf-8").strip()  # Kubernetes replaces it every hour
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        client = await self._connected()
        answer = await client.post(self._url, json=body, headers={"authorization": f"Bearer {own}"})
        if answer.status_code in (401, 403):
            raise NoAnswer(f"{answer.status_code}: the agent's service account may not create tokenreviews")
        if answer.status_code != 201:
            raise NoAnswer(f"status {answer.status_code}")
        return _caller(answer.json(), self._audience)

    async def _connected(self) -> httpx.AsyncClient:
        changed = self._ca_file.stat().st_mtime
        if self._client is None or changed != self._client_ca:
            if self._client:
                await self._client.aclose()
            context = ssl.create_default_context(cafile=self._ca_file)
            self._client = httpx.AsyncClient(verify=context, trust_env=False, timeout=_TIMEOUT)
            self._client_ca = changed
        return self._client


def _claimed_end(token: str, audience: str) -> float | None:
    """When the token says that it runs out; None where it cannot be one for us. Nothing of it is believed."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST or not token.isascii():
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    meant, expires = claims.get("aud"), claims.get("exp")
    names = meant if isinstance(meant, list) else [meant]
    return float(expires) if audience in names and isinstance(expires, int) else None


def _caller(review: Any, audience: str) -> Caller | None:
    """From the API server's answer. An answer of another shape is NoAnswer, not a no."""
    status = review.get("status") if isinstance(review, Mapping) else None
    if not isinstance(status, Mapping):
        raise NoAnswer("the answer is no TokenReview")
    # an API server that does not know audiences names none: its yes is not for us
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    name = user.get("username") or ""
    return Caller(name, frozenset(user.get("groups") or ())) if name.startswith(_ACCOUNT) else None
