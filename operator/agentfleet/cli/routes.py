"""AgentRoutes as the command line reads them, and how they are found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.cli.api import Api
from agentfleet.cli.find import Finder
from agentfleet.cli.seen import Seen


@dataclass(frozen=True, slots=True)
class Route(Seen):
    """An AgentRoute."""

    good = ("Ready", "Accepted", "ResolvedRefs", "Programmed")

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


_FINDER = Finder("AgentRoute", Route)


async def routes(api: Api, namespace: str | None) -> list[Route]:
    """AgentRoutes of a namespace, of all where None; by namespace and name; none where there is no such kind."""
    return await _FINDER.all(api, namespace) or []


async def route(api: Api, namespace: str, name: str) -> Route:
    """One AgentRoute; NoSuchObject names those that there are."""
    return await _FINDER.one(api, namespace, name)
