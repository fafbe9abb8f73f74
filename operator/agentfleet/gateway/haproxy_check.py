"""The last look at what is rendered: no text but those that are known to be free may hold a sign of HAProxy's language.

The contract's patterns see to that already, and the compiler to what comes from elsewhere. This looks at every text of
the policy and the layout, of fields too that are added later, so that a hole in any of them is a refused spec and not a
line of configuration. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.layout import Backend, Jwt, Layout
from agentfleet.gateway.types import Header, Policy

_PLAIN = re.compile(r"[-A-Za-z0-9_.:/*=]*")
_FREE: frozenset[tuple[type, str]] = frozenset(
    {(Header, "value"), (Jwt, "issuer"), (Jwt, "audiences"), (Layout, "sensitive"), (Layout, "complexity")}
)
"""They stand in route.json and in maps, or in haproxy.cfg by their hexadecimal form."""
_SITE = "${SITE}"
"""What a name of pods near by may hold: HAProxy puts the pod's own site there."""


def check_texts(policy: Policy, layout: Layout) -> None:
    """InvalidSpec that names field and value."""
    for where, text in (*_texts(policy, "route"), *_texts(layout, "gateway")):
        if not _PLAIN.fullmatch(text):
            raise InvalidSpec(
                "InvalidSpec",
                f"{where}: {text!r} cannot stand in a configuration: legal are letters, digits and -_.:/*=",
            )


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """All texts that are not free, by where they stand."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, tuple):
        for place, each in enumerate(value):
            yield from _texts(each, f"{where}[{place}]")
    elif is_dataclass(value):
        for field in fields(value):
            if (type(value), field.name) in _FREE:
                continue
            found = getattr(value, field.name)
            if (type(value), field.name) == (Backend, "near") and found:
                found = found.replace(_SITE, "")
            yield from _texts(found, f"{where}.{field.name}")
