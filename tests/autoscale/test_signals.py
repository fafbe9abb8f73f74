"""Missing, stale and zero are three things; nothing that comes or goes looks like demand."""

import math

import pytest

from agentfleet.autoscale.samples import DemandSample, EngineSample, Replica, Tick
from agentfleet.autoscale.signals import Signals, View

START = 1000.0


def replica(name: str, *, ready: bool = True, leaving: bool = False, age: float = 900.0) -> Replica:
    return Replica(name, START - age, ready, leaving)


def engine(at: float, completed: float, running: float = 2.0, waiting: float = 0.0, **more: float) -> EngineSample:
    return EngineSample(at=at, completed=completed, running=running, waiting=waiting, **more)


def look(signals: Signals, now: float, engines: dict[str, EngineSample], *replicas: Replica, **more: object) -> View:
    everybody = replicas or tuple(replica(name) for name in ("a", "b"))
    return signals.take(Tick(now, everybody, engines, **more), cold_start=60.0)[0]  # type: ignore[arg-type]


def test_arrivals_are_what_ended_and_what_grew() -> None:
    signals = Signals()
    first = look(signals, START, {"a": engine(START, 100), "b": engine(START, 50)})
    assert first.arrivals is None, "a counter alone says nothing"
    view = look(signals, START + 5, {"a": engine(START + 5, 110), "b": engine(START + 5, 50, running=7, waiting=5)})
    assert view.arrivals == pytest.approx((10 + 10) / 5)
    assert view.running == 9
    assert view.waiting == 5


def test_zero_is_known() -> None:
    signals = Signals()
    for second in range(0, 60, 5):
        view = look(signals, START + second, {name: engine(START + second, 7, running=0) for name in ("a", "b")})
    assert view.arrivals == 0.0
    assert view.quality == "Fresh"
    assert view.whole


@pytest.mark.parametrize(
    ("what", "after"),
    [
        ("a smaller counter", engine(START + 5, 3)),
        ("another start", engine(START + 5, 5000, started_at=START + 2)),
    ],
)
def test_a_restarted_engine_is_no_demand(what: str, after: EngineSample) -> None:
    signals = Signals()
    look(signals, START, {"a": engine(START, 100, started_at=1.0)}, replica("a"))
    view = look(signals, START + 5, {"a": after}, replica("a"))
    assert view.arrivals is None, what
    later = look(signals, START + 10, {"a": engine(START + 10, after.completed + 10, started_at=after.started_at)},  # type: ignore[operator,arg-type]
                 replica("a"))  # fmt: skip
    assert later.arrivals == pytest.approx(2.0)


def test_a_replica_that_went_or_came_is_no_fall_or_jump() -> None:
    signals = Signals()
    for second in (0, 5, 10):
        at = START + second
        look(signals, at, {"a": engine(at, 100 + 2 * second), "b": engine(at, 9000 + 2 * second)})
    view = look(signals, START + 15, {"a": engine(START + 15, 140)}, replica("a"))
    assert view.arrivals == pytest.approx(4.0), "b had two a second, and they are a's now"
    came = {"a": engine(START + 20, 150), "c": engine(START + 20, 5000)}
    view = look(signals, START + 20, came, replica("a"), replica("c"))
    assert view.arrivals == pytest.approx(2.0)


def test_a_leaving_replica_counts_for_nothing() -> None:
    signals = Signals()
    view = look(signals, START, {"a": engine(START, 1), "b": engine(START, 1, running=90)},
                replica("a"), replica("b", leaving=True))  # fmt: skip
    assert (view.ready, view.leaving, view.running) == (1, 1, 2)


def test_a_silent_replica_does_what_the_others_do() -> None:
    signals = Signals()
    for second in range(0, 30, 5):
        at = START + second
        engines = {"a": engine(at, 100 + 3 * second), "b": engine(at, 100 + 3 * second)}
        if second >= 10:
            del engines["b"]
        view = look(signals, at, engines)
        if second > 0:
            assert view.arrivals == pytest.approx(6.0), second
    assert view.silent == ("b",)
    assert view.quality == "Partial"
    assert not view.whole


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("name", ["running", "waiting", "completed"])
def test_what_is_no_number_is_nobodys_word(name: str, bad: float) -> None:
    signals = Signals()
    for second in range(0, 40, 5):
        at = START + second
        fields = {"completed": 10.0, "running": 1.0, "waiting": 0.0}
        if second >= 10:
            fields[name] = bad
        view = look(signals, at, {"a": engine(at, **fields)}, replica("a"))
    assert view.quality in ("Stale", "Missing")
    assert view.silent == ("a",)


