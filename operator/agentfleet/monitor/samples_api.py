"""GET /scaling/namespaces/NS/modelservers/NAME/samples: the history of one server, for `kubectl agentfleet`.

Read only, and numbers only: users reach it through the API server's pod proxy, with the rights that they have there.
Only the leader watches, so a standby answers 503. `?samples=N` asks for the last N of each replica.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from agentfleet.monitor.history import KEPT, History
from agentfleet.monitor.observations import Observations
from agentfleet.objects import Key

PATH = "/scaling/namespaces/{namespace}/modelservers/{name}/samples"


def routes(
    observations: Observations, leading: Callable[[], bool], capacity: Callable[[Key], dict[str, Any] | None]
) -> list[web.RouteDef]:
    """The routes; `capacity` is what status.capacity of a server says, in its shape."""
    history = observations.history

    async def samples(request: web.Request) -> web.StreamResponse:
        if not leading():
            return _refused(503, "this replica does not lead; ask the holder of the operator's Lease")
        most = _most(request.query.get("samples"))
        if most is None:
            return _refused(400, f"samples={request.query['samples']} must be a whole number from 1 to {KEPT}")
        key = Key("ModelServer", request.match_info["namespace"], request.match_info["name"])
        replicas = history.replicas(key)
        if replicas is None:
            return _refused(404, f"nothing is known of {key}: it does not exist, or was not looked at yet")
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        response.enable_compression()
        await response.prepare(request)
        async for piece in _pieces(history, key, replicas, most, capacity(key) or {}):
            await response.write(piece.encode())
        await response.write_eof()
        return response

    return [web.get(PATH, samples)]


async def _pieces(
    history: History, key: Key, replicas: list[str], most: int, capacity: dict[str, Any]
) -> AsyncIterator[str]:
    """One JSON object, replica by replica: thousands of rows at once would hold up the scaling loop."""
    head = {"name": key.name, "namespace": key.namespace, "interval": history.interval, "capacity": capacity}
    yield f"{_json(head)[:-1]},{_json('demand')}:{_json(history.demand(key, most))},{_json('replicas')}:["
    for place, replica in enumerate(replicas):
        await asyncio.sleep(0)
        yield ("," if place else "") + _json({"replica": replica, "samples": history.samples(key, replica, most)})
    yield "]}"


def _most(text: str | None) -> int | None:
    if text is None:
        return KEPT
    return int(text) if text.isdecimal() and 1 <= int(text) <= KEPT else None


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _json(value: Any) -> str:
    # NaN is no JSON: a bug that makes one must not reach clients.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
