"""The operator's settings: one frozen model, read once from AGENTFLEET_* environment variables.

The Helm chart writes the variables from its values; a field's docstring says what the value does. Settings that limit
what users' objects may ask for deny by default. Lists are comma separated, durations are Go style (`35s`, `2m`).
"""

import json
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agentfleet.durations import parse_duration
from agentfleet.errors import InvalidSpec
from agentfleet.resources.profile import Profile

PREFIX = "AGENTFLEET_"


def _comma_separated(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        ip_network(network, strict=False)  # its ValueError says what is wrong
    return value


Networks = Annotated[Names, AfterValidator(_networks)]
Profiles = Annotated[Mapping[str, Profile], BeforeValidator(_json)]
Budgets = Annotated[Mapping[str, Annotated[int, Field(ge=0)]], BeforeValidator(_json)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]


class Settings(BaseModel):
    """Every knob of the operator process."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    namespace: str = "agentfleet-system"
    """The operator's own namespace: its Lease lives here."""

    pod_name: str = "agentfleet"
    """This replica's identity in the Lease."""

    watch_namespaces: Names = ()
    """Namespaces to serve; empty is the whole cluster."""

    watch_nodes: bool = True
    """Nodes and Namespaces are cluster-scoped: off where the operator may read nothing but its namespaces. Placement
    then goes unexplained, and allowedNamespaces by labels lets nobody refer to an object."""

    leader_election: bool = True
    """Off only where a single replica is certain, such as a run from a shell."""

    lease_name: str = "agentfleet-operator"
    """Name of the Lease that replicas compete for."""

    lease_duration: Seconds = 15.0
    """A leader that has not renewed for this long is dead to the others."""

    renew_deadline: Seconds = 10.0
    """A leader that could not renew for this long stops working and exits."""

    renew_interval: Seconds = 2.0
    """How often the leader renews and the others look."""

    workers: int = Field(default=8, ge=1, le=64)
    """Objects reconciled at once. More than 8 adds latency, not throughput, on one API server."""

    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of /healthz, /readyz and /metrics."""

    stuck_after: Seconds = 120.0
    """A key in work for longer than this makes /healthz fail, and kubelet restarts the operator."""

    resync_interval: Seconds = 300.0
    """How often the cache is compared with a listing, to drop objects whose deletion an outage hid."""

    sidecar_image: str = "agentfleet/operator:latest"
    """Image of the sidecar and the loader in engine pods, and of the decider in gateways: the operator's own."""

    sidecar_image_pull_policy: str = "IfNotPresent"
    """Pull policy of that image."""

    vllm_image: str = "vllm/vllm-openai:v0.33.0"
    """Engine image of ModelServers with engine VLLM that name none."""

    llama_cpp_image: str = "ghcr.io/ggml-org/llama.cpp:server"
    """Engine image of CPU ModelServers with engine LlamaCpp that name none."""

    llama_cpp_gpu_image: str = "ghcr.io/ggml-org/llama.cpp:server-cuda"
    """The same for those that ask for GPUs."""

    llama_cpp_rocm_image: str = "ghcr.io/ggml-org/llama.cpp:server-rocm"
    """The same for AMD GPUs."""

    ollama_image: str = "ollama/ollama:0.33.0"
    """Engine image of ModelServers with engine Ollama that name none."""

    haproxy_image: str = "docker.io/library/haproxy:3.4"
    """HAProxy's image, 3.2 or newer, for the gateways of AgentRoutes that name none."""

    runtime_image: str = "agentfleet/runtime:latest"
    """Image of the pods of Agents that name none, and of the containers of their Python tools."""

    runtime_image_pull_policy: str = "IfNotPresent"
    """Pull policy of that image."""

    agents_per_node: int = Field(default=0, ge=0, le=1000)
    """Most pods of Agents of one namespace on one node; 0 is no limit. With a limit a changed Agent is replaced instead
    of surged, since the node may have no place for both."""

    agents_direct_callers: bool = True
    """Pods of Agents have the tokens of callers judged by the API server (TokenReview). Off where nobody grants them
    that: then only gateways are believed."""

    agents_api_server_cidrs: Networks = ()
    """Addresses of the API server as pods reach it, for the NetworkPolicies of Agents. Empty opens its ports to any
    address, but for Agents in privacy mode Offline, who then judge no tokens."""

    agents_dns_cidrs: Networks = ()
    """Addresses of DNS servers that are no pods, for Agents in privacy mode Offline: these reach port 53 of the
    cluster's pods, of the usual cache on the node and of these addresses alone."""

    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster, for status.url."""

    site_label: str = "topology.kubernetes.io/zone"
    """Node label that names a site (spec.placement.sites)."""

    dns_delay: Seconds = 35.0
    """How long a stopping pod waits for its DNS entry to leave caches: at least the TTL of the cluster's DNS."""

    host_path_root: str = ""
    """The one folder of nodes under which file:// sources and hostPath volumes may lie; empty denies both."""

    allowed_service_accounts: Names = ()
    """Service account names that engine pods may run under, besides the namespace's default."""

    profiles: Profiles = {}
    """Hardware profiles by name (resources/profile.py), as JSON."""

    profile_dwell: Seconds = 600.0
    """How long a better hardware profile must have had room before pods move up to it."""

    network_policies: bool = True
    """Make a NetworkPolicy for each ModelServer."""

    monitoring_namespaces: Names = ()
    """Namespaces that may scrape engines and sidecars, besides the operator's own."""

    denied_cidrs: Networks = ()
    """Addresses that no external endpoint may have, besides loopback, link-local and the API server's."""

    status_interval: Seconds = 300.0
    """Values in status that are no decision, condition or band are written at most this often."""

    gpu_exporter: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9.-]*:[0-9]{1,5})?$")] = ""
    """host:port of the GPU exporters' headless Service; empty where there are none."""

    scaling_interval: Annotated[float, BeforeValidator(_seconds), Field(ge=1, le=10)] = 5.0
    """How often the scaling loop looks at every pod and decides: 1s to 10s, since data older than 15s is stale."""

    gpu_budgets: Budgets = {}
    """Most GPUs that the scaling loop may give to the ModelServers of a namespace, all together, as JSON: namespace, or
    `*` for all others, to a number. Empty is no limit."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Settings from `environment`; InvalidSpec names the variable, its value and what it may be."""
        values = {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if PREFIX + name.upper() in environment
        }
        unknown = sorted(
            key for key in environment if key.startswith(PREFIX) and key[len(PREFIX) :].lower() not in cls.model_fields
        )
        if unknown:
            raise InvalidSpec(
                "InvalidSettings", f"unknown environment variable {unknown[0]}; see settings.py for the list"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            where = f"{PREFIX}{name.upper()}={values[name]!r}: " if name else ""
            raise InvalidSpec("InvalidSettings", f"{where}{first['msg']}") from error

    @model_validator(mode="after")
    def _lease_times_are_ordered(self) -> "Settings":
        if not self.lease_duration > self.renew_deadline > self.renew_interval:
            raise ValueError(
                f"LEASE_DURATION ({self.lease_duration:g} s) must be longer than RENEW_DEADLINE"
                f" ({self.renew_deadline:g} s), and that longer than RENEW_INTERVAL ({self.renew_interval:g} s):"
                " else two replicas could lead at once"
            )
        return self
