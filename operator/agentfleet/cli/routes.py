"""AgentRoutes as the command line reads them: leniently, as server.py does ModelServers; and how they are found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.cli.api import Api, Refused
from agentfleet.cli.server import Trouble
from agentfleet.errors import AgentfleetError
from agentfleet.objects import GROUP, VERSION, Manifest

_GOOD = ("Ready", "Accepted", "ResolvedRefs", "Programmed")
"""Conditions that ought to be True."""


class NoSuchRoute(AgentfleetError):
    """No AgentRoute has this name, or the API server knows none at all."""


@dataclass(frozen=True, slots=True)
class Route:
    """Reads one object's manifest; what the operator has not said is None or empty."""

    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.manifest.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.manifest.get("status") or {}

    @property
    def url(self) -> str | None:
        return self.status.get("url")

    @property
    def gateways(self) -> int | None:
        """Gateways wanted; None before the operator has said it."""
        return self.status.get("replicas")

    @property
    def ready_gateways(self) -> int:
        return int(self.status.get("readyReplicas") or 0)

    @property
    def targets(self) -> list[Mapping[str, Any]]:
        """status.targets."""
        return self.status.get("targets") or []

    @property
    def ready_targets(self) -> int:
        return sum(bool(target.get("ready")) for target in self.targets)

    @property
    def conditions(self) -> list[Mapping[str, Any]]:
        return self.status.get("conditions") or []

    @property
    def is_healthy(self) -> bool:
        """It takes requests."""
        return any(each["type"] == "Ready" and each["status"] == "True" for each in self.conditions)

    @property
    def troubles(self) -> list[Trouble]:
        """Conditions that are not as they ought to be; a route that the operator has not seen is one, too."""
        if not self.conditions:
            return [Trouble("Ready", "NotSeen", "The operator has said nothing about it: is it running?")]
        return [
            Trouble(each["type"], each.get("reason", ""), each.get("message", ""))
            for each in self.conditions
            if (each["type"] in _GOOD and each["status"] != "True")
            or (each["type"] == "Stalled" and each["status"] == "True")
        ]


def path_of(namespace: str | None, name: str = "") -> str:
    """The URL path of an AgentRoute, or of all of a namespace, or of all."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{where}/agentroutes" + (f"/{name}" if name else "")


async def routes(api: Api, namespace: str | None) -> list[Route]:
    """AgentRoutes of a namespace, of all where None; by namespace and name; none where there is no such kind."""
    try:
        found = await api.list(path_of(namespace))
    except Refused as error:
        if error.status == 404:
            return []
        raise
    return sorted(map(Route, found), key=lambda route: (route.namespace, route.name))


async def route(api: Api, namespace: str, name: str) -> Route:
    """One AgentRoute; NoSuchRoute names those that there are."""
    try:
        return Route(await api.get(path_of(namespace, name)))
    except Refused as error:
        if error.status != 404:
            raise
        names = [each.name for each in await routes(api, namespace)]
        there = f"there are {', '.join(names[:20])}" if names else "there are none; is it the right --namespace?"
        raise NoSuchRoute(f"there is no AgentRoute {name} in namespace {namespace}: {there}") from error
