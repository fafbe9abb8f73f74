"""Reads ModelServers from the API server."""

from agentfleet.cli.api import Api
from agentfleet.cli.find import Finder, NoSuchObject
from agentfleet.cli.server import Server
from agentfleet.errors import AgentfleetError

_FINDER = Finder("ModelServer", Server)


def path_of(namespace: str, name: str) -> str:
    """The URL path of a ModelServer."""
    return _FINDER.path_of(namespace, name)


async def servers(api: Api, namespace: str | None) -> list[Server]:
    """ModelServers of a namespace, of all where None; by namespace and name."""
    found = await _FINDER.all(api, namespace)
    if found is None:
        raise AgentfleetError("this API server knows no ModelServers: install agentfleet, or its CRDs")
    return found


async def server(api: Api, namespace: str, name: str) -> Server:
    """One ModelServer; NoSuchObject names those that there are, and the CRD where it is that which is missing."""
    try:
        return await _FINDER.one(api, namespace, name)
    except NoSuchObject:
        await servers(api, namespace)
        raise
