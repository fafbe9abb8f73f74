"""Which hardware profile a ModelServer runs on, by what the nodes have and have free. Pure.

The first profile, in the user's order, with room for all replicas wins. One that runs stays until a better one has had
room for a while, beside it: pods move up without a gap, and a GPU that is free for a moment moves nobody. Where none
has room, what serves goes on serving, else the profile is taken that is likeliest to get room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from agentfleet.planning.gpus import gpu_memory
from agentfleet.planning.nodes import Demand, NodeView, mismatch, pods_in, takes_pods

_LOOK_AGAIN = 60.0
"""Seconds between looks whether a better profile has room."""

Reason = Literal["ProfileFits", "WaitingForCapacity", "NoProfileFits", "NodesUnknown"]
Held = Mapping[str, Mapping[str, int]]
"""By node, what the ModelServer's own pods have reserved there; part of the node's `used`."""


@dataclass(frozen=True)
class Choice:
    """The profile to run on, and why."""

    name: str
    index: int
    """Its place among the options."""
    reason: Reason
    text: str
    """Why this one, as a sentence."""
    rejected: tuple[tuple[str, str], ...] = ()
    """The other options that were judged, each with what is in its way."""
    since: Mapping[str, datetime] = field(default_factory=dict)
    """Better options with room now, and since when; to be handed in the next time."""
    after: float | None = None
    """Seconds until a better option will have had room for long enough; None where there is none."""


@dataclass(frozen=True)
class _Judged:
    name: str
    index: int
    wanted: int
    """Pods of all replicas."""
    now: int
    """Of these, pods that have room now."""
    ever: int
    """Of these, pods that would have room if nobody else used the nodes, and all nodes were up."""
    in_the_way: str

    @property
    def fits(self) -> bool:
        return self.now >= self.wanted


def choose(
    options: Sequence[tuple[str, Demand]],
    nodes: Sequence[NodeView] | None,
    replicas: int,
    current: str | None,
    held: Held,
    since: Mapping[str, datetime],
    now: datetime,
    dwell: float,
) -> Choice:
    """The option to run on; `options` are in order of preference, with distinct names.

    `current` is the one that runs now, `since` that of the last Choice, `dwell` in seconds. With no replicas wanted,
    room for one is looked for, so that the answer means something when the first request comes.
    """
    if nodes is None:
        return Choice(options[0][0], 0, "NodesUnknown", "Nodes are not watched: the first profile is taken unjudged.")
    judged = [_judge(index, options, nodes, max(1, replicas), current, held) for index in range(len(options))]
    running = next((option for option in judged if option.name == current), None)
    fitting = [option for option in judged if option.fits]
    if running is not None and not running.fits and running.now and fitting:
        short = since.get(running.name, now)
        if not _has_lasted(short, now, dwell):
            left = dwell - (now - short).total_seconds()
            some = f"{running.now} of {running.wanted} pods"
            text = f"{running.name} has room for {some}; it is left when that has lasted {dwell:g} s."
            return _taken(running, judged, "WaitingForCapacity", text, since={running.name: short}, after=left)
    if running is None or not running.fits:
        if fitting:
            return _taken(fitting[0], judged, "ProfileFits", _room(fitting[0], options[fitting[0].index][1]))
        return _least_bad(running, judged)
    better = {option.name: since.get(option.name, now) for option in fitting if option.index < running.index}
    ripe = [option for option in fitting if option.name in better and _has_lasted(better[option.name], now, dwell)]
    if ripe:
        text = f"{ripe[0].name} has had room for {dwell:g} s; the pods move up from {running.name}."
        return _taken(ripe[0], judged, "ProfileFits", text)
    waits = [dwell - (now - start).total_seconds() for start in better.values()]
    text = _room(running, options[running.index][1])
    if better:
        text += f" {next(iter(better))} is better and has room too: the pods move when it has lasted {dwell:g} s."
    # What pods of others hold and free raises no event here.
    looks = [_LOOK_AGAIN] if running.index else []
    return _taken(running, judged, "ProfileFits", text, since=better, after=min([*waits, *looks], default=None))


def _has_lasted(start: datetime, now: datetime, dwell: float) -> bool:
    return now - start >= timedelta(seconds=dwell)


def _least_bad(running: _Judged | None, judged: Sequence[_Judged]) -> Choice:
    """Nothing has room for all: keep serving; else serve some; else wait where waiting can help; else the favourite."""
    taken = min(judged, key=lambda option: (-option.now, option.ever < option.wanted, -option.ever, option.index))
    if running is not None and running.now:
        taken = running
    if taken.ever >= taken.wanted:
        text = f"No profile has room for all {taken.wanted} pods now; {taken.name}: {taken.in_the_way}."
        return _taken(taken, judged, "WaitingForCapacity", text)
    text = f"No profile could ever run all {taken.wanted} pods on these nodes; {taken.name}: {taken.in_the_way}."
    return _taken(taken, judged, "NoProfileFits", text)


def _taken(
    option: _Judged,
    judged: Sequence[_Judged],
    reason: Reason,
    text: str,
    since: Mapping[str, datetime] | None = None,
    after: float | None = None,
) -> Choice:
    rejected = tuple((other.name, other.in_the_way) for other in judged if other is not option and not other.fits)
    return Choice(option.name, option.index, reason, text, rejected, since or {}, after)


def _room(option: _Judged, demand: Demand) -> str:
    text = f"The nodes have room for {option.wanted} pod{'s' if option.wanted != 1 else ''} of {option.name}."
    return f"{text} Its DRA claims are not judged: nodes do not tell about them." if demand.claims else text


def _judge(
    index: int,
    options: Sequence[tuple[str, Demand]],
    nodes: Sequence[NodeView],
    replicas: int,
    current: str | None,
    held: Held,
) -> _Judged:
    name, demand = options[index]
    wanted = replicas * demand.pods
    runs = name == current
    # Its own GPUs help another profile only where pods are replaced one by one, and others serve meanwhile.
    reuses = runs or (replicas > 1 and _same_gpus(demand, dict(options).get(current or "")))
    fitting = [node for node in nodes if mismatch(node, demand) is None]
    now = sum(_pods_now(node, demand, held.get(node.name, {}) if reuses else {}, runs=runs) for node in fitting)
    ever = sum(pods_in(node.allocatable, demand) for node in fitting)
    now, ever = min(now, wanted), min(max(now, ever), wanted)
    return _Judged(name, index, wanted, now, ever, _in_the_way(demand, nodes, wanted, now, ever))


def _same_gpus(demand: Demand, other: Demand | None) -> bool:
    return other is not None and bool(demand.gpus and other.gpus) and demand.gpu_resource == other.gpu_resource


def _pods_now(node: NodeView, demand: Demand, own: Mapping[str, int], *, runs: bool) -> int:
    if takes_pods(node, demand):
        return pods_in(node.free(own), demand)
    # A node that is cut off or cordoned keeps the pods that it has until they are evicted; it takes no new ones.
    return pods_in(own, demand) if runs and own else 0


def _in_the_way(demand: Demand, nodes: Sequence[NodeView], wanted: int, now: int, ever: int) -> str:
    if now >= wanted:
        return ""
    if ever >= wanted:
        return f"room for {now} of {wanted} pods now; the nodes have room for all once others leave or nodes come back"
    if ever:
        return f"room for {now} of {wanted} pods now, and for {ever} at most"
    reasons = [mismatch(node, demand) or "too small" for node in nodes]
    counted = sorted(set(reasons), key=lambda reason: (-reasons.count(reason), reason))
    told = ", ".join(f"{reasons.count(reason)} {reason}" for reason in counted[:3])
    return f"no node can run it: {told}" if told else "there are no nodes"


def room(nodes: Sequence[NodeView] | None, demand: Demand) -> int | None:
    """Pods of the demand that would fit beside all that runs now; None where nodes are not known."""
    if nodes is None:
        return None
    usable = [node for node in nodes if mismatch(node, demand) is None and takes_pods(node, demand)]
    return sum(pods_in(node.free(), demand) for node in usable)


def gpus_per_node(nodes: Sequence[NodeView] | None, demand: Demand) -> int | None:
    """GPUs of the largest node that the demand may use; None where none is known to have any."""
    return max((node.allocatable[demand.gpu_resource] for node in _with_gpus(nodes, demand)), default=None)


def gpu_memory_of(nodes: Sequence[NodeView] | None, demand: Demand) -> int | None:
    """Memory of the smallest GPU that a pod of the demand may get, in bytes; None where no label tells."""
    told = [gpu_memory(node.labels, demand.gpu_resource) for node in _with_gpus(nodes, demand)]
    return min((memory for memory in told if memory is not None), default=None)


def _with_gpus(nodes: Sequence[NodeView] | None, demand: Demand) -> list[NodeView]:
    able = [node for node in nodes or () if node.allocatable.get(demand.gpu_resource)]
    return [node for node in able if mismatch(node, demand) is None]
