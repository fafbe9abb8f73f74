"""Size changes only where numbers of replicas cannot help, and only after long."""

import pytest

from agentfleet.autoscale.decision import Goal, Situation
from agentfleet.autoscale.levers import Levers, Size
from agentfleet.autoscale.limits import Capacity

NOW = 100_000.0


def size(*, ttft: float = 0.1, tpot: float = 0.012, load: float = 0.6, at_once: float | None = 100.0,
         preempted: float = 0.0) -> Size:  # fmt: skip
    capacity = Capacity(6.5, 120.0, False, True, True, 18.0, unloaded_ttft=ttft, unloaded_tpot=tpot)
    return Size(capacity, load, at_once, preempted)


def situation(tensor: int = 1, tensors: tuple[int, ...] = (1, 2, 4), wanted: int = 1) -> Situation:
    return Situation(wanted=wanted, minimum=1, maximum=8, tensor=tensor, tensors=tensors)


def told(what: Size, where: Situation, *, seconds: float, goal: Goal | None = None) -> tuple[str, str, int] | None:
    levers, goal = Levers(), goal or Goal()
    for second in range(0, int(seconds) + 1, 5):
        levers.note(what, where, goal, NOW + second)
    decision = levers.decide(what, where, goal, NOW + seconds)
    return None if decision is None else (decision.action, decision.binding, decision.target)


@pytest.mark.parametrize(
    ("what", "seen", "where", "seconds", "expected"),
    [
        ("all is well", size(), situation(), 9000, None),
        ("tokens too slow", size(tpot=0.13), situation(), 600, ("scale_up", "Latency", 2)),
        ("not for long enough", size(tpot=0.13), situation(), 500, None),
        ("two are not enough", size(tpot=0.25), situation(), 600, ("scale_up", "Latency", 4)),
        ("none is enough", size(tpot=0.5), situation(), 600, None),
        ("prompts too slow", size(ttft=3.0), situation(), 600, ("scale_up", "Latency", 2)),
        ("larger is not legal", size(tpot=0.13), situation(tensors=(1,)), 600, None),
        ("size is not known", size(tpot=0.13), situation(tensors=()), 600, None),
        ("hardly any room", size(at_once=2.0, preempted=0.3), situation(), 600, ("scale_up", "Latency", 2)),
        ("hardly any room, nobody minds", size(at_once=2.0), situation(), 600, None),
        ("room enough, and preempted: more replicas help", size(at_once=60.0, preempted=0.3), situation(), 600, None),
        ("far too large", size(load=0.05), situation(tensor=4), 7200, ("scale_down", "Unused", 1)),
        ("far too large, for an hour", size(load=0.05), situation(tensor=4), 3600, None),
        ("large for a reason", size(load=0.05, tpot=0.045), situation(tensor=4), 7200, None),
        ("too large, but fewer would do", size(load=0.05), situation(tensor=4, wanted=2), 7200, None),
        ("smallest already", size(load=0.05), situation(), 7200, None),
    ],
)
def test_levers(what: str, seen: Size, where: Situation, seconds: float, expected: tuple[str, str, int] | None) -> None:
    assert told(seen, where, seconds=seconds) == expected, what


def test_the_users_largest_size_is_kept_to() -> None:
    assert told(size(tpot=0.25), situation(), seconds=600, goal=Goal(max_tensor=2)) is None


def test_a_moment_of_good_numbers_begins_it_anew() -> None:
    levers, goal, where = Levers(), Goal(), situation()
    for second in range(0, 500, 5):
        levers.note(size(tpot=0.13), where, goal, NOW + second)
    levers.note(size(), where, goal, NOW + 500)
    for second in range(505, 900, 5):
        levers.note(size(tpot=0.13), where, goal, NOW + second)
    assert levers.decide(size(tpot=0.13), where, goal, NOW + 900) is None


def test_says_what_is_slow_and_what_it_should_be() -> None:
    levers, goal, where, slow = Levers(), Goal(), situation(), size(tpot=0.13)
    for second in range(0, 605, 5):
        levers.note(slow, where, goal, NOW + second)
    decision = levers.decide(slow, where, goal, NOW + 600)
    assert decision is not None
    assert "130 ms" in decision.reason
    assert "size 2" in decision.reason
    assert decision.inputs["idleTpot"] == 0.13
