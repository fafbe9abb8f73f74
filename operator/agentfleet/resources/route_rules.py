"""Rules of an AgentRoute: which requests go to which targets, how one is chosen, and what happens when it fails."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from agentfleet.durations import parse_duration
from agentfleet.resources.base import Contract, Duration, atomic_list, rules, string_set
from agentfleet.resources.route_classify import Complexity, HeaderName, Sensitivity
from agentfleet.resources.route_targets import Capability, TargetName, Word

_SHORT_MESSAGE = "must be a duration from 10ms to 1h, such as 300ms, 2s or 1m"


def _is_short(value: str) -> str:
    if not 0.01 <= parse_duration(value) <= 3600:
        raise ValueError(_SHORT_MESSAGE)
    return value


Strategy = Literal["LeastLoaded", "Weighted", "RoundRobin", "Sticky", "PrefixAware"]
FallbackCause = Literal["NoEndpoint", "ColdStart", "Saturated", "Timeout", "RateLimited", "ServerError"]

ShortDuration = Annotated[
    str,
    Field(
        max_length=16,
        pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
        json_schema_extra=rules(
            ("duration(self) >= duration('10ms') && duration(self) <= duration('1h')", _SHORT_MESSAGE),
        ),
    ),
    AfterValidator(_is_short),
]
"""A Go-style duration from 10ms to 1h."""
Targets = Annotated[tuple[TargetName, ...], atomic_list(16)]
ModelPattern = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-A-Za-z0-9_.:/]*\*?$")]
_MODEL_ID = r"^[A-Za-z0-9][-A-Za-z0-9_.:/]*$"
MODEL_ID = re.compile(_MODEL_ID.replace("*$", "{0,252}"))
"""The same for `fullmatch`, where no API server has looked."""
ModelId = Annotated[str, Field(min_length=1, max_length=253, pattern=_MODEL_ID)]
Percent = Annotated[int, Field(ge=0, le=100)]


class TokenRange(Contract):
    """Sizes of requests, in tokens as they are estimated: bytes of the body by four; a file in it (a data: URL) counts
    as 1,000."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.min) || !has(self.max) || self.min <= self.max", "min is above max: no request is so", ".min"),
        ),
    )

    min: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Smallest. Default: 0."""

    max: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Largest. Default: any."""


class HeaderMatch(Contract):
    """A header that a request must have."""

    name: HeaderName
    """Its name; case says nothing."""

    value: Annotated[str, Field(max_length=256)] | None = None
    """Its exact value. Default: any."""


class Match(Contract):
    """What a request must be like; everything that is set must hold, of a list one entry."""

    intents: Annotated[tuple[Word, ...], string_set(32)]
    """Intents. Default: any."""

    complexity: Annotated[tuple[Complexity, ...], string_set(3)]
    """Simple, Moderate, Complex. Default: any."""

    models: Annotated[tuple[ModelPattern, ...], string_set(32)]
    """Model ids that clients ask for; one that ends with * stands for all that begin so. Default: any."""

    headers: Annotated[tuple[HeaderMatch, ...], atomic_list(8)]
    """Headers, all of them. Default: none."""

    sensitivity: Annotated[tuple[Sensitivity, ...], string_set(4)]
    """Classes. Default: any."""

    capabilities: Annotated[tuple[Capability, ...], string_set(4)]
    """What the request needs: Tools (it brings tools), Vision (it holds pictures), LongContext (over 8,000 tokens),
    Code (its intent is code or coding). Default: any."""

    groups: Annotated[tuple[Word, ...], string_set(32)]
    """Groups of the caller. Default: any."""

    prompt_tokens: TokenRange | None = None
    """Size of the request. Default: any."""


