"""What a route takes a request for, and by what: the request's file, read and classified as gateways do it. Pure.

Texts of the request stay out of what is told: of a pattern that is found its name is, never what it has found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agentfleet.cli.explain_source import Source
from agentfleet.errors import AgentfleetError
from agentfleet.gateway import complexity, sensitivity
from agentfleet.gateway.intents import Intents
from agentfleet.gateway.patterns import compiled
from agentfleet.gateway.request import Refusal, read, text
from agentfleet.gateway.types import Complexity, Endpoint, PrivacyMode, Request, Sensitivity


class BadRequest(AgentfleetError):
    """The gateway would refuse the request before it looks where it might go."""


@dataclass(frozen=True)
class Caller:
    """Who sends it."""

    id: str = ""
    groups: tuple[str, ...] = ()
    mode: PrivacyMode = "Standard"


@dataclass(frozen=True)
class Reading:
    """A request, and how it was read."""

    request: Request
    size: int
    """Bytes of the body."""
    intent_by: str
    complexity_by: str
    sensitivity_by: str
    patterns: tuple[str, ...]
    """Names of the sensitive patterns that are in it."""


def reading(
    source: Source, endpoint: Endpoint, headers: Mapping[str, str], body: bytes, caller: Caller, intent: str | None
) -> Reading:
    """`headers` have names in lower case; `intent` is taken instead of what classifies it."""
    found = read(endpoint, headers, body, caller=caller.id, buffer=source.layout.buffer)
    if isinstance(found, Refusal):
        raise BadRequest(f"the request is answered 400: {found.message}")
    if len(body) > source.layout.max_body:
        limit = f"gateway.maxBody is {source.layout.max_body}"
        raise BadRequest(f"the request is answered 413: it has {len(body)} bytes, and {limit}")
    intent, intent_by = _intent(source, found, intent)
    level, level_by = _complexity(source, found)
    patterns, sensitive = _sensitive(source, body) if found.readable else ((), "Public")
    request = replace(
        found,
        intent=intent,
        complexity=level,
        sensitivity=sensitive,
        caller=caller.id,
        groups=caller.groups,
        privacy_mode=caller.mode,
    )
    return Reading(request, len(body), intent_by, level_by, _sensitivity_by(source, request, patterns), patterns)


def _intent(source: Source, request: Request, given: str | None) -> tuple[str | None, str]:
    known = source.policy.intents
    if given is not None:
        if given in known:
            return given, "--intent"
        there = f"there are {', '.join(known)}" if known else f"{source.title} has none"
        raise BadRequest(f"--intent {given}: no such intent in classify.intents: {there}")
    if not known:
        return None, "the route has no intents"
    intent, by = _classified(source, request) if request.readable else (None, "the body is not read")
    default = source.policy.default_intent
    return intent, by if intent or default is None else f"{by}; the default is {default}"


def _classified(source: Source, request: Request) -> tuple[str | None, str]:
    verdict = Intents(source.decider.intents).classify(request.last.decode("utf-8", errors="replace"))
    if verdict.by == "keyword":
        return verdict.intent, f"keyword {verdict.matched!r}"
    method = source.decider.intent_method
    if method != "Keywords":
        return None, f"no keyword; a model is asked (method {method}), but not from here: say it with --intent"
    if verdict.intent is None:
        return None, "no keyword, and too little like the examples of any one intent"
    return verdict.intent, f"{verdict.score:.2f} like example {verdict.matched!r}"


def _complexity(source: Source, request: Request) -> tuple[Complexity | None, str]:
    header = source.policy.complexity_header
    said = request.headers.get(header or "", "").capitalize()
    if header and said in ("Simple", "Moderate", "Complex"):
        return None, f"header {header}"
    not_asked = "; the model that classify.complexity names is not asked from here" * source.layout.ask_complexity
    default = f"nothing tells: the default{not_asked}"
    if not request.readable:
        return None, default
    level = complexity.classify(request.last, request.prompt_tokens)
    if any(compiled(regex).search(request.last) for regex, _ in source.layout.complexity):
        return level, f"its words{not_asked}"
    return level, default if level is None else f"its size{not_asked}"


def _sensitive(source: Source, body: bytes) -> tuple[tuple[str, ...], Sensitivity]:
    resolved = text(body)
    enabled = {regex for regex, _ in source.layout.sensitive}
    named = [(name, regex) for name, builtin in sensitivity.BUILTINS.items() for regex, _ in builtin.patterns]
    classify = source.route.spec.classify
    custom = classify.sensitivity.custom if classify and classify.sensitivity else ()
    named += [(each.name, each.pattern) for each in custom]
    found = [name for name, regex in named if regex in enabled and compiled(regex).search(resolved)]
    return tuple(dict.fromkeys(found)), sensitivity.classify(resolved, source.layout.sensitive)


def _sensitivity_by(source: Source, request: Request, patterns: tuple[str, ...]) -> str:
    policy = source.policy
    if not request.readable:
        return f"the body is larger than {source.layout.buffer} bytes: it is not read, and counts as Restricted"
    told = []
    if patterns:
        told.append(f"found: {', '.join(patterns)}")
    elif not source.layout.sensitive:
        told.append("nothing is looked for (classify.sensitivity)")
    else:
        told.append("nothing found")
    if policy.default_sensitivity != "Public":
        told.append(f"at least the default, {policy.default_sensitivity}")
    if policy.sensitivity_header in request.headers:
        told.append(f"header {policy.sensitivity_header} may raise it")
    return "; ".join(told)
