"""Finds single numbers in a Prometheus text page. Pure.

A full parse of vLLM's page (51 kB) costs milliseconds; the sidecar wants two of its numbers, twice a second while the
pod drains.
"""

import math
from collections.abc import Sequence


def total(page: str, names: Sequence[str]) -> int | None:
    """Sum of all samples of the metrics `names`, over all their labels.

    None when one of them has no sample or one sample is no finite number: an engine that shows no number is not idle.
    """
    sums: dict[str, float] = {}
    prefixes = tuple(names)
    for line in page.splitlines():
        if not line.startswith(prefixes):
            continue
        name, value = _sample(line)
        if name not in names:
            continue
        if value is None:
            return None
        sums[name] = sums.get(name, 0.0) + value
    return int(sum(sums.values())) if len(sums) == len(set(names)) else None


def _sample(line: str) -> tuple[str, float | None]:
    """Name and value of one sample line. A label may hold blanks and braces: the last brace ends the labels."""
    name = line.split("{", 1)[0].split(maxsplit=1)[0]
    labelled = line.startswith(name + "{")
    values = line.rpartition("}")[2].split() if labelled else line.split()[1:]
    try:
        value = float(values[0])
    except (IndexError, ValueError):
        return name, None
    return name, value if math.isfinite(value) else None
