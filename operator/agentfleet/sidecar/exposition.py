"""Finds single numbers in a Prometheus text page. Pure.

A full parse of vLLM's page (51 kB) costs milliseconds; the sidecar wants two of its numbers, twice a second while the
pod drains, and the operator some dozens of its lines, every few seconds.
"""

import json
import math
from collections.abc import Collection, Sequence


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


def lines_of(page: str, names: Collection[str]) -> str:
    """The samples of the metrics `names` as they stand on the page, without comments."""
    prefixes = tuple(names)
    # Not splitlines: a label's value may hold other separators.
    found = [line for line in page.split("\n") if line.startswith(prefixes) and _name(line) in names]
    return "".join(line + "\n" for line in found)


def unquoted(text: str) -> str:
    """The page itself, of a llama-server that sends it as a JSON string (ggml-org/llama.cpp#17384)."""
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _name(line: str) -> str:
    return line.split("{", 1)[0].split(maxsplit=1)[0]


def _sample(line: str) -> tuple[str, float | None]:
    """Name and value of one sample line. A label may hold blanks and braces: the last brace ends the labels."""
    name = _name(line)
    labelled = line.startswith(name + "{")
    values = line.rpartition("}")[2].split() if labelled else line.split()[1:]
    try:
        value = float(values[0])
    except (IndexError, ValueError):
        return name, None
    return name, value if math.isfinite(value) else None
