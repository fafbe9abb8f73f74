"""Go-style durations (`500ms`, `1m30s`, `2h`), as Kubernetes users write them."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds in `text`; ValueError names the text and the form."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write for example 500ms, 30s, 1m30s or 2h")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
