"""A ModelServer as the command line reads it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.cli.seen import Seen
from agentfleet.durations import parse_duration

OPEN_STATES = ("Recommended", "AwaitingApproval", "Blocked", "Holding")
"""States of a decision that has not been carried out yet."""

DEFAULT_TTFT = 2.0
DEFAULT_TPOT = 0.1


@dataclass(frozen=True, slots=True)
class Server(Seen):
    """A ModelServer."""

    good = ("Ready", "ModelReady", "MetricsAvailable", "ScalingActive")
    bad = ("Stalled", "CapacityBlocked", "ConflictingAutoscaler", "ThresholdExceeded")
    intended = ("ScalingManual", "ScalingRecommended", "ScalingPaused", "MetricsStarting")

    @property
    def scaling(self) -> Mapping[str, Any]:
        """status.scaling."""
        return self.status.get("scaling") or {}

    @property
    def capacity(self) -> Mapping[str, Any]:
        """status.capacity."""
        return self.status.get("capacity") or {}

    @property
    def report(self) -> Mapping[str, Any]:
        """status.report."""
        return self.status.get("report") or {}

    @property
    def decision(self) -> Mapping[str, Any] | None:
        """The last decision, None where there was none yet."""
        return self.scaling.get("decision")

    @property
    def mode(self) -> str | None:
        """The mode in force, the wanted one before the operator has said it; None where nothing can be scaled."""
        if self.spec.get("engine") in ("External", "FoundryLocal"):
            return None
        if (self.spec.get("placement") or {}).get("mode") == "PerNode":
            return None
        return self.scaling.get("mode") or (self.spec.get("scaling") or {}).get("mode") or "Recommend"

    @property
    def wanted(self) -> int:
        """Replicas that there shall be."""
        desired = self.scaling.get("desired")
        return int(desired if desired is not None else self.spec.get("replicas", 1))

    @property
    def ready(self) -> int:
        return int(self.status.get("readyReplicas") or 0)

    @property
    def requests_per_second(self) -> float | None:
        """What one replica carries within the goal, as it was learnt."""
        return decimal(self.capacity.get("requestsPerSecond"))

    @property
    def concurrency(self) -> float | None:
        """The same in requests at once, for engines that count no requests."""
        return decimal(self.capacity.get("concurrency"))

    @property
    def demand(self) -> float | None:
        """In the unit of capacity: of the last decision, else of the last report."""
        inputs = (self.decision or {}).get("inputs") or {}
        asked = decimal(inputs.get("demand"))
        return asked if asked is not None else decimal(self.report.get("requestsPerSecond"))

    @property
    def goal(self) -> tuple[float, float]:
        """Time to the first token and per output token, in seconds."""
        slo = (self.spec.get("scaling") or {}).get("slo") or {}
        first, each = slo.get("timeToFirstToken"), slo.get("timePerOutputToken")
        return (
            parse_duration(first) if first else DEFAULT_TTFT,
            parse_duration(each) if each else DEFAULT_TPOT,
        )


def decimal(text: object) -> float | None:
    """A decimal string of the contract; None where it is absent."""
    return None if text is None else float(str(text))


def change_text(change: Mapping[str, Any]) -> str:
    """`scale_out 2 → 4`, of a decision or of a change of the past."""
    if change["action"] == "hold":
        return "hold"
    return f"{change['action']} {change['from']} → {change['to']}"
