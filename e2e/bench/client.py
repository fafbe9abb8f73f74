"""The bare client: aiohttp with one session, prepared bodies, answers read and not looked at.

It is the lower bound that an operator in Python could reach on this API server, so it does nothing that could be left
out: no client library (the operator's costs more CPU for each call), no parsing, no retries. A refused write ends the
benchmark.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp

from e2e.bench.control_plane import ControlPlane
from e2e.bench.fleet import Member, Request
from e2e.cluster.errors import ClusterError

CONCURRENCY = 8
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_TIMEOUT = aiohttp.ClientTimeout(total=60)

Item = TypeVar("Item")


class Client:
    """Requests to the API server as one user."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, accept: str = _JSON) -> Any:
        """The parsed answer."""
        return json.loads(await self._send("GET", path, None, {"Accept": accept}))

    async def create(self, request: Request) -> bytes:
        """POST; the answer unparsed."""
        return await self._send("POST", request.path, request.body, {"Content-Type": _JSON})

    async def apply(self, request: Request) -> bytes:
        """Server-side apply; the answer unparsed."""
        return await self._send("PATCH", request.path, request.body, {"Content-Type": _APPLY})

    async def delete(self, path: str) -> bytes:
        """DELETE, also of whole collections; the answer unparsed."""
        return await self._send("DELETE", path, None, {})

    async def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        async with self._session.request(method, path, data=body, headers=headers) as response:
            answer = await response.read()
            if response.status >= 400:
                raise ClusterError(f"{method} {path}: HTTP {response.status}: {answer[:500].decode(errors='replace')}")
            return answer


@asynccontextmanager
async def connect(plane: ControlPlane, user: str) -> AsyncIterator[Client]:
    """A client for the block."""
    context = ssl.create_default_context(cafile=str(plane.authority))
    headers = {"Authorization": f"Bearer {plane.tokens[user]}", "Accept": _JSON, "User-Agent": "bench"}
    connector = aiohttp.TCPConnector(limit=CONCURRENCY, ssl=context)
    async with aiohttp.ClientSession(
        plane.server, connector=connector, headers=headers, timeout=_TIMEOUT, trust_env=False
    ) as session:
        yield Client(session)


async def each(items: Iterable[Item], work: Callable[[Item], Awaitable[object]]) -> None:
    """``work`` on every item, CONCURRENCY at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(worker())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures  # one line for the user, not a tree


async def create(client: Client, members: Iterable[Member]) -> dict[str, str]:
    """Create ModelServers; their uids by name."""
    uids: dict[str, str] = {}

    async def one(member: Member) -> None:
        uids[member.name] = json.loads(await client.create(member.create))["metadata"]["uid"]

    await each(members, one)
    return uids


async def converge(client: Client, members: list[Member]) -> None:
    """Do what an operator would: create all, then for each its children and its status."""
    uids = await create(client, members)

    async def one(member: Member) -> None:
        for request in member.applies:
            await client.apply(request.owned_by(uids[member.name]))

    await each(members, one)
