"""Alerts of one agent: when each begins and ends, and what is done while it lasts. Pure.

An alert begins once its threshold has been passed for `for_seconds` without a break, and ends once it has not been for
as long: a value that swings about the threshold changes nothing. No value at all is no reason to begin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentfleet.runtime.config import Alert


@dataclass
class _State:
    lasts: bool = False
    other_since: float | None = None
    """Since when the value has said the opposite of `lasts`."""


@dataclass
class Alarms:
    """All alerts of spec.monitoring."""

    alerts: Sequence[Alert]
    _states: dict[int, _State] = field(default_factory=dict)

    def update(self, values: Mapping[str, float | None], now: float) -> list[tuple[Alert, bool]]:
        """Take the values by metric; the alerts that begin (True) or end (False) with that."""
        changed = []
        for index, alert in enumerate(self.alerts):
            state = self._states.setdefault(index, _State())
            value = values.get(alert.metric)
            passed = value is not None and value > alert.threshold
            if passed == state.lasts:
                state.other_since = None
                continue
            state.other_since = now if state.other_since is None else state.other_since
            if now - state.other_since >= alert.for_seconds:
                state.lasts, state.other_since = passed, None
                changed.append((alert, passed))
        return changed

    def lasting(self) -> tuple[Alert, ...]:
        """The alerts that last."""
        return tuple(self.alerts[index] for index, state in sorted(self._states.items()) if state.lasts)

    def lasts(self, action: str) -> bool:
        """Whether an alert with this action lasts."""
        return any(state.lasts and self.alerts[index].action == action for index, state in self._states.items())
