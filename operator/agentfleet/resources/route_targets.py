"""Targets of an AgentRoute: agents, model servers and endpoints outside the cluster, each with what it is good for."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import Contract, DnsLabel, Duration, LabelValue, rules, string_set
from agentfleet.resources.external import External

Tier = Literal["Lightweight", "Balanced", "Capable"]
Location = Literal["Edge", "Cluster", "Cloud"]
Capability = Literal["Code", "Tools", "Vision", "LongContext"]

TargetName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
"""A name that users choose and that goes into headers and metrics: letters, digits, '-', '_' and '.'."""

Decimal = Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$")]


class ObjectRef(Contract):
    """An agentfleet object."""

    name: DnsLabel
    """Its name."""

    namespace: DnsLabel | None = None
    """Its namespace; another one than the route's needs allowedNamespaces there. Default: the route's."""


class Cost(Contract):
    """What tokens cost, for budgets in usd."""

    input_per_million: Decimal = "0"
    """US dollars for a million tokens of requests, as a decimal string such as "2.50". Default: 0."""

    output_per_million: Decimal = "0"
    """The same for tokens of answers. Default: 0."""


class Target(Contract):
    """Where requests may go: exactly one of agentRef, modelServerRef and external."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.agentRef) ? 1 : 0) + (has(self.modelServerRef) ? 1 : 0) + (has(self.external) ? 1 : 0) == 1",
                "set exactly one of agentRef, modelServerRef and external",
            ),
            (
                "!has(self.external) || has(self.external.model)",
                "external.model is required: it is the model id that is sent there",
                ".external",
            ),
            (
                "!has(self.external) || !has(self.external.discover)",
                "external.discover is for ModelServers: a target names its model",
                ".external",
            ),
            (
                "!has(self.location) || !has(self.external)",
                "the location of an external target is external.location",
                ".location",
            ),
        )
    )

    name: TargetName
    """Its name in this route: in rules, status, metrics and the decision header."""

    agent_ref: ObjectRef | None = None
    """An Agent. One of another namespace is not told who asks: identities are signed with the key of the route's
    namespace. So it gets no requests of agents in privacy mode Private or Offline."""

    model_server_ref: ObjectRef | None = None
    """A ModelServer."""

    external: External | None = None
    """An OpenAI-compatible endpoint outside the cluster. Its key is sent by the gateway, never a client's. `discover`
    is not used here."""

    tier: Tier | None = None
    """How much it can do: Lightweight, Balanced or Capable. Without a rule, simple requests go to Lightweight, moderate
    ones to Balanced, complex ones to Capable. Default: Balanced."""

    capabilities: Annotated[tuple[Capability, ...], string_set(4)]
    """What it can do beyond text: Code, Tools, Vision, LongContext. Requests with tools, pictures or over 8,000 tokens
    go only to targets that have Tools, Vision or LongContext, as far as any target of the route has them. Where no rule
    decides, requests whose intent is code or coding go first to those that have Code, as if it were among their tasks.
    Default: none said."""

    location: Location | None = None
    """Edge, Cluster or Cloud; what Cloud is, the privacy filter keeps requests from. What says Cloud of itself stays
    one: a ModelServer, an Agent's model, and whatever leads to an AgentRoute that has a target in a cloud. Default:
    where a ModelServer of engine External says it is, where the model of an Agent is, else Cluster."""

    site: LabelValue | None = None
    """Site of the target, for information in status. Default: none."""

    region: LabelValue | None = None
    """Region of a Cloud target, which privacy.regions may ask for. Default: none."""

    weight: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Share of strategy Weighted; 0 is none. Default: 1."""

    max_concurrent: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Requests at once for each ready pod (of an external target: for each gateway); more wait in the queue. Exact for
    the whole route: one gateway owns the count; with gateway.perSite each site counts for itself. Default: 10 for
    Agents, no limit for others."""

    primary: bool | None = None
    """The target of requests that nothing else decides, before default.targets. Default: false."""

    tasks: Annotated[tuple[Word, ...], string_set(32)]
    """Intents that go here where no rule says otherwise. Default: none."""

    cost: Cost | None = None
    """What its tokens cost, for budgets in usd alone. Default: nothing."""

    idle_timeout: Duration | None = None
    """Longest silence inside an answer before it is cut. Default: 5m."""
