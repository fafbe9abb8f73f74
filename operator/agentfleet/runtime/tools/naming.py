"""Which tools the model has, and their names: OpenAI's letters, at most 64, none twice. Pure."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from agentfleet.runtime.tools import schema
from agentfleet.runtime.tools.records import Offer

MAX_TOOLS = 64
"""Of one agent, in all: each stands in every prompt, and models choose worse among many."""
_LONGEST = 64
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")


def of_entry(name: str) -> str:
    """The function of an entry that is one itself (http, agent): names of entries have dashes, functions have none."""
    return name.replace("-", "_")


def fitting(name: str) -> str:
    """`name` in the letters and the length that OpenAI's API allows; what is cut keeps a hash of the whole."""
    allowed = _FORBIDDEN.sub("_", name)
    if len(allowed) <= _LONGEST and allowed:
        return allowed
    return f"{allowed[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Those of a server's `names` that are used."""
    return [name for name in names if (not include or name in include) and name not in exclude]


def unique(offers: Sequence[tuple[str, Offer]]) -> list[str]:
    """A name for each (entry, offer): the tool's own, or ENTRY_TOOL for all of those that would be the same.

    Both get the longer name, so that which server came first does not decide whom the model calls.
    """
    count = Counter(fitting(offer.name) for _, offer in offers)
    names = [
        fitting(offer.name) if count[fitting(offer.name)] == 1 else fitting(f"{entry}_{offer.name}")
        for entry, offer in offers
    ]
    # a longer name may be another tool's own: the hash tells them apart for certain
    again = Counter(names)
    return [
        name if again[name] == 1 else _hashed(name, entry, offer.name)
        for name, (entry, offer) in zip(names, offers, strict=True)
    ]


def _hashed(name: str, entry: str, tool: str) -> str:
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(f'{entry}/{tool}'.encode()).hexdigest()[:8]}"


def choose(
    entries: Sequence[str], offers: Sequence[Sequence[Offer]]
) -> tuple[list[tuple[str, Offer]], tuple[str, ...], dict[str, str]]:
    """The (entry, offer) that are used; what was left out, in words; and entries with more than there is room for.

    An entry that does not fit gives nothing: the first few of a thousand would be a choice that nobody made.
    """
    used: list[tuple[str, Offer]] = []
    left_out: list[str] = []
    too_many: dict[str, str] = {}
    for entry, offered in zip(entries, offers, strict=True):
        wrong = {offer.name: schema.unusable(offer.parameters) for offer in offered[: 4 * MAX_TOOLS]}
        left_out += [f"{entry}: {name} is left out: {why}" for name, why in wrong.items() if why]
        good = [offer for offer in offered if not wrong.get(offer.name)]
        room = MAX_TOOLS - len(used)
        if len(good) > room:
            too_many[entry] = f"it offers {len(good)} tools and there is room for {room}: choose with include"
        else:
            used += [(entry, offer) for offer in good]
    return used, tuple(left_out), too_many
