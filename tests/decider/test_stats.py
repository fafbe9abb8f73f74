"""Loads of targets from HAProxy's statistics, as it writes them."""

from agentfleet.decider import stats
from agentfleet.decider.stats import TargetLoad

_COLUMNS = ("pxname", "svname", "qcur", "scur", "stot", "act", "bck")


def _answer(*rows: tuple[object, ...]) -> str:
    table = "\n".join(",".join(map(str, row)) for row in (_COLUMNS, *rows))
    return f"Name: HAProxy\nStart_time_sec: 7\n\n# {table}\n"


def test_the_gate_is_no_pod_and_what_is_behind_it_counts_once() -> None:
    """Three wait for the pod, two have it, and four that it left were moved on to where they are held."""
    reading = stats.parse(
        _answer(
            ("pool_t0", "pod1", 1, 2, 10, 1, 0),
            ("pool_t0", "gate", 0, 4, 4, 0, 1),
            ("pool_t0", "BACKEND", 2, 9, 16, 1, 1),
            ("hold_t0", "gate", 0, 3, 5, 1, 0),
            ("hold_t0", "BACKEND", 1, 4, 5, 1, 0),
            ("ready_t0", "BACKEND", 0, 0, 0, 1, 0),
        )
    )
    assert stats.load(reading, "t0") == TargetLoad(ready=1, waiting=4, in_flight=5)
    assert stats.requests(reading, "t0") == 12 + 5


def test_without_pods_all_that_is_held_waits() -> None:
    reading = stats.parse(
        _answer(
            ("pool_t0", "gate", 0, 4, 4, 0, 1),
            ("pool_t0", "BACKEND", 0, 4, 4, 0, 1),
            ("hold_t0", "BACKEND", 1, 5, 5, 1, 0),
            ("ready_t0", "BACKEND", 0, 0, 0, 0, 0),
        )
    )
    assert stats.load(reading, "t0") == TargetLoad(ready=0, waiting=5, in_flight=0)


def test_an_external_target_has_a_pool_alone() -> None:
    reading = stats.parse(
        _answer(("pool_t0", "pod1", 0, 2, 3, 1, 0), ("pool_t0", "BACKEND", 0, 2, 3, 1, 0)),
    )
    assert stats.load(reading, "t0") == TargetLoad(ready=1, waiting=0, in_flight=2)
