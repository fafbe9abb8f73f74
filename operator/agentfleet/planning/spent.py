"""What the budgets of an AgentRoute have been used up, as its gateways count it and as it is kept over restarts. Pure.

    gateways' /budgets ─┐
    ConfigMap (before) ─┴▶ merged ─▶ ConfigMap NAME-route-budgets, file used.json, which gateways begin with

Each gateway counts for itself, under its own name, and its counters only grow within their day or month: so the larger
of two numbers is the later one, whoever tells it, nothing counts twice, and a gateway that is gone keeps its share. A
counter is `SCOPE|VALUE|UNIT|WINDOW|PERIOD`, such as `Key|alice|tokens|Day|2026-11-21`; a value may hold `|` itself.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal

from agentfleet.manifests.names import APPLIED_ANNOTATION, digest
from agentfleet.objects import AGENT_ROUTE_LABEL, FIELD_MANAGER, MANAGED_BY, Manifest

USED_FILE = "used.json"

Counts = Mapping[str, Mapping[str, Decimal]]
"""Gateway → counter → amount."""

_PERIOD_FORMATS = {"Day": "%Y-%m-%d", "Month": "%Y-%m"}
_AMOUNT = re.compile(r"[0-9]{1,18}(\.[0-9]{1,12})?")
_LARGEST = 900_000
"""Bytes of the file: an object may have a mebibyte."""


def read(text: str | None) -> dict[str, dict[str, Decimal]]:
    """A file as gateways and `write` make it. What is no counter is left out: whoever can start a pod may answer."""
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {name: _counters(counters) for name, counters in data.items() if isinstance(counters, dict)}


def _counters(data: Mapping[str, object]) -> dict[str, Decimal]:
    return {
        counter: Decimal(amount)
        for counter, amount in data.items()
        if isinstance(amount, str) and _AMOUNT.fullmatch(amount) and counter.count("|") >= 4
    }


def merged(counts: Iterable[Counts], now: datetime) -> dict[str, dict[str, Decimal]]:
    """The latest of each counter whose day or month is not over."""
    latest: dict[str, dict[str, Decimal]] = {}
    for each in counts:
        for gateway, counters in each.items():
            for counter, amount in counters.items():
                if _is_current(counter, now):
                    known = latest.setdefault(gateway, {})
                    known[counter] = max(amount, known.get(counter, amount))
    return latest


def _is_current(counter: str, now: datetime) -> bool:
    # A gateway whose clock is ahead may begin the next period early.
    *_, window, period = counter.split("|")
    return window in _PERIOD_FORMATS and period >= now.strftime(_PERIOD_FORMATS[window])


def write(counts: Counts) -> str:
    """The file; equal counts are equal bytes."""
    data = {gateway: {name: f"{amount:f}" for name, amount in counters.items()} for gateway, counters in counts.items()}
    return json.dumps(data, sort_keys=True, separators=(",", ":")) + "\n"


def fitting(counts: Counts) -> Counts:
    """As many of the counters as an object holds: the most used ones of each budget, that of the route before all."""
    if len(write(counts)) <= _LARGEST:
        return counts
    kept: dict[str, dict[str, Decimal]] = {gateway: {} for gateway in counts}
    room = _LARGEST - len(write(kept))
    for gateway, counter, amount in _by_need(counts):
        room -= len(json.dumps(counter)) + len(f"{amount:f}") + len(':"",')
        if room < 0:
            break
        kept[gateway][counter] = amount
    return kept


def _by_need(counts: Counts) -> Iterator[tuple[str, str, Decimal]]:
    """Amounts of one budget can be compared, tokens and dollars cannot: so the first of each, then the second …"""
    budgets: dict[tuple[str, ...], list[tuple[Decimal, str, str]]] = {}
    for gateway, counters in counts.items():
        for counter, amount in counters.items():
            scope, *_, unit, window, _ = counter.split("|")
            budgets.setdefault((scope, unit, window), []).append((amount, gateway, counter))
    ranked = [
        (budget[0] != "Route", rank, gateway, counter, amount)
        for budget, used in budgets.items()
        for rank, (amount, gateway, counter) in enumerate(sorted(used, reverse=True))
    ]
    return ((gateway, counter, amount) for _, _, gateway, counter, amount in sorted(ranked))


def name_of(route: str) -> str:
    """The ConfigMap of an AgentRoute."""
    return f"{route}-route-budgets"


def config_map(route: Manifest, used: str) -> Manifest:
    """The ConfigMap of `route`, from its metadata alone: an invalid spec stops no counting."""
    metadata = route["metadata"]
    owner = {name: route[name] for name in ("apiVersion", "kind")} | {
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    labels = {MANAGED_BY: FIELD_MANAGER, AGENT_ROUTE_LABEL: metadata["name"]}
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name_of(metadata["name"]),
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner],
        },
        "data": {USED_FILE: used},
    }
    manifest["metadata"]["annotations"] = {APPLIED_ANNOTATION: digest(manifest)}
    return manifest
