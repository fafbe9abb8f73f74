"""In which order targets are tried: by a rule's strategy, or the least loaded first. Pure; so does agentroute.lua."""

from collections.abc import Iterable, Mapping, Sequence

from agentfleet.gateway.types import UNCAPPED, Load, Request, Rule, Target

Loads = Mapping[str, Load]
"""Target's id → its load."""

_MASK = 0xFFFFFFFF


def ordered(rule: Rule, request: Request, own: Sequence[Target], loads: Loads) -> list[Target]:
    """The rule's targets, the chosen one first."""
    if rule.strategy == "Weighted":
        return _weighted(own, request.draw)
    if rule.strategy == "RoundRobin":
        start = request.turn % len(own) if own else 0
        return [*own[start:], *own[:start]]
    if rule.strategy == "Sticky":
        return _by_hash(own, request.conversation, loads)
    if rule.strategy == "PrefixAware":
        return _by_hash(own, request.prefix, loads)
    return least_loaded(own, loads)


def _weighted(own: Sequence[Target], draw: int) -> list[Target]:
    total = sum(target.weight for target in own)
    left = draw % total if total else 0
    for target in own:
        if left < target.weight:
            return [target, *(other for other in own if other is not target)]
        left -= target.weight
    return list(own)


def _by_hash(own: Sequence[Target], key: int, loads: Loads) -> list[Target]:
    """By rendezvous hashing: when a target goes, only its own conversations move."""
    return sorted(own, key=lambda target: (not loads[target.id].ready, -mix(key, int(target.id[1:]))))


def mix(key: int, number: int) -> int:
    """A hash of two 32-bit numbers, 32 bits."""
    value = (key ^ (number * 0x9E3779B1)) & _MASK
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & _MASK
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)


def least_loaded(targets: Iterable[Target], loads: Loads) -> list[Target]:
    return sorted(targets, key=lambda target: (not loads[target.id].ready, _permille(target, loads[target.id])))


def nearest(targets: Iterable[Target], loads: Loads) -> list[Target]:
    """The least loaded first, clouds after all others: they cost money and are out of the house."""
    return sorted(
        targets,
        key=lambda target: (
            not loads[target.id].ready,
            target.location == "Cloud",
            _permille(target, loads[target.id]),
        ),
    )


def _permille(target: Target, load: Load) -> int:
    """Requests for what there is to take them."""
    return load.active * 1000 // (max(1, load.ready) * (target.capacity or UNCAPPED))


def chosen(targets: Sequence[Target], ids: Sequence[str]) -> list[Target]:
    """Those of `targets` that are in `ids`, in the order of `ids`."""
    by_id = {target.id: target for target in targets}
    return [by_id[each] for each in ids if each in by_id]


def distinct(targets: Iterable[Target]) -> tuple[Target, ...]:
    return tuple({target.id: target for target in targets}.values())
