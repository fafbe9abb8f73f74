"""GET /scaling/namespaces/NS/modelservers/NAME/samples: the history of one server, for `kubectl agentfleet`.

Read only, and numbers only: users reach it through the API server's pod proxy, with the rights that they have there.
Only the leader watches, so a standby answers 503.
"""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from agentfleet.monitor.history import KEPT
from agentfleet.monitor.observations import Observations
from agentfleet.objects import Key

PATH = "/scaling/namespaces/{namespace}/modelservers/{name}/samples"


def routes(
    observations: Observations, leading: Callable[[], bool], capacity: Callable[[Key], dict[str, Any] | None]
) -> list[web.RouteDef]:
    """The routes; `capacity` is what status.capacity of a server says, in its shape."""

    async def samples(request: web.Request) -> web.Response:
        if not leading():
            return _refused(503, "this replica does not lead; ask the holder of the operator's Lease")
        most = _most(request.query.get("samples"))
        if most is None:
            return _refused(400, f"samples={request.query['samples']} must be a whole number from 1 to {KEPT}")
        key = Key("ModelServer", request.match_info["namespace"], request.match_info["name"])
        found = observations.samples(key, most)
        if found is None:
            return _refused(404, f"nothing is known of {key}: it does not exist, or was not looked at yet")
        body = {"name": key.name, "namespace": key.namespace, **found, "capacity": capacity(key) or {}}
        return web.json_response(body, dumps=_compact)

    return [web.get(PATH, samples)]


def _most(text: str | None) -> int | None:
    if text is None:
        return KEPT
    return int(text) if text.isdecimal() and 1 <= int(text) <= KEPT else None


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _compact(body: Any) -> str:
    # NaN is no JSON: a bug that makes one must not reach clients.
    return json.dumps(body, separators=(",", ":"), allow_nan=False)
