"""Reads ModelServers from the API server; says what there is where a name is wrong."""

from agentfleet.cli.api import Api, Refused
from agentfleet.cli.server import Server
from agentfleet.errors import AgentfleetError
from agentfleet.objects import GROUP, VERSION

_COLLECTION = f"/apis/{GROUP}/{VERSION}"


class NoSuchServer(AgentfleetError):
    """No ModelServer has this name."""


def path_of(namespace: str | None, name: str = "") -> str:
    """The URL path of a ModelServer, or of all of a namespace, or of all."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"{_COLLECTION}{where}/modelservers" + (f"/{name}" if name else "")


async def servers(api: Api, namespace: str | None) -> list[Server]:
    """ModelServers of a namespace, of all where None; by namespace and name."""
    try:
        found = await api.list(path_of(namespace))
    except Refused as error:
        if error.status == 404:
            raise AgentfleetError("this API server knows no ModelServers: install agentfleet, or its CRDs") from error
        raise
    return sorted(map(Server, found), key=lambda server: (server.namespace, server.name))


async def server(api: Api, namespace: str, name: str) -> Server:
    """One ModelServer; NoSuchServer names those that there are."""
    try:
        return Server(await api.get(path_of(namespace, name)))
    except Refused as error:
        if error.status != 404:
            raise
        names = [each.name for each in await servers(api, namespace)]
        there = f"there are {', '.join(names[:20])}" if names else "there are none; is it the right --namespace?"
        raise NoSuchServer(f"there is no ModelServer {name} in namespace {namespace}: {there}") from error
