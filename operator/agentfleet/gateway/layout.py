"""Where a gateway's targets are and how its pods are laid out: with the policy, all that haproxy.py renders from."""

from dataclasses import dataclass
from typing import Literal

from agentfleet.gateway.types import Sensitivity

HTTP_PORT = 8080
TLS_PORT = 8443
METRICS_PORT = 8404
"""HAProxy's own: /metrics, /healthz, /readyz."""
OWNER_PORT = 8081
"""Where the gateway that owns a target's count takes requests of the others."""
PEERS_PORT = 10000
DECIDER_PORT = 8090
"""The decider, on 127.0.0.1 alone."""
DEMAND_PORT = 8091
"""The decider's page of demand and usage, for the operator's scaling loop."""

CONFIG_FOLDER = "/etc/agentroute"
"""haproxy.cfg, route.json, maps and Lua: the ConfigMap."""
RUN_FOLDER = "/run/agentroute"
"""Shared by the containers of the pod: maps that hold hashes and credentials, and HAProxy's socket."""
KEYS_FOLDER = "/var/run/secrets/agentroute/keys"
"""Secret of auth.apiKeys: one file for each client."""
KEYS = "keys"
"""That Secret, in what deciders tell of Secrets without a usable key; those of targets go by their folders' names."""
JWT_FOLDER = "/var/run/secrets/agentroute/jwt"
TLS_FOLDER = "/var/run/secrets/agentroute/tls"
CREDENTIALS_FOLDER = "/var/run/secrets/agentroute/credentials"
"""A folder for each external target that has a key, named by its id, with the file apiKey."""
IDENTITY_FILE = "/var/run/secrets/agentroute/identity/key"
"""The namespace's key that identities to agents are signed with."""
BUDGETS_FILE = "/var/run/agentroute-budgets/used.json"
"""What was used up before this start, as the operator has kept it."""

ADMIN_SOCKET = f"{RUN_FOLDER}/admin.sock"
KEYS_MAP = f"{RUN_FOLDER}/keys.map"
"""SHA-256 of an API key, in lower-case hexadecimal → its client's id."""
GROUPS_MAP = f"{RUN_FOLDER}/groups.map"
"""Client's id → its groups, joined by commas."""
CREDENTIALS_MAP = f"{RUN_FOLDER}/credentials.map"
"""Target's id → the key that is sent there."""


@dataclass(frozen=True)
class Backend:
    """The endpoints of one target."""

    id: str
    host: str
    """DNS name that resolves to its pods; of an external endpoint, its host."""
    port: int
    service: str | None
    """DNS name of the Service that requests are held before while no pod is ready; None for external ones."""
    service_port: int = 80
    slots: int = 16
    """Most pods that can be told apart."""
    capacity: int | None = None
    """Requests at once for each pod."""
    path: str = ""
    """What comes before /v1 at an external endpoint, such as /openai; "" for pods."""
    tls: bool = False
    ca_file: str | None = None
    """Certificates that the endpoint's is checked against; None is the system's."""
    health: str | None = "/health"
    """Path of the health check; None checks that it can be connected to."""
    has_credentials: bool = False
    is_agent: bool = False
    """Gets the caller's signed identity: an agent of the route's own namespace, whose key it has."""
    idle_ms: int = 300_000
    hashed: bool = False
    """A rule wants conversations or prefixes to stay with a pod."""
    near: str | None = None
    """DNS name of the pods of one site, with ${SITE} in it; None where sites mean nothing."""
    owner: int | None = None
    """Index of the gateway that owns its count; None where each gateway counts for itself."""
    latency: bool = False
    """A rule escalates by its latency."""


@dataclass(frozen=True)
class Jwt:
    """Tokens of an identity provider."""

    issuer: str
    audiences: tuple[str, ...]
    algorithm: str
    groups_claim: str
    subject_claim: str
    keys: tuple[str, ...] = ()
    """Names of the files in JWT_FOLDER; empty: whatever lies there when the pod starts is rendered by its init step."""


@dataclass(frozen=True)
class Limit:
    """One rate limit; `period_s` is 1, 60 or 3600."""

    scope: Literal["Route", "Key", "Group"]
    unit: Literal["requests", "tokens"]
    amount: int
    period_s: int


@dataclass(frozen=True)
class Budget:
    """One budget; the decider counts it."""

    scope: Literal["Route", "Key", "Group"]
    unit: Literal["tokens", "usd"]
    amount: str
    """A whole number of tokens, or US dollars as a decimal string."""
    window: Literal["Day", "Month"]
    action: Literal["Reject", "SmallerTier", "LocalOnly"]


@dataclass(frozen=True)
class Peer:
    """One gateway pod: its host name, and the address of the Service that is its alone."""

    name: str
    address: str


@dataclass(frozen=True)
class Layout:
    """Everything about the gateway that is not policy."""

    backends: tuple[Backend, ...]
    """In the order of Policy.targets."""
    peers: tuple[Peer, ...] = ()
    """All gateways of the route; fewer than two: each stands alone."""
    cluster_domain: str = "cluster.local"
    tls: bool = False
    api_keys: bool = False
    jwt: Jwt | None = None
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    sensitive: tuple[tuple[str, Sensitivity], ...] = ()
    """Regular expression → class, the highest first."""
    complexity: tuple[tuple[str, str], ...] = ()
    """Regular expression → Simple, Moderate or Complex: the heuristic's words, in order."""
    ask_intent: bool = False
    """The decider is asked for intents that are not known yet."""
    intent_ms: int = 500
    ask_complexity: bool = False
    """The decider is asked how hard a request is (method Model)."""
    complexity_ms: int = 500
    max_body: int = 10 * 2**20
    buffer: int = 256 * 2**10
    """Bytes of a request that are read."""
    grace_s: int = 15
    """How long a stopping gateway still accepts: until it has left the Service everywhere."""
    explain: bool = True
    audit_content: bool = False
    threads: int = 1