class Fallback(Contract):
    """Who takes over when the chosen target cannot answer."""

    targets: Targets
    """In order, after the rule's own targets. Default: only the rule's own others."""

    when: Annotated[tuple[FallbackCause, ...], string_set(6)]
    """NoEndpoint (no pod is ready), ColdStart (it is scaled to zero: else requests are held until it is up), Saturated
    (all its places are taken), Timeout (no first byte in time), RateLimited (it answered 429) and ServerError (it
    answered 500, 502, 503, 504 or 529, or closed the connection). Default: NoEndpoint, Saturated, Timeout, RateLimited
    and ServerError."""

    max_attempts: Annotated[int, Field(ge=1, le=5)] | None = None
    """Targets that one request may be sent to. Default: 3."""


class EscalateWhen(Contract):
    """What sends a request to the larger targets first; one is enough."""

    complexity: Annotated[tuple[Complexity, ...], string_set(3)]
    """The request is so hard. Default: none."""

    queue_depth: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """So many requests wait for the rule's targets at this gateway. Default: not looked at."""

    no_endpoint: bool | None = None
    """None of the rule's targets has a ready pod. Default: false."""

    latency: ShortDuration | None = None
    """The mean time to the first byte of the rule's targets, over their last requests, is longer. Default: not looked
    at."""


class Escalate(Contract):
    """Larger targets, usually in a cloud, for what the rule's own should not do."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("size(self.targets) > 0", "escalate needs targets", ".targets"),
            (
                "(has(self.when.complexity) && size(self.when.complexity) > 0) || has(self.when.queueDepth) ||"
                " (has(self.when.noEndpoint) && self.when.noEndpoint) || has(self.when.latency)",
                "escalate.when says nothing: set complexity, queueDepth, noEndpoint: true or latency",
                ".when",
            ),
        ),
    )

    targets: Targets
    """In order."""

    when: EscalateWhen
    """What makes a request go there."""

    max_percent: Percent | None = None
    """Most of the rule's requests that may, in percent over the last minute, at each gateway. Default: 100."""


class Canary(Contract):
    """A share of conversations for another target; one conversation always goes the same way. Conversations are told
    apart by x-session-id; else by caller, model id, the first message of the user, and `user` and `prompt_cache_key` of
    the body."""

    target: TargetName
    """The target that is tried."""

    percent: Percent
    """Share of conversations."""


class Timeouts(Contract):
    """Limits of one request, over all attempts. How long it waits for a place is bounded by queue.timeout as well."""

    request: Duration | None = None
    """Until the answer is complete. One that is late is a 504; a stream that has begun is broken off at its next event.
    Default: 10m."""

    first_byte: ShortDuration | None = None
    """Until the first byte of an answer, at each target. Default: as request."""


class RouteRule(Contract):
    """One rule; the first that matches decides."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("size(self.targets) > 0", "a rule needs targets", ".targets"),
            (
                "!has(self.canary) || !self.targets.exists(t, t == self.canary.target)",
                "canary.target is one of the rule's targets, so it would get more than percent: leave it out of them",
                ".canary.target",
            ),
        )
    )

    name: Word
    """Its name, in the decision header, audit and metrics."""

    match: Match | None = None
    """Which requests it is for. Default: all."""

    targets: Targets
    """Where they go: one of these, by strategy."""

    strategy: Strategy | None = None
    """LeastLoaded (the fewest requests in flight for what it has; of equals the first), Weighted (by the targets'
    weights), RoundRobin, Sticky (a conversation, as canary has it, stays with its target and, within bounds of load,
    with its pod) or
    PrefixAware (requests that begin alike go to the same pod, within bounds of load). Default: LeastLoaded."""

    fallback: Fallback | None = None
    """Who takes over. Default: the rule's other targets, for every cause but ColdStart."""

    escalate: Escalate | None = None
    """When larger targets are used at once. Default: never."""

    canary: Canary | None = None
    """A share of conversations for another target. Default: none."""

    timeouts: Timeouts | None = None
    """Limits of one request. Default: 10m."""

    side_effects: bool | None = None
    """Requests do things that must not be done twice: once one is sent, no other target or pod is tried. Default: true
    for Agents, which may call tools; else false."""
