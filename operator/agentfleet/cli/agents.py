"""Agents as the command line reads them, and how they and their pods are found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentfleet.cli.api import Api
from agentfleet.cli.find import Finder
from agentfleet.cli.seen import Seen
from agentfleet.objects import AGENT_LABEL, Manifest

AGENT_CONTAINER = "agent"
"""The container that takes the requests."""

AGENT_PORT = 8080
"""Of its pods. With spec.tls it takes requests from inside the pod alone, where `kubectl port-forward` ends."""


@dataclass(frozen=True, slots=True)
class Agent(Seen):
    """An Agent."""

    good = ("Ready", "ModelReady", "ToolsReady", "MetricsAvailable", "ScalingActive")
    bad = ("Stalled", "Alerting", "CapacityBlocked", "ConflictingAutoscaler")
    intended = ("ScaledToZero", "ScalingPaused", "MetricsStarting")

    @property
    def replicas(self) -> int | None:
        """Pods wanted; None before the operator has said it."""
        return self.status.get("replicas")

    @property
    def ready(self) -> int:
        return int(self.status.get("readyReplicas") or 0)

    @property
    def model(self) -> str | None:
        """Id of the model that it asks for."""
        return self.status.get("model")

    @property
    def tools(self) -> list[Mapping[str, Any]] | None:
        """status.tools: the functions that pods have found; None where none has told yet."""
        return self.status.get("tools")

    @property
    def mode(self) -> str:
        """The privacy mode in force."""
        return str(self.status.get("privacy") or (self.spec.get("privacy") or {}).get("mode") or "Standard")

    @property
    def grants(self) -> Sequence[Mapping[str, Any]]:
        """access.allow."""
        return self._access.get("allow") or ()

    @property
    def lets_all_in(self) -> bool:
        """Whether access lets everybody in who proves who they are."""
        return self._access.get("default") == "Allow"

    @property
    def callers(self) -> tuple[str, ...]:
        """Service accounts that access names, as NAMESPACE:NAME."""
        return tuple(account for grant in self.grants for account in grant.get("serviceAccounts") or ())

    @property
    def _access(self) -> Mapping[str, Any]:
        return self.spec.get("access") or {}


_FINDER = Finder("Agent", Agent)


async def agents(api: Api, namespace: str | None) -> list[Agent]:
    """Agents of a namespace, of all where None; by namespace and name; none where there is no such kind."""
    return await _FINDER.all(api, namespace) or []


async def agent(api: Api, namespace: str, name: str) -> Agent:
    """One Agent; NoSuchObject names those that there are."""
    return await _FINDER.one(api, namespace, name)


async def pods_of(api: Api, found: Agent) -> list[Manifest]:
    """Its pods, whatever their state."""
    selector = f"{AGENT_LABEL}={found.name}"
    return await api.list(f"/api/v1/namespaces/{found.namespace}/pods", labelSelector=selector)
