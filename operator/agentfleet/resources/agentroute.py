"""AgentRoute: one object that routes OpenAI requests by name, intent, complexity, load and privacy."""

from typing import Annotated

from pydantic import ConfigDict, Field

from agentfleet.resources.agentroute_rules import SPEC_RULES
from agentfleet.resources.base import (
    Contract,
    DnsName,
    Duration,
    LabelValue,
    Resource,
    atomic_list,
    map_list,
    rules,
    string_set,
)
from agentfleet.resources.modelserver import AllowedNamespaces
from agentfleet.resources.route_access import Auth, Budgets, Limits
from agentfleet.resources.route_classify import Classify, HeaderName, Sensitivity
from agentfleet.resources.route_gateway import Gateway, ParentRef
from agentfleet.resources.route_rules import ModelId, RouteRule, Targets
from agentfleet.resources.route_targets import Target


class Privacy(Contract):
    """What never goes to a cloud. This filter comes before every rule, fallback and escalation; nothing widens it."""

    deny_cloud_for: Annotated[tuple[Sensitivity, ...], string_set(4)]
    """Classes of requests that Cloud targets never get; a class includes those above it. Default: none."""

    regions: Annotated[tuple[LabelValue, ...], string_set(16)]
    """Regions of Cloud targets that may be used at all. Default: any."""


class Default(Contract):
    """Where requests go that no rule decides."""

    targets: Targets
    """The targets that are used, the least loaded first. Default: as tiers say: simple requests to Lightweight ones,
    moderate to Balanced, complex to Capable, then to the least loaded that has room, Cloud targets after all others."""


class Queue(Contract):
    """Requests that wait for a place at a target."""

    max: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Most that wait at one gateway for one target; more are answered 429 with Retry-After. With 0 nobody waits.
    Default: 1000."""

    timeout: Duration | None = None
    """How long one waits, also for a target that is scaled to zero, before it is answered 503. Default: 30s."""

    priority_header: HeaderName | None = None
    """Header with high, normal or low, which orders those that wait. Default: x-agentroute-priority."""


class Audit(Contract):
    """The line that is logged for each request."""

    content: bool | None = None
    """With the text of the last user message; never for requests above Public. Default: false."""


class Explain(Contract):
    """What answers say about the decision."""

    header: bool | None = None
    """Send x-agentroute-decision with every answer. Default: true."""


class AgentRouteSpec(Contract):
    """What is routed, and how."""

    model_config = ConfigDict(json_schema_extra=rules(*SPEC_RULES))

    aliases: Annotated[tuple[ModelId, ...], string_set(16)]
    """Model ids by which clients ask for the route's choice; route/NAME is one always. A target's own id (agent/NAME,
    model/NAME, target/NAME) asks for that target alone. Default: auto."""

    parent_refs: Annotated[tuple[ParentRef, ...], atomic_list(8)]
    """Gateways (Gateway API) that the route is attached to, by one HTTPRoute. Default: none."""

    hostnames: Annotated[tuple[DnsName, ...], string_set(16)]
    """Host names for the HTTPRoute. Default: all of the listener."""

    gateway: Gateway | None = None
    """The pods that take requests. Default: two."""

    targets: Annotated[tuple[Target, ...], map_list("name", max_items=32)]
    """Where requests may go."""

    classify: Classify | None = None
    """How requests are read. Default: complexity by heuristic."""

    rules: Annotated[tuple[RouteRule, ...], atomic_list(32)]
    """Rules in order; the first that matches decides. Default: none."""

    privacy: Privacy | None = None
    """What never goes to a cloud. Default: nothing is held back."""

    default: Default | None = None
    """Where requests go that no rule decides. Default: by tiers."""

    queue: Queue | None = None
    """Requests that wait. Default: 1000 at each gateway and target, for 30s."""

    auth: Auth | None = None
    """Who may use the route. Required where a target is in a cloud. Default: whoever reaches it."""

    limits: Limits
    """Rate limits. Default: none."""

    budgets: Budgets
    """Budgets. Default: none."""

    audit: Audit | None = None
    """The line that is logged for each request. Default: without content."""

    explain: Explain | None = None
    """What answers say about the decision. Default: the header is sent."""

    allowed_namespaces: AllowedNamespaces | None = None
    """Namespaces whose pods may use the route. Default: its own."""


class AgentRoute(Resource):
    """A gateway for OpenAI requests: sends each to the right agent or model, by name, intent, complexity, load and
    privacy. Clients use status.url."""

    spec: AgentRouteSpec
