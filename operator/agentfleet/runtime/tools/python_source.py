"""The Python functions of the pod as a source of tools: an MCP server on the loopback that tells what is broken."""

import httpx2
from mcp import Client
from pydantic import TypeAdapter, ValidationError

from agentfleet.runtime.tools import mcp_transport
from agentfleet.runtime.tools.mcp import McpSource
from agentfleet.runtime.tools.python_functions import Problem

_PROBLEMS = TypeAdapter(list[Problem])


class PythonSource(McpSource):
    """python_host.py in the other container."""

    longest_wait = 2.0  # it is in this pod: trying costs nothing, and a restart should hold nobody up

    async def _look(self, client: Client, http: httpx2.AsyncClient) -> None:
        await super()._look(client, http)
        with mcp_transport.attempt():
            # a POST, which mcp_transport.py bounds
            answer = await http.post(httpx2.URL(self._url).copy_with(path="/problems"), json={})
        try:
            found = _PROBLEMS.validate_json(answer.content) if answer.status_code == 200 else []
        except ValidationError:
            found = []
        self._problems = tuple(str(problem) for problem in found)
