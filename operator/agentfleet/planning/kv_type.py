"""Bits of one element of the KV cache, as the engine's arguments choose them. Pure."""

from collections.abc import Sequence

from agentfleet.planning.quantization import file_bits

DEFAULT_BITS = 16.0
"""What engines take for models with 16-bit weights, and what their `auto` means."""

_KEYS = ("--kv-cache-dtype", "--cache-type-k", "-ctk")
_VALUES = ("--kv-cache-dtype", "--cache-type-v", "-ctv")


def kv_cache_bits(arguments: Sequence[str]) -> float:
    """Mean bits of an element of keys and values; types that nobody knows count as the default."""
    return (_bits(_last(arguments, _KEYS)) + _bits(_last(arguments, _VALUES))) / 2


def _bits(name: str | None) -> float:
    if name is None or name == "auto":
        return DEFAULT_BITS
    return 8.0 if name.startswith("fp8") else file_bits(name, None) or DEFAULT_BITS


def _last(arguments: Sequence[str], flags: tuple[str, ...]) -> str | None:
    """The value of the last of `flags`, given as `flag=value` or as two arguments."""
    found = None
    for position, argument in enumerate(arguments):
        flag, joined, value = argument.partition("=")
        if flag.replace("_", "-") in flags:
            following = arguments[position + 1] if position + 1 < len(arguments) else None
            found = value if joined else following
    return found
