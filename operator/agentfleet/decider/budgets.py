"""Budgets of the route: audit lines are added up, what is spent goes into HAProxy's budgets.map. Pure.

A request that is in flight when a budget is spent is answered; the next one is refused or sent elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote

from agentfleet.decider.audit import Line
from agentfleet.decider.ledger import Counter, Ledger, period, whole
from agentfleet.gateway.decider_config import TokenCost
from agentfleet.gateway.layout import Budget

WORDS = {"Reject": "spent", "SmallerTier": "small", "LocalOnly": "local"}
"""In the order in which they stand in an entry."""
_MILLION = 10**6


class Budgets:
    """What may still be used."""

    def __init__(
        self,
        budgets: Sequence[Budget],
        costs: Mapping[str, TokenCost],
        ledger: Ledger,
        clock: Callable[[], datetime],
    ) -> None:
        """`costs` is by the target's name, as audit lines have it."""
        self._bounds: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
        for budget in budgets:
            bounds = self._bounds.setdefault((budget.scope, budget.unit, budget.window), [])
            bounds.append((whole(budget.unit, budget.amount), WORDS[budget.action]))
        self._prices = {target: (_price(cost.input_per_million), _price(cost.output_per_million))
                        for target, cost in costs.items()}  # fmt: skip
        self._ledger = ledger
        self._clock = clock

    def take(self, line: Line) -> None:
        """Adds what one request used; one that failed costs nothing."""
        if line.status >= 400:
            return
        price_in, price_out = self._prices.get(line.target, (0, 0))
        amounts = {
            "tokens": line.tokens_in + line.tokens_out,
            "usd": line.tokens_in * price_in + line.tokens_out * price_out,
        }
        now = self._clock()
        for scope, unit, window in self._bounds:
            for value in _values(scope, line) if amounts[unit] else ():
                self._ledger.add(Counter(scope, value, unit, window, period(window, now)), amounts[unit])

    def spent(self) -> dict[str, str]:
        """The entries of budgets.map: route, key:ID and group:NAME, each with what is spent."""
        now = self._clock()
        found: dict[str, set[str]] = {}
        for counter, used in self._ledger.used():
            for amount, word in self._bounds.get((counter.scope, counter.unit, counter.window), ()):
                if used >= amount and counter.period == period(counter.window, now):
                    found.setdefault(_entry(counter), set()).add(word)
        return {entry: ",".join(word for word in WORDS.values() if word in words) for entry, words in found.items()}


def _price(per_million: str) -> int:
    """What one token costs, in parts of a dollar as the ledger counts."""
    return whole("usd", str(Decimal(per_million) / _MILLION))


def _values(scope: str, line: Line) -> tuple[str, ...]:
    if scope == "Group":
        return line.groups
    return (line.caller if scope == "Key" else "",)


def _entry(counter: Counter) -> str:
    """HAProxy's converter url_enc leaves the same characters as they are."""
    return counter.scope.lower() + ("" if counter.scope == "Route" else f":{quote(counter.value, safe='')}")
