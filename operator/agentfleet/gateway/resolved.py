"""What the references of an AgentRoute turned out to be: plain data between planning/route_targets.py, which looks them
up, and compile.py, the manifests and status, which use them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentfleet.gateway.types import Location

Reason = Literal[
    "Serving",
    "ScaledToZero",
    "NotReady",
    "NotFound",
    "NotPermitted",
    "KindNotInstalled",
    "External",
    "CloudWithoutAuth",
]

UNRESOLVED: tuple[Reason, ...] = ("NotFound", "NotPermitted", "KindNotInstalled")
"""Reasons for which a reference is to nothing that may be used."""


@dataclass(frozen=True)
class Credentials:
    """What an endpoint asks for, by names of objects in the route's namespace; their contents are never looked at."""

    secret: str | None = None
    """Secret whose key apiKey is sent."""
    ca_config_map: str | None = None
    """ConfigMap whose key ca.crt the endpoint's certificate is checked against."""


@dataclass(frozen=True)
class Endpoint:
    """Where a target answers."""

    model: str
    """The model id that is sent."""
    host: str
    """Resolves to its pods; of an external endpoint, its host."""
    port: int
    service: str | None = None
    """DNS name of its Service; None for external ones."""
    slots: int = 16
    concurrency: int | None = None
    """Requests at once that each of its pods says it takes; None where it says nothing."""
    path: str = ""
    """What stands in place of /v1 at an external endpoint; "" is /v1 itself."""
    tls: bool = False
    health: str | None = "/health"
    credentials: Credentials = Credentials()
    scales_to_zero: bool = False
    url: str | None = None
    """Base address of an external endpoint, for egress rules."""
    pods: tuple[str, str] | None = None
    """Label of its pods and its value; None for external ones."""


@dataclass(frozen=True)
class Resolved:
    """One reference, looked up."""

    name: str
    """The target's name; of a classifying model the field that names it."""
    kind: Literal["Agent", "ModelServer", "External"]
    reason: Reason
    message: str = ""
    object: str = ""
    """Name of the Agent or ModelServer."""
    namespace: str = ""
    location: Location = "Cluster"
    endpoint: Endpoint | None = None
    """None where it cannot be used."""
    coming: bool = False
    """The object is there and its Services are not: they are on their way, as a rule."""

    @property
    def ready(self) -> bool:
        """It can answer now, or would be started by a request."""
        return self.reason in ("Serving", "ScaledToZero", "External")

    @property
    def usable(self) -> Endpoint | None:
        """Its endpoint, where requests may go there at all; whether it is up now is the gateway's to see."""
        return None if self.reason == "CloudWithoutAuth" else self.endpoint


@dataclass(frozen=True)
class Resolution:
    """All references of one route."""

    targets: Mapping[str, Resolved] = field(default_factory=dict)
    """By name, in the order of spec.targets."""
    models: Mapping[str, Resolved] = field(default_factory=dict)
    """ModelServers that classify, by the field that names them."""

    @property
    def usable(self) -> tuple[Resolved, ...]:
        """The targets that the policy knows, in order."""
        return tuple(target for target in self.targets.values() if target.usable is not None)

    @property
    def unresolved(self) -> tuple[Resolved, ...]:
        """References to nothing that may be used."""
        every = (*self.targets.values(), *self.models.values())
        return tuple(one for one in every if one.reason in UNRESOLVED)
