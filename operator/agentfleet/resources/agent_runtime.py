"""How an Agent runs: model, sampling, limits, places, scaling, alerts."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import (
    Contract,
    DnsLabel,
    DnsName,
    Duration,
    atomic_list,
    map_list,
    rules,
)
from agentfleet.resources.external import External
from agentfleet.resources.pods import EnvVar, ImagePullSecret, PodTemplate, Resources
from agentfleet.resources.route_rules import ModelId
from agentfleet.resources.route_targets import ObjectRef
from agentfleet.resources.scaling import Pause, Stabilization

Ratio = Annotated[str, Field(max_length=6, pattern=r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$")]
Temperature = Annotated[str, Field(max_length=6, pattern=r"^([01](\.[0-9]{1,4})?|2(\.0{1,4})?)$")]


class RouteRef(Contract):
    """An AgentRoute of the same namespace."""

    name: DnsLabel
    """Its name."""


class AgentModel(Contract):
    """The model that an agent thinks with: exactly one of modelServerRef, routeRef and external."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.modelServerRef) ? 1 : 0) + (has(self.routeRef) ? 1 : 0) + (has(self.external) ? 1 : 0) == 1",
                "set exactly one of modelServerRef, routeRef and external",
            ),
            (
                "!has(self.external) || has(self.external.model) || has(self.name)",
                "external.model is required: it is the model id that is sent there",
                ".external",
            ),
            (
                "!has(self.external) || !has(self.external.discover)",
                "external.discover is for ModelServers: an Agent names its model",
                ".external",
            ),
        )
    )

    model_server_ref: ObjectRef | None = None
    """A ModelServer."""

    route_ref: RouteRef | None = None
    """An AgentRoute, which chooses: tiers, fallback, escalation to a cloud."""

    external: External | None = None
    """An endpoint outside the cluster."""

    name: ModelId | None = None
    """Model id that is asked for. Default: the ModelServer's, the route's own choice, or external.model."""


class KeyRef(Contract):
    """One key of a ConfigMap or Secret."""

    name: DnsName
    """The object, in the Agent's namespace."""

    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Its key."""


class InstructionsFrom(Contract):
    """Where instructions are kept; pods follow a change of them within two minutes, without a restart."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.configMapKeyRef) != has(self.secretKeyRef)",
                "set exactly one of configMapKeyRef and secretKeyRef",
            ),
        )
    )

    config_map_key_ref: KeyRef | None = None
    """Key of a ConfigMap."""

    secret_key_ref: KeyRef | None = None
    """Key of a Secret."""


class Sampling(Contract):
    """How the model samples, where the client says nothing."""

    temperature: Temperature | None = None
    """0 to 2, as a decimal string. Default: "0.1"."""

    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Tokens of one answer of the model; clients may ask for fewer, not for more. Default: 512."""

    top_p: Ratio | None = None
    """0 to 1, as a decimal string. Default: the engine's."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Default: none."""

    stop: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], atomic_list(4)]
    """Texts that end an answer. Default: none."""


class RunLimits(Contract):
    """Bounds of one run."""

    timeout: Duration | None = None
    """How long a run may take; then it is cancelled and answered 408. Default: 30s."""

    max_iterations: Annotated[int, Field(ge=1, le=100)] | None = None
    """Answers of the model in one run. Default: 10."""

    max_tool_calls: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Calls of tools in one run. Default: 20."""

    tool_timeout: Duration | None = None
    """How long one call of a tool may take. Default: 30s."""


class AgentConcurrency(Contract):
    """Runs at once in one replica."""

    max: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Runs at once. Default: 10."""

    queue: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Runs that wait for a place; more are answered 429. Default: 20."""

    queue_timeout: Duration | None = None
    """How long one waits before it is answered 503. Default: 10s."""


class Protocols(Contract):
    """What the pods speak."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(has(self.openai) && !self.openai && has(self.responses) && !self.responses"
                " && has(self.a2a) && !self.a2a && !(has(self.mcp) && self.mcp))",
                "at least one of openai, responses, a2a and mcp must be on",
            ),
        )
    )

    openai: bool | None = None
    """/v1/chat/completions, /v1/models and /chat. Default: true."""

    responses: bool | None = None
    """/v1/responses. Default: true."""

    a2a: Annotated[bool | None, Field(alias="a2a")] = None
    """A2A at /a2a, with its card. Default: true."""

    mcp: bool | None = None
    """The agent as a tool, at /mcp. Default: false."""


