"""What pods of an Agent say at /readyz, and whom to ask. Pure.

The answer is the runtime's, or that of an image of the user's own: nothing in it is relied on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentfleet.manifests.agent_pod import AGENT
from agentfleet.objects import Manifest
from agentfleet.planning.failures import is_ready
from agentfleet.resources.agent_status import FoundTool

_MOST_ASKED = 3
_LONGEST = 300
_MOST_NOTES = 5
_MOST_FUNCTIONS = 256
_LONGEST_NAME = 64
_OF_TOOLS = ("tools", "members")


@dataclass(frozen=True)
class Said:
    """All that was answered, by all pods."""

    model: str = ""
    """Why the model does not answer; empty where nothing is known against it, or a pod that serves finds it well."""
    tools: str = ""
    """The same of tools and of other agents."""
    others: str = ""
    functions: tuple[FoundTool, ...] | None = None
    """What the model may call, as a pod that serves tells; None where none has."""
    notes: tuple[str, ...] = ()
    """What is wrong without being in the way, such as Python functions that cannot be read."""
    changed: tuple[str, ...] = ()
    """Variables whose Secret or ConfigMap is not any more as it was when a pod began, by name."""

    @property
    def problems(self) -> str:
        """What keeps pods from being ready, or answers those that are no longer."""
        return " ".join(text for text in (self.model, self.tools, self.others) if text)


def pods_to_ask(pods: Iterable[Manifest]) -> dict[str, str]:
    """Pod name → address: those that run and are not ready, and of the others the one that began first, for what has
    gone away or changed since."""
    running = [pod for pod in pods if is_running(pod) and pod["status"].get("podIP")]
    unready = [pod for pod in running if not is_ready(pod)][:_MOST_ASKED]
    ready = sorted((pod for pod in running if is_ready(pod)), key=_began)[:1]
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in (*unready, *ready)}


def is_running(pod: Manifest) -> bool:
    """Whether the process is up, whatever it says of model and tools."""
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return any(status["name"] == AGENT and status.get("started") for status in statuses)


def _began(pod: Manifest) -> str:
    """When the process was started, in words that sort by time."""
    states = (status.get("state", {}) for status in pod["status"]["containerStatuses"] if status["name"] == AGENT)
    return str(next(states).get("running", {}).get("startedAt", ""))


def said_by(answers: Mapping[str, Mapping[str, Any]]) -> Said:
    """What pods have answered, the first of each kind; a pod that serves knows better than one that starts."""
    found: dict[str, str] = {}
    notes: list[str] = []
    changed: set[str] = set()
    serving = [answer for answer in answers.values() if answer.get("ready") is True]
    for _, answer in sorted(answers.items()):
        changed.update(map(_name, _listed(answer, "changed")))
        for name, text in _problems(answer).items():
            if any(name not in _problems(other) for other in serving):
                continue
            field = "model" if name == "model" else "tools" if name in _OF_TOOLS else "others"
            found.setdefault(field, _text(text) if field != "others" else f"{_text(name)}: {_text(text)}")
        notes += map(_text, _listed(answer, "notes"))
    functions = next((each for each in map(_functions, serving) if each is not None), None)
    return Said(
        **found,
        functions=functions,
        notes=tuple(dict.fromkeys(notes))[:_MOST_NOTES],
        changed=tuple(sorted(changed - {""})),
    )


def _listed(answer: Mapping[str, Any], field: str) -> Sequence[Any]:
    told = answer.get(field)
    return told if isinstance(told, list) else ()


def _problems(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    told = answer.get("problems")
    return told if isinstance(told, dict) else {}


def _functions(answer: Mapping[str, Any]) -> tuple[FoundTool, ...] | None:
    listed = answer.get("tools")
    if not isinstance(listed, list):
        return None
    named = {_name(each.get("name")): _name(each.get("source")) for each in listed if isinstance(each, dict)}
    found = sorted((name, source) for name, source in named.items() if name)
    return tuple(FoundTool(name=name, source=source) for name, source in found[:_MOST_FUNCTIONS])


def _name(value: Any) -> str:
    return _text(value)[:_LONGEST_NAME] if isinstance(value, str) else ""


def _text(value: Any) -> str:
    return " ".join(str(value).split())[:_LONGEST]
