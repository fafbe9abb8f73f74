"""AgentRoute + what its references are → where its targets are and how its gateways are laid out (Layout). Pure."""

import math
from collections.abc import Mapping, Sequence

from agentfleet.durations import parse_duration
from agentfleet.errors import InvalidSpec
from agentfleet.gateway import patterns, sensitivity
from agentfleet.gateway.compile import capacity, milliseconds, used
from agentfleet.gateway.complexity import HEURISTIC
from agentfleet.gateway.layout import CREDENTIALS_FOLDER, Backend, Budget, Jwt, Layout, Limit, Peer
from agentfleet.gateway.resolved import Resolution, Resolved
from agentfleet.gateway.types import Sensitivity
from agentfleet.resources import route_access, route_targets
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.base import quantity_thousandths, quantity_value
from agentfleet.settings import Settings

_PERIODS = {"Second": 1, "Minute": 60, "Hour": 3600}
_KEPT_TOGETHER = ("Sticky", "PrefixAware")
_MODEL_MS = 500
_MOST_THREADS = 8


def layout(
    route: AgentRoute,
    resolution: Resolution,
    settings: Settings,
    peers: tuple[Peer, ...] = (),
    near: Mapping[str, str] | None = None,
) -> Layout:
    """The layout of `route`; InvalidSpec where a pattern is not taken.

    `near` has, by target, the DNS name of the pods of a gateway's own site.
    """
    spec, classify = route.spec, route.spec.classify
    complexity = classify.complexity if classify else None
    auth = spec.auth
    return Layout(
        backends=tuple(_backends(route, resolution, peers, near or {})),
        peers=peers if len(peers) > 1 else (),
        cluster_domain=settings.cluster_domain,
        tls=bool(spec.gateway and spec.gateway.tls),
        api_keys=bool(auth and auth.api_keys),
        jwt=_jwt(auth.jwt) if auth and auth.jwt else None,
        limits=tuple(_limit(limit) for limit in spec.limits),
        budgets=budgets(route),
        sensitive=tuple(sensitive(route)),
        complexity=tuple(HEURISTIC),
        ask_intent=bool(classify and classify.intents),
        intent_ms=milliseconds(classify.intent_timeout if classify else None, _MODEL_MS),
        ask_complexity=bool(complexity and complexity.method == "Model"),
        complexity_ms=milliseconds(complexity.timeout if complexity else None, _MODEL_MS),
        **_sizes(route),
        explain=not (spec.explain and spec.explain.header is False),
        audit_content=bool(spec.audit and spec.audit.content),
        threads=_threads(route),
    )


def is_per_site(route: AgentRoute) -> bool:
    """Whether each site has a gateway of its own."""
    return bool(route.spec.gateway and route.spec.gateway.per_site)


def budgets(route: AgentRoute) -> tuple[Budget, ...]:
    """The budgets, as the decider counts them."""
    return tuple(
        Budget(
            scope=each.scope,
            unit="tokens" if each.tokens is not None else "usd",
            amount=str(each.tokens if each.tokens is not None else each.usd),
            window=each.window,
            action=each.on_exceeded,
        )
        for each in route.spec.budgets
    )


def sensitive(route: AgentRoute) -> list[tuple[str, Sensitivity]]:
    """The patterns that raise a request's class, the highest first; InvalidSpec where one is not taken."""
    options = route.spec.classify.sensitivity if route.spec.classify else None
    named: Sequence[str] = options.patterns if options else ()
    if not named and route.spec.privacy and route.spec.privacy.deny_cloud_for:
        named = tuple(sensitivity.BUILTINS)
    found = sensitivity.builtin(named)
    for each in options.custom if options else ():
        try:
            patterns.check(each.pattern)
        except ValueError as error:
            raise InvalidSpec("InvalidSpec", f"classify.sensitivity.custom {each.name}: {error}.") from error
        found.append((each.pattern, each.class_))
    return sensitivity.ordered(found)


def _backends(
    route: AgentRoute, resolution: Resolution, peers: Sequence[Peer], near: Mapping[str, str]
) -> list[Backend]:
    return [
        _backend(route, ident, said, found, _owner(route, ident, said, found, peers), near.get(found.name))
        for ident, said, found in used(route, resolution)
    ]