class AgentPods(Contract):
    """The pods."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._/:@]*$")] | None = None
    """Image. Your own serves the same contract: port 8080, /healthz, /readyz, /metrics, /v1/chat/completions and what
    protocols say (with tls, requests by HTTPS on port 8443); it reads /etc/agentfleet/agent.json. Default: the
    operator's runtime image."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Always, IfNotPresent or Never. Default: the cluster's rule (Always for :latest)."""

    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], map_list("name", max_items=8)]
    """Secrets with registry credentials."""

    resources: Resources | None = None
    """CPU and memory. Default: requests of 100m and 256Mi, a limit of 1Gi of memory."""

    env: Annotated[tuple[EnvVar, ...], map_list("name", max_items=64)]
    """Environment variables. Where one comes from a Secret or ConfigMap that changes, the pods are replaced."""

    service_account_name: DnsName | None = None
    """Service account of the pods; it must be in the operator's allowedServiceAccounts setting. Default: one that is
    made for the Agent and may do nothing but have callers' tokens judged."""

    pod_template: PodTemplate | None = None
    """Escape hatch: merged over the pods that the operator builds; the container is called `agent`."""

    memory_soft_limit_percent: Annotated[int, Field(ge=10, le=100)] | None = None
    """Share of the memory limit above which new runs are refused, before the kernel ends the process. Default: 80."""


class AgentScaling(Contract):
    """How many replicas there are: the operator decides between minReplicas and maxReplicas, by the runs in flight."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.minReplicas) ? self.minReplicas : 1) <= (has(self.maxReplicas) ? self.maxReplicas :"
                " (has(self.minReplicas) && self.minReplicas > 1 ? self.minReplicas : 1))",
                "minReplicas must not be above maxReplicas",
                ".minReplicas",
            ),
            (
                "!has(self.scaleToZeroAfter) || (has(self.minReplicas) && self.minReplicas == 0)",
                "scaleToZeroAfter needs minReplicas 0",
                ".scaleToZeroAfter",
            ),
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Fewest; 0 lets the agent sleep, and a route wakes it: without one before it, one replica stays. Default: 1."""

    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most. Default: minReplicas, at least 1."""

    target_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Runs in flight, those that wait included, that one replica shall have. Default: four fifths of
    concurrency.max."""

    scale_to_zero_after: Duration | None = None
    """How long nobody asks before it sleeps. Default: 15m."""

    stabilization: Stabilization | None = None
    """How long a wish must have lasted."""

    pause: Pause | None = None
    """Stops scaling in one direction or both. Default: neither."""


class AgentAlert(Contract):
    """A threshold, and what is done while it is passed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("(self.metric == 'ResponseTime') == has(self.threshold)", "ResponseTime needs threshold", ".threshold"),
            (
                "(self.metric in ['ErrorRate', 'Memory', 'CPU']) == has(self.thresholdPercent)",
                "ErrorRate, Memory and CPU need thresholdPercent",
                ".thresholdPercent",
            ),
            (
                "(self.metric == 'QueueDepth') == has(self.thresholdCount)",
                "QueueDepth needs thresholdCount",
                ".thresholdCount",
            ),
        )
    )

    metric: Literal["ResponseTime", "ErrorRate", "Memory", "CPU", "QueueDepth"]
    """ResponseTime (95 of 100 runs), ErrorRate, Memory (of the limit), CPU (of the limit) or QueueDepth."""

    threshold: Duration | None = None
    """For ResponseTime."""

    threshold_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    """For ErrorRate, Memory and CPU."""

    threshold_count: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """For QueueDepth."""

    action: Literal["SmallerTier", "Shed"] | None = None
    """SmallerTier (the route of the model is asked for a smaller tier while it lasts) or Shed (new runs of low priority
    are refused). Default: the alert alone."""


class Monitoring(Contract):
    """What is watched."""

    alerts: Annotated[tuple[AgentAlert, ...], atomic_list(16)]
    """Thresholds. Default: none."""

    otlp_endpoint: (
        Annotated[
            str,
            Field(max_length=253, pattern=r"^https?://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?(/[-A-Za-z0-9_./]*)?$"),
        ]
        | None
    ) = None
    """Where OpenTelemetry traces (GenAI conventions) are sent, over OTLP by HTTP. Default: nowhere."""

    capture_content: bool | None = None
    """With texts in traces; never in Private and Offline. Default: false."""