def test_quality_by_age() -> None:
    signals = Signals()
    look(signals, START, {"a": engine(START, 1)}, replica("a"))
    seen = {after: look(signals, START + after, {}, replica("a")).quality for after in (5, 15, 20, 120, 125)}
    assert seen == {5: "Fresh", 15: "Fresh", 20: "Stale", 120: "Stale", 125: "Missing"}


def test_quality_without_ready_replicas() -> None:
    signals = Signals()
    assert look(signals, START, {}, replica("a", ready=False)).quality == "Starting"
    assert look(signals, START + 5, {}, replica("a", leaving=True)).quality == "None"


def test_what_an_engine_once_told_must_be_there() -> None:
    signals = Signals()
    look(signals, START, {"a": engine(START, 1)}, replica("a"))
    without = EngineSample(at=START + 20, running=1.0, waiting=0.0, missing=("vllm:request_success_total",))
    view = look(signals, START + 20, {"a": without}, replica("a"))
    assert view.silent == ("a",)
    assert view.missing_metrics == ("vllm:request_success_total",)


def test_an_engine_that_counts_no_requests_is_seen_by_what_is_in_it() -> None:
    signals = Signals()
    view = look(signals, START, {"a": EngineSample(at=START, running=3.0)}, replica("a"))
    assert view.quality == "Fresh"
    assert not signals.counts_requests
    assert view.in_flight == 3.0
    assert view.arrivals is None


def gateway(at: float, arrived: float, *, sources: int = 1, answered: int = 1, waiting: float = 0.0) -> DemandSample:
    return DemandSample(at, arrived, waiting, sources, answered)


def test_the_gateway_counts_more_than_engines_let_in() -> None:
    signals = Signals()
    for second in (0, 5):
        at = START + second
        view = look(signals, at, {"a": engine(at, 2.0 * second)}, replica("a"),
                    demand=gateway(at, 10.0 * second, waiting=8.0 * second), demand_sources=1)  # fmt: skip
    assert view.arrivals == pytest.approx(10.0)
    assert view.held == 40.0
    assert view.whole


@pytest.mark.parametrize(
    ("what", "after", "complete"),
    [
        ("one of two is silent", gateway(START + 5, 500, sources=2, answered=1), False),
        ("another one came", gateway(START + 5, 500, sources=2, answered=2), True),
        ("it began anew", gateway(START + 5, 3), True),
    ],
)
def test_a_gateway_whose_count_cannot_be_compared_says_nothing(what: str, after: DemandSample, complete: bool) -> None:
    signals = Signals()
    look(signals, START, {}, replica("a"), demand=gateway(START, 100), demand_sources=1)
    view = look(signals, START + 5, {}, replica("a"), demand=after, demand_sources=after.sources)
    assert view.arrivals is None, what
    assert view.gateway_complete is complete, what


@pytest.mark.parametrize(
    ("what", "pod", "kind"),
    [
        ("on its way", Replica("x", START - 30, False), "pending"),
        ("no node fits", Replica("x", START - 30, False, problem="Unschedulable"), "blocked"),
        ("no image", Replica("x", START - 30, False, problem="ImagePullFailed"), "blocked"),
        ("crash loop", Replica("x", START - 30, False, problem="EngineDied"), "crashed"),
        ("too long", Replica("x", START - 121, False), "stuck"),
    ],
)
def test_replicas_that_do_not_serve(what: str, pod: Replica, kind: str) -> None:
    view = look(Signals(), START, {}, pod)
    found = {name for name in ("pending", "blocked", "crashed", "stuck") if getattr(view, name)}
    assert found == {kind}, what


def test_an_engine_that_has_work_and_does_none_of_it_is_not_fresh() -> None:
    signals = Signals()
    for second in range(0, 40, 5):
        moving = engine(START + second, 100 + second, output_tokens=10.0 * second)
        hung = engine(START + second, 50, running=4, output_tokens=700.0)
        view = look(signals, START + second, {"a": moving, "b": hung})
    assert view.silent == ("b",)
    assert not view.whole
    back = look(signals, START + 40, {"a": engine(START + 40, 140), "b": engine(START + 40, 51, output_tokens=720.0)})
    assert back.silent == ()


def test_an_engine_without_work_may_stand_still() -> None:
    signals = Signals()
    for second in range(0, 60, 5):
        view = look(signals, START + second, {name: engine(START + second, 7, running=0) for name in ("a", "b")})
    assert view.silent == ()
