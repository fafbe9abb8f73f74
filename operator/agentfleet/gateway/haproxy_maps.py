"""Files beside haproxy.cfg: maps, the list of models, Lua. Texts that users choose freely are here and in route.json.

Pure but for the Lua, which is read from the package.
"""

import json
from importlib import resources

from agentfleet.gateway.layout import Layout
from agentfleet.gateway.pattern_needs import GATES, need
from agentfleet.gateway.types import Endpoint, Policy

_ENDPOINTS: tuple[Endpoint, ...] = ("chat/completions", "completions", "embeddings", "responses")
_DECIDER_PATHS = ("/chat", "/v1/batch-chat", "/health")
_PROBLEMS = {
    "invalid_json": "The request is not valid JSON.",
    "invalid_utf8": "The request is not valid UTF-8.",
    "duplicate_model": "The request names its model twice.",
    "no_model": "The request names no model of 1 to 253 bytes, or not in its first part:"
    " X-Gateway-Model-Name may name it, too.",
    "not_an_object": "The request is no JSON object.",
}


def maps(policy: Policy, layout: Layout) -> dict[str, str]:
    """File name → content."""
    own = [*policy.aliases, *(name for target in policy.targets for name in target.names)]
    named = [name for target in policy.targets for name in target.names]
    return {
        "paths.map": _map({f"/v1/{each}": each for each in _ENDPOINTS} | {"/v1/models": "models"} | _special()),
        "problems.map": _map(_PROBLEMS),
        "targets.map": _map({target.id: target.name for target in policy.targets}),
        "models.map": _map(dict.fromkeys(own, "1")),
        "named.map": _map(dict.fromkeys((name for name in named if name not in policy.aliases), "1")),
        "models.json": _models(own),
        "intents.map": _map({str(number): name for number, name in enumerate(policy.intents, 1)}),
        "intent-numbers.map": _map({name: str(number) for number, name in enumerate(policy.intents, 1)}),
        **{name: _patterns(patterns) for name, patterns in sensitivity(layout).items()},
        "complexity.map": _patterns(layout.complexity),
    }


def sensitivity(layout: Layout) -> dict[str, tuple[tuple[str, str], ...]]:
    """File name → patterns of sensitivity, those behind each gate in a file of their own."""
    return {
        f"sensitivity{f'-{gate}' if gate else ''}.map": tuple(
            (regex, level) for regex, level in layout.sensitive if need(regex) == gate
        )
        for gate in (None, *GATES)
    }


def lua() -> dict[str, str]:
    """The Lua files, as they stand beside this module."""
    folder = resources.files("agentfleet.gateway")
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".lua"))
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in names}


def _special() -> dict[str, str]:
    return dict.fromkeys(_DECIDER_PATHS, "decider")


def _map(entries: dict[str, str]) -> str:
    """A map file. Keys hold no space; what begins with # would be a comment."""
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def _patterns(patterns: tuple[tuple[str, str], ...]) -> str:
    """Regular expressions, which hold no space: patterns.check has seen to that."""
    return "".join(f"{_no_comment(regex)} {word}\n" for regex, word in patterns)


def _no_comment(regex: str) -> str:
    return f"[#]{regex[1:]}" if regex.startswith("#") else regex


def _models(names: list[str]) -> str:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "agentfleet"} for name in dict.fromkeys(names)]
    return json.dumps({"object": "list", "data": models}, separators=(",", ":")) + "\n"
