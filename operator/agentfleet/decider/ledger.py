"""What was used up of budgets, by all gateways of the route together. Pure.

Each gateway counts for itself, and its own count only ever grows within a day or a month; so of two versions of a count
the larger is the newer, whatever the order in which they arrive. The sum over gateways is what was used. The format is
that of the file which the operator keeps:

    {"support-route-0": {"Key|alice|tokens|Day|2026-11-21": "123"}, "support-route-1": {…}}

Amounts are whole numbers inside: tokens, or millionths of a millionth of a US dollar, so that no sum depends on its
order.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

MOST = 5_000
"""Counters of its own that one gateway keeps in one day or month. Whoever makes tokens chooses their subjects."""
PICO = 10**12
"""Parts of a US dollar."""

_FIELDS = 5
_SCOPES = ("Route", "Key", "Group")
_WINDOWS = ("Day", "Month")


class Counter(NamedTuple):
    """What is counted."""

    scope: str
    """Route, Key or Group."""
    value: str
    """The caller or the group; empty for Route."""
    unit: str
    """tokens or usd."""
    window: str
    """Day or Month."""
    period: str
    """2026-11-21 or 2026-11, in UTC."""

    @property
    def text(self) -> str:
        """As in the file."""
        return "|".join(self)

    @classmethod
    def parse(cls, text: str) -> "Counter":
        """ValueError where it is none. A value may hold `|` itself, as subjects of tokens do."""
        scope, _, rest = text.partition("|")
        fields = [scope, *rest.rsplit("|", 3)]
        if len(fields) != _FIELDS or scope not in _SCOPES or fields[3] not in _WINDOWS:
            raise ValueError(f"{text[:200]!r} is no counter; one is SCOPE|VALUE|UNIT|WINDOW|PERIOD")
        return cls(*fields)


class Ledger:
    """The counts of all gateways, as this one knows them."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._counts: dict[Counter, dict[str, int]] = {}
        self._own = 0
        self.refused = 0
        """Additions that were not counted because there were MOST counters already."""

    def add(self, counter: Counter, amount: int) -> None:
        """Counts what this gateway let through."""
        by_gateway = self._counts.get(counter, {})
        if self._gateway not in by_gateway:
            if self._own >= MOST and counter.scope != "Route":
                self.refused += 1
                return
            self._own += 1
        by_gateway[self._gateway] = by_gateway.get(self._gateway, 0) + amount
        self._counts[counter] = by_gateway

    def merge(self, text: str, now: datetime) -> None:
        """Takes over what another version of the file knows better. ValueError where it is none; then nothing is taken.

        Of this gateway's own counts others may know more after it was restarted.
        """
        for gateway, counter, amount in _parsed(text):
            if counter.period == period(counter.window, now):
                by_gateway = self._counts.setdefault(counter, {})
                self._own += gateway == self._gateway and gateway not in by_gateway
                by_gateway[gateway] = max(amount, by_gateway.get(gateway, 0))

    def forget(self, now: datetime) -> None:
        """Drops days and months that are over."""
        periods = {window: period(window, now) for window in _WINDOWS}
        if all(counter.period == periods[counter.window] for counter in self._counts):
            return
        self._counts = {key: each for key, each in self._counts.items() if key.period == periods[key.window]}
        self._own = sum(self._gateway in each for each in self._counts.values())

    def used(self) -> Iterator[tuple[Counter, int]]:
        """Each counter, and the sum over all gateways."""
        return ((counter, sum(by_gateway.values())) for counter, by_gateway in self._counts.items())

    def own(self) -> list[tuple[Counter, int]]:
        """What this gateway has counted itself, in order."""
        return sorted((key, each[self._gateway]) for key, each in self._counts.items() if self._gateway in each)

    def to_json(self) -> str:
        """The file, with all that is known of every gateway."""
        document: dict[str, dict[str, str]] = {}
        for counter, by_gateway in self._counts.items():
            for gateway, amount in by_gateway.items():
                document.setdefault(gateway, {})[counter.text] = decimal(counter.unit, amount)
        return json.dumps(document, sort_keys=True, separators=(",", ":"))


def period(window: str, now: datetime) -> str:
    """The day or the month that `now` lies in."""
    return now.astimezone(UTC).strftime("%Y-%m-%d" if window == "Day" else "%Y-%m")


def whole(unit: str, amount: str) -> int:
    """An amount as it is counted. ValueError where it is no number from 0 on."""
    try:
        number = Decimal(amount) * (PICO if unit == "usd" else 1)
    except InvalidOperation as error:
        raise ValueError(f"{amount[:50]!r} is no amount; write a decimal number such as 12.50") from error
    if not number.is_finite() or number < 0:
        raise ValueError(f"{amount[:50]!r} is no amount; write a decimal number from 0 on")
    return int(number)


def decimal(unit: str, amount: int) -> str:
    """An amount as it is written."""
    if unit != "usd":
        return str(amount)
    dollars, rest = divmod(amount, PICO)
    return f"{dollars}.{rest:012d}".rstrip("0").rstrip(".")


def _parsed(text: str) -> list[tuple[str, Counter, int]]:
    document = json.loads(text)
    if not isinstance(document, Mapping):
        raise ValueError("used budgets are a JSON object of gateways")
    found = []
    for gateway, counts in document.items():
        if not isinstance(counts, Mapping):
            raise ValueError(f"used budgets of gateway {gateway[:100]!r} are no JSON object")
        for name, amount in counts.items():
            counter = Counter.parse(name)
            found.append((gateway, counter, whole(counter.unit, str(amount))))
    return found
