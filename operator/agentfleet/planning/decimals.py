"""Fractions as status holds them: decimal strings, never in scientific notation. Pure."""

import math

_LONGEST = 32


def decimal(value: float, digits: int = 4) -> str | None:
    """`value` with so many significant digits; None where it is no number, or too long to be said."""
    if not math.isfinite(value):
        return None
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if len(text) <= _LONGEST else None