def _backend(
    route: AgentRoute, ident: str, said: route_targets.Target, found: Resolved, owner: int | None, near: str | None
) -> Backend:
    endpoint = found.usable
    if endpoint is None:
        raise ValueError(f"target {found.name} is not usable")
    rules = [rule for rule in route.spec.rules if found.name in rule.targets]
    credentials = endpoint.credentials
    return Backend(
        id=ident,
        host=endpoint.host,
        port=endpoint.port,
        service=endpoint.service,
        service_port=443 if endpoint.tls else 80,
        slots=endpoint.slots,
        capacity=capacity(said, found),
        path=endpoint.path,
        tls=endpoint.tls,
        ca_file=f"{CREDENTIALS_FOLDER}/{ident}/ca.crt" if credentials.ca_config_map else None,
        health=endpoint.health,
        has_credentials=credentials.secret is not None,
        is_agent=found.kind == "Agent" and found.namespace == route.namespace,
        idle_ms=milliseconds(said.idle_timeout, 300_000),
        hashed=any(rule.strategy in _KEPT_TOGETHER for rule in rules),
        near=near,
        owner=owner,
        latency=any(rule.escalate and rule.escalate.when.latency for rule in rules),
    )


def _owner(
    route: AgentRoute, ident: str, said: route_targets.Target, found: Resolved, peers: Sequence[Peer]
) -> int | None:
    """The gateway that counts for all, by the target's place, so that it stays.

    Sites count for themselves: they have to go on when they are cut off.
    """
    if len(peers) < 2 or is_per_site(route) or found.kind == "External" or capacity(said, found) is None:
        return None
    outside = found.endpoint is not None and found.endpoint.service is None
    return None if outside else int(ident[1:]) % len(peers)


def _jwt(jwt: route_access.Jwt) -> Jwt:
    return Jwt(
        issuer=jwt.issuer,
        audiences=jwt.audiences,
        algorithm=jwt.algorithm or "RS256",
        groups_claim=jwt.groups_claim or "groups",
        subject_claim=jwt.subject_claim or "sub",
    )


def _limit(limit: route_access.Limit) -> Limit:
    in_requests = limit.requests is not None
    return Limit(
        scope=limit.scope,
        unit="requests" if in_requests else "tokens",
        amount=(limit.requests if in_requests else limit.tokens) or 0,
        period_s=_PERIODS[limit.per],
    )


def _sizes(route: AgentRoute) -> dict[str, int]:
    asked = route.spec.gateway.max_body if route.spec.gateway else None
    if asked is None:
        return {}
    try:
        size = quantity_value(asked)
    except ValueError as error:
        raise InvalidSpec("InvalidSpec", f"gateway.maxBody: {error}.") from error
    if not 1024 <= size <= 1 << 30:
        raise InvalidSpec("InvalidSpec", f"gateway.maxBody: {asked} is not from 1Ki to 1Gi.")
    return {"max_body": size}


def _threads(route: AgentRoute) -> int:
    """One for each CPU that the container may use; more would take turns."""
    resources = route.spec.gateway.resources if route.spec.gateway else None
    amounts = {**((resources and resources.requests) or {}), **((resources and resources.limits) or {})}
    if "cpu" not in amounts:
        return 1
    try:
        return max(1, min(_MOST_THREADS, math.ceil(quantity_thousandths(amounts["cpu"]) / 1000)))
    except ValueError as error:
        raise InvalidSpec("InvalidSpec", f"gateway.resources: cpu: {error}.") from error


def longest_request_s(route: AgentRoute) -> int:
    """Seconds that one request may take after it was let in: its wait and its answer."""
    queue = route.spec.queue.timeout if route.spec.queue else None
    asked = [rule.timeouts.request for rule in route.spec.rules if rule.timeouts and rule.timeouts.request]
    # Requests that no rule decides have the default.
    return math.ceil(parse_duration(queue or "30s") + max(map(parse_duration, (*asked, "10m"))))
