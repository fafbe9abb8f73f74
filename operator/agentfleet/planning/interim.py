"""Status of an object, of whatever kind, while nothing can be said about what it asks for. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, Self, TypeVar

from pydantic import ValidationError

from agentfleet.errors import NotReady
from agentfleet.resources.conditions import READY, RECONCILING, STALLED, Condition, explain, merge_conditions


class AnyStatus(Protocol):
    """What the statuses of all kinds have."""

    @property
    def observed_generation(self) -> int | None:
        """Generation of the spec that it is about."""

    @property
    def revision(self) -> str | None:
        """What is rolled out."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """At most one of each type."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same with other values."""

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """From plain data."""

    def dump(self) -> dict[str, Any]:
        """To plain data."""


Status = TypeVar("Status", bound=AnyStatus)
"""The status of one kind."""


def waiting(before: Status, error: NotReady, generation: int, now: datetime) -> Status:
    """The status while something has to pass first; what was said of requests before still holds."""
    message = explain(error.reason, f"{error.message}.")
    wanted = {c.type: (c.status, c.reason, c.message) for c in before.conditions if c.type != STALLED}
    wanted.setdefault(READY, ("Unknown", error.reason, message))
    wanted[RECONCILING] = ("True", error.reason, message)
    conditions = merge_conditions(before.conditions, wanted, generation, now)
    return before.model_copy(update={"observed_generation": generation, "conditions": conditions})


def internal_error(before: Status, generation: int, error: Exception, now: datetime) -> Status:
    """The status after a bug: unknown, with what is needed to report it."""
    message = explain("InternalError", f"{type(error).__name__}: {error}.")
    wanted = {c.type: (c.status, c.reason, c.message) for c in before.conditions if c.type != READY}
    wanted[READY] = ("Unknown", "InternalError", message)
    return before.model_copy(update={"conditions": merge_conditions(before.conditions, wanted, generation, now)})


def status_of(model: type[Status], manifest: Mapping[str, Any]) -> Status:
    """The status that an object carries now."""
    try:
        return model.model_validate(manifest.get("status") or {})
    except ValidationError:
        # Written by somebody else or by another version; it is replaced, not obeyed.
        return model()
