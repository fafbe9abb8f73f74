"""Tables, numbers and times as the command line writes them. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

NOTHING = "-"
"""What stands for a value that nobody knows."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their contents, like kubectl's; no line ends in blanks."""
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    padded = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def fields(pairs: Iterable[tuple[str, str]], indent: str = "") -> str:
    """Lines of name and value, the values below each other."""
    pairs = list(pairs)
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(f"{indent}{name.ljust(width)}  {value}".rstrip() for name, value in pairs)


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, never in the form 1e+06."""
    if value is None:
        return NOTHING
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits}{unit}"


def seconds(value: float | None) -> str:
    """A latency: milliseconds where it is short."""
    if value is None:
        return NOTHING
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


def data_size(value: float | None) -> str:
    """Bytes in GiB or MiB."""
    if value is None:
        return NOTHING
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def span(length: float) -> str:
    """A length of time in its two largest units, such as 3m20s."""
    whole = max(0, int(length))
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit}{name}" + (f"{rest}{smaller_name}" if rest else "")
    return f"{whole}s"


def moment(text: str) -> datetime:
    """A time of the API server, RFC 3339."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def clock(epoch: float) -> str:
    """Time of the day in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%H:%M:%S")
