"""Values of the command line: from text to what commands use, and what is wrong with one. It imports nothing slow."""

from argparse import ArgumentTypeError
from collections.abc import Callable

from agentfleet.durations import parse_duration

_LOAD_NUMBERS = 4


def duration(text: str) -> float:
    """Seconds, of 500ms, 15s, 5m."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number of this range."""

    def check(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return value

    return check


def agent_name(text: str) -> str:
    """NAME of agent/NAME, or of NAME alone."""
    name = text.removeprefix("agent/").removeprefix("agents/")
    if not name or "/" in name:
        raise ArgumentTypeError(f"{text!r} is not of the form agent/NAME")
    return name


def change(text: str) -> tuple[str, str]:
    """A field of spec.scaling and its new value."""
    path, equals, value = text.partition("=")
    path = path.removeprefix("spec.")
    if not equals or not path.startswith("scaling.") or not value:
        raise ArgumentTypeError(f"{text!r} is not of the form scaling.FIELD=VALUE, such as scaling.minReplicas=2")
    return path, value


def header(text: str) -> tuple[str, str]:
    """Name, in small letters, and value."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, such as x-team=blue")
    return name.strip().lower(), value.strip()


def words(text: str) -> tuple[str, ...]:
    """Those between commas."""
    return tuple(word for word in map(str.strip, text.split(",")) if word)


def load_of(text: str) -> tuple[str, tuple[int, ...]]:
    """A target and up to four numbers."""
    name, equals, value = text.partition("=")
    numbers = value.split(",")
    if not name or not equals or len(numbers) > _LOAD_NUMBERS or not all(each.isdecimal() for each in numbers):
        raise ArgumentTypeError(
            f"{text!r} is not of the form TARGET=READY[,ACTIVE[,WAITING[,MS]]], such as cloud=2,15,5"
        )
    return name, tuple(map(int, numbers))
