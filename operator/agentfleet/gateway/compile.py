"""AgentRoute + what its references are → the routing policy (route.json). Pure.

Targets that cannot be used are left out of everything: a rule goes on with its others, and never gets one that it did
not name. What no request could ever be right about is an InvalidSpec, which names field, value and what to write.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from agentfleet.durations import parse_duration
from agentfleet.errors import InvalidSpec
from agentfleet.gateway.resolved import Resolution, Resolved
from agentfleet.gateway.types import (
    EVERY_CAUSE,
    SENSITIVITIES,
    Escalate,
    Header,
    Match,
    Policy,
    Rule,
    Sensitivity,
    Target,
)
from agentfleet.resources import route_rules as spec_rules
from agentfleet.resources import route_targets as spec_targets
from agentfleet.resources.agentroute import AgentRoute

AGENT_CONCURRENCY = 10
"""Requests at once for each pod of an Agent, where nothing is said."""

_PREFIX = {"Agent": "agent", "ModelServer": "model"}
_DEFAULT_ALIASES = ("auto",)
_COMPLEXITY_HEADER = "x-agentroute-complexity"


def compile_policy(route: AgentRoute, resolution: Resolution) -> Policy:
    """The policy of `route` over the targets that can be used; InvalidSpec where it could not do what it says."""
    targets = tuple(_targets(route, resolution))
    ids = {target.name: target.id for target in targets}
    spec, classify = route.spec, route.spec.classify
    complexity = classify.complexity if classify else None
    sensitivity = classify.sensitivity if classify else None
    queue = spec.queue
    policy = Policy(
        namespace=route.namespace,
        name=route.name,
        aliases=(*(spec.aliases or _DEFAULT_ALIASES), f"route/{route.name}"),
        targets=targets,
        rules=tuple(_rule(rule, ids) for rule in spec.rules),
        default=_known(spec.default.targets if spec.default else (), ids),
        deny_cloud_from=denied_from(route),
        regions=spec.privacy.regions if spec.privacy else (),
        intents=tuple(intent.name for intent in classify.intents) if classify else (),
        default_intent=classify.default_intent if classify else None,
        default_complexity=(complexity and complexity.default) or "Moderate",
        default_sensitivity=(sensitivity and sensitivity.default) or "Public",
        complexity_header=(complexity.header or _COMPLEXITY_HEADER).lower()
        if complexity and complexity.method == "Header"
        else None,
        **_headers(
            sensitivity_header=sensitivity.header if sensitivity else None,
            priority_header=queue.priority_header if queue else None,
        ),
        queue_max=1000 if queue is None or queue.max is None else queue.max,
        queue_ms=milliseconds(queue.timeout if queue else None, 30_000),
    )
    _check_names(policy)
    _check_rules(route)
    _check_denied(route, resolution)
    return policy


def denied_from(route: AgentRoute) -> Sensitivity | None:
    """The lowest class that clouds never get: a class includes those above it."""
    named = route.spec.privacy.deny_cloud_for if route.spec.privacy else ()
    return min(named, key=SENSITIVITIES.index, default=None)


def capacity(target: spec_targets.Target, found: Resolved) -> int | None:
    """Requests at once for each pod; None is no limit."""
    told = found.endpoint.concurrency if found.endpoint else None
    return target.max_concurrent or told or (AGENT_CONCURRENCY if target.agent_ref else None)


def milliseconds(duration: str | None, default: int) -> int:
    """A duration of the contract."""
    return default if duration is None else round(1000 * parse_duration(duration))


def used(route: AgentRoute, resolution: Resolution) -> Iterator[tuple[str, spec_targets.Target, Resolved]]:
    """The targets that the policy knows: their ids, what is said of them, and what they are.

    An id is the place in spec.targets: one that comes or goes leaves the others theirs.
    """
    for place, said in enumerate(route.spec.targets):
        found = resolution.targets[said.name]
        if found.usable is not None:
            yield f"t{place}", said, found


def _headers(**names: str | None) -> Mapping[str, str]:
    return {field: name.lower() for field, name in names.items() if name}


def _targets(route: AgentRoute, resolution: Resolution) -> Iterator[Target]:
    for ident, said, found in used(route, resolution):
        own = (f"{_PREFIX[found.kind]}/{found.object}",) if found.kind in _PREFIX else ()
        endpoint = found.usable
        yield Target(
            id=ident,
            name=found.name,
            kind=found.kind,
            model=endpoint.model if endpoint else "",
            names=(*own, f"target/{found.name}"),
            tier=said.tier or "Balanced",
            location=found.location,
            region=said.region,
            capabilities=said.capabilities,
            weight=1 if said.weight is None else said.weight,
            capacity=capacity(said, found),
            primary=bool(said.primary),
            tasks=said.tasks,
            side_effects=found.kind == "Agent",
            scales_to_zero=bool(endpoint and endpoint.scales_to_zero),
            identified=found.kind != "Agent" or found.namespace == route.namespace,
        )


def _known(names: Iterable[str], ids: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(ids[name] for name in names if name in ids)


def _rule(rule: spec_rules.RouteRule, ids: Mapping[str, str]) -> Rule:
    fallback, escalate, canary, timeouts = rule.fallback, rule.escalate, rule.canary, rule.timeouts
    first_byte = timeouts.first_byte if timeouts else None
    return Rule(
        name=rule.name,
        match=_match(rule.match),
        targets=_known(rule.targets, ids),
        strategy=rule.strategy or "LeastLoaded",
        fallback=_known(fallback.targets, ids) if fallback else (),
        when=(fallback.when if fallback else ()) or EVERY_CAUSE,
        max_attempts=(fallback and fallback.max_attempts) or 3,
        escalate=_escalate(escalate, ids) if escalate else None,
        canary=ids.get(canary.target) if canary else None,
        canary_percent=canary.percent if canary else 0,
        request_ms=milliseconds(timeouts.request if timeouts else None, 600_000),
        first_byte_ms=milliseconds(first_byte, 0) if first_byte else None,
        side_effects=rule.side_effects,
    )


def _match(match: spec_rules.Match | None) -> Match:
    if match is None:
        return Match()
    size = match.prompt_tokens
    return Match(
        intents=match.intents,
        complexity=match.complexity,
        models=match.models,
        headers=tuple(Header(header.name.lower(), header.value) for header in match.headers),
        sensitivity=match.sensitivity,
        capabilities=match.capabilities,
        groups=match.groups,
        min_tokens=size.min if size else None,
        max_tokens=size.max if size else None,
    )


def _escalate(escalate: spec_rules.Escalate, ids: Mapping[str, str]) -> Escalate | None:
    when, targets = escalate.when, _known(escalate.targets, ids)
    if not targets:
        return None
    return Escalate(
        targets=targets,
        complexity=when.complexity,
        queue_depth=when.queue_depth,
        no_endpoint=bool(when.no_endpoint),
        latency_ms=milliseconds(when.latency, 0) if when.latency else None,
        max_percent=100 if escalate.max_percent is None else escalate.max_percent,
    )


def _check_names(policy: Policy) -> None:
    """One model id, one meaning."""
    owners: dict[str, str] = {}
    for target in policy.targets:
        for name in target.names:
            if other := owners.get(name):
                raise InvalidSpec(
                    "InvalidSpec",
                    f"targets: {other} and {target.name} are both {name!r}: keep one, and name it in several rules.",
                )
            owners[name] = target.name
    for alias in policy.aliases:
        if alias in owners:
            raise InvalidSpec("InvalidSpec", f"aliases: {alias!r} is the id of target {owners[alias]}; choose another.")


def _check_rules(route: AgentRoute) -> None:
    """Names that the API server checks too, for objects that were stored before it did."""
    known = {target.name for target in route.spec.targets}
    fields: list[tuple[str, Sequence[str]]] = []
    if route.spec.default:
        fields.append(("default.targets", route.spec.default.targets))
    for rule in route.spec.rules:
        fields += [
            (f"targets of rule {rule.name}", rule.targets),
            (f"fallback.targets of rule {rule.name}", rule.fallback.targets if rule.fallback else ()),
            (f"escalate.targets of rule {rule.name}", rule.escalate.targets if rule.escalate else ()),
            (f"canary.target of rule {rule.name}", (rule.canary.target,) if rule.canary else ()),
        ]
    for field, names in fields:
        for name in names:
            if name not in known:
                raise InvalidSpec("InvalidSpec", f"{field}: {name!r} is no target; legal: {', '.join(sorted(known))}.")


def _check_denied(route: AgentRoute, resolution: Resolution) -> None:
    """A rule for classes that no cloud may see needs a target that is none."""
    limit = denied_from(route)
    if limit is None:
        return
    for rule in route.spec.rules:
        classes = rule.match.sensitivity if rule.match else ()
        if not classes or any(SENSITIVITIES.index(each) < SENSITIVITIES.index(limit) for each in classes):
            continue
        names = (*rule.targets, *(rule.fallback.targets if rule.fallback else ()))
        if all(resolution.targets[name].location == "Cloud" for name in names):
            raise InvalidSpec(
                "InvalidSpec",
                f"rule {rule.name} is for {', '.join(classes)} requests, which privacy.denyCloudFor keeps from clouds,"
                f" and all its targets ({', '.join(names)}) are in clouds: give it one that is not.",
            )
