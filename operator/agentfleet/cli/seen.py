"""An object as the command line reads it: leniently, since its version may differ from the operator's. Pure.

Kinds add what only they have (server.py, routes.py). Finding them by name is in find.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from agentfleet.objects import Manifest


@dataclass(frozen=True, slots=True)
class Trouble:
    """A condition that is not as it ought to be."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Reads one object's manifest; what the operator has not said is None or empty."""

    manifest: Manifest

    good: ClassVar[tuple[str, ...]] = ("Ready",)
    """Conditions that ought to be True."""
    bad: ClassVar[tuple[str, ...]] = ("Stalled",)
    """Conditions that ought not to be."""
    intended: ClassVar[tuple[str, ...]] = ()
    """Reasons of a False that nobody has to do anything about."""

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.manifest.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.manifest.get("status") or {}

    @property
    def url(self) -> str | None:
        return self.status.get("url")

    @property
    def conditions(self) -> list[Mapping[str, Any]]:
        return self.status.get("conditions") or []

    @property
    def is_healthy(self) -> bool:
        """It serves, or is at zero on purpose."""
        return any(each["type"] == "Ready" and each["status"] == "True" for each in self.conditions)

    @property
    def troubles(self) -> list[Trouble]:
        """Conditions that are not as they ought to be; an object that the operator has not seen is one, too."""
        if not self.conditions:
            return [Trouble("Ready", "NotSeen", "The operator has said nothing about it: is it running?")]
        return [
            Trouble(each["type"], each.get("reason", ""), each.get("message", ""))
            for each in self.conditions
            if self._is_trouble(each)
        ]

    def _is_trouble(self, condition: Mapping[str, Any]) -> bool:
        kind, status = condition["type"], condition["status"]
        if kind in self.bad:
            return bool(status == "True")
        return kind in self.good and status != "True" and condition.get("reason") not in self.intended
