"""Agent: instructions, a model and tools, run by the Microsoft Agent Framework as pods that speak OpenAI and A2A."""

from typing import Annotated

from pydantic import ConfigDict, Field

from agentfleet.resources.agent_guards import Access, AgentPrivacy, Guardrails, Session
from agentfleet.resources.agent_rules import SPEC_RULES
from agentfleet.resources.agent_runtime import (
    AgentConcurrency,
    AgentModel,
    AgentPods,
    AgentScaling,
    InstructionsFrom,
    Monitoring,
    Protocols,
    RunLimits,
    Sampling,
)
from agentfleet.resources.agent_tools import Orchestration, Tools
from agentfleet.resources.base import Contract, DnsName, LabelValue, Resource, rules
from agentfleet.resources.model import ConfigMapName
from agentfleet.resources.modelserver import AllowedNamespaces, Drain
from agentfleet.resources.pods import Placement


class AgentAudit(Contract):
    """The lines that are written for each run, call of a tool, approval and refusal."""

    content: bool | None = None
    """With texts; never in Private and Offline. Default: false."""


class AgentTls(Contract):
    """HTTPS between the agent and those who ask it."""

    secret_name: DnsName
    """Secret of type kubernetes.io/tls of the same namespace; the certificate is for NAME-agent.NAMESPACE.svc and the
    cluster's domain. Pods take a renewed one up by themselves."""

    ca_bundle: ConfigMapName | None = None
    """ConfigMap whose key `ca.crt` holds the certificates (PEM) that gateways and other agents of the namespace check
    it against. Default: the public ones."""


class AgentSpec(Contract):
    """What the agent is, and how it runs."""

    model_config = ConfigDict(json_schema_extra=rules(*SPEC_RULES))

    description: Annotated[str, Field(max_length=1024)] | None = None
    """What it is for: in its A2A card, for agents that may ask it, and for routing by intent. Default: none."""

    role: LabelValue | None = None
    """Its role, such as customer-service: told to the model before its instructions, and the first skill of the A2A
    card; a label of its pods. Default: none."""

    model: AgentModel | None = None
    """The model that it thinks with."""

    instructions: Annotated[str, Field(max_length=65_536)] | None = None
    """What the model is told first. Default: that it is a helpful assistant of this name."""

    instructions_from: InstructionsFrom | None = None
    """The same, from a ConfigMap or Secret."""

    sampling: Sampling | None = None
    """How the model samples. Default: temperature 0.1, 512 tokens."""

    limits: RunLimits | None = None
    """Bounds of one run. Default: 30s, 10 answers of the model, 20 calls of tools."""

    concurrency: AgentConcurrency | None = None
    """Runs at once in one replica. Default: 10, and 20 that wait up to 10s."""

    tools: Tools
    """What the model may call. Default: nothing."""

    access: Access | None = None
    """Who may ask. Default: nobody but whom access.allow names."""

    session: Session | None = None
    """Conversations that last. Default: in Memory, for 1h."""

    protocols: Protocols | None = None
    """What the pods speak. Default: openai, responses and a2a."""

    tls: AgentTls | None = None
    """HTTPS on port 443, and nothing but probes and metrics without it. Default: plain HTTP on port 80."""

    privacy: AgentPrivacy | None = None
    """What may leave, and what is kept. Default: Standard."""

    guardrails: Guardrails | None = None
    """Checks of what goes in and out. Default: none."""

    fallback_reply: Annotated[str, Field(max_length=2000)] | None = None
    """What users read when model or tools fail; the cause is in logs, audit and metrics. Empty: they get an error of
    HTTP (502, 504) instead, which a route's fallback takes to another target.
    Default: I'm experiencing technical difficulties. Please try again."""

    orchestration: Orchestration | None = None
    """Several agents behind this one, which then takes no tools and no session.compaction of its own: they are its
    members'. Default: it answers itself."""

    runtime: AgentPods | None = None
    """The pods. Default: the operator's runtime image."""

    placement: Placement | None = None
    """Which nodes the pods run on. The operator's settings bound how many agents a node takes. Default: any
    that fits."""

    scaling: AgentScaling | None = None
    """How many replicas there are. Default: one."""

    monitoring: Monitoring | None = None
    """What is watched. Default: metrics alone."""

    audit: AgentAudit | None = None
    """The audit lines. Default: without texts."""

    drain: Drain | None = None
    """How a stopping pod finishes its runs. Default: up to 120s."""

    allowed_namespaces: AllowedNamespaces | None = None
    """Namespaces whose pods may reach the agent, and whose objects may refer to it. Default: its own."""


class Agent(Resource):
    """An agent: instructions, a model and tools, run by the Microsoft Agent Framework as pods that speak OpenAI's API
    and A2A. Clients use status.url, other agents status.a2aUrl."""

    spec: AgentSpec
