"""history.py and rings.py: what is kept of what was seen, and what is not."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.autoscale.samples import DemandSample, EngineSample, GpuSample, Replica, Tick, UsageSample
from agentfleet.monitor.history import KEPT, KEPT_OLLAMA, History
from agentfleet.monitor.rings import Ring
from agentfleet.objects import Key

KEY = Key("ModelServer", "team", "llama")
ONE = (Replica("pod-0", 0.0, ready=True),)


def _engine(at: float, requests: float, **more: float) -> EngineSample:
    values = {"running": 1.0, "waiting": 0.0, "failed": 0.0, **more}
    return EngineSample(at, completed=requests, **values)


def _run(history: History, *, ticks: int, requests: float = 10.0, start: float = 0.0, replicas: int = 1) -> float:
    """Ticks of 5 s at which each replica ended `requests` more; gives the time of the last."""
    names = [f"pod-{place}" for place in range(replicas)]
    here = tuple(Replica(name, 0.0, ready=True) for name in names)
    for place in range(ticks):
        now = start + 5.0 * place
        engines = {name: _engine(now, requests * place) for name in names}
        history.record(KEY, Tick(now, here, engines))
    return now


def _samples(history: History, replica: str = "pod-0") -> list[dict[str, float | None]]:
    return history.samples(KEY, replica)


def test_ticks_become_one_sample_for_each_half_minute() -> None:
    history = History()
    completed = [
        history.record(KEY, Tick(float(now), ONE, {"pod-0": _engine(now, now * 2)})) for now in range(0, 125, 5)
    ]
    assert sum(each is not None for each in completed) == 4
    samples = _samples(history)
    assert [sample["requestsPerSecond"] for sample in samples[1:]] == [2.0] * (len(samples) - 1)
    times = [sample["at"] for sample in samples]
    assert [later - earlier for earlier, later in pairwise(times)] == [30.0] * (len(times) - 1)


def test_servers_complete_their_samples_at_different_ticks() -> None:
    history = History()
    ends = set()
    for place in range(40):
        key = Key("ModelServer", "team", f"server-{place}")
        for now in range(0, 65, 5):
            if history.record(key, Tick(float(now), ONE, {"pod-0": _engine(now, now)})):
                ends.add(now % 30)
    assert ends == {0, 5, 10, 15, 20, 25}


@pytest.mark.parametrize(("kept", "ticks"), [(KEPT, 6 * (KEPT + 20)), (KEPT_OLLAMA, 6 * (KEPT_OLLAMA + 20))])
def test_the_last_samples_are_kept(kept: int, ticks: int) -> None:
    history = History()
    for place in range(ticks):
        now = 5.0 * place
        history.record(KEY, Tick(now, ONE, {"pod-0": _engine(now, now, waiting=float(place % 7))}), kept)
    samples = _samples(history)
    assert len(samples) == kept
    assert samples[-1]["at"] is not None
    assert samples[-1]["at"] - samples[0]["at"] == (kept - 1) * 30


def test_silence_is_unknown_and_not_zero() -> None:
    history = History()
    _run(history, ticks=13)
    for now in range(65, 130, 5):
        history.record(KEY, Tick(float(now), ONE))
    assert _samples(history)[-1]["requestsPerSecond"] is None
    assert _samples(history)[-1]["waiting"] is None


def test_what_was_counted_in_silence_is_spread_over_it() -> None:
    history = History()
    _run(history, ticks=13)  # 2 a second until 60 s
    for now in range(65, 125, 5):
        history.record(KEY, Tick(float(now), ONE))
    for now in range(125, 190, 5):
        history.record(KEY, Tick(float(now), ONE, {"pod-0": _engine(now, now * 2)}))
    rates = [sample["requestsPerSecond"] for sample in _samples(history)]
    assert {rate for rate in rates if rate is not None} == {2.0}
    assert None in rates


def test_a_restarted_engine_does_not_count_backwards() -> None:
    history = History()
    last = _run(history, ticks=13)
    for place in range(14):
        now = last + 5.0 * (place + 1)
        history.record(KEY, Tick(now, ONE, {"pod-0": _engine(now, 10.0 * place)}))
    rates = [sample["requestsPerSecond"] for sample in _samples(history)]
    assert all(rate is not None and 0 <= rate <= 2.0 for rate in rates)


def test_a_missed_half_minute_is_a_row_of_unknowns() -> None:
    history = History()
    _run(history, ticks=13)
    _run(history, ticks=13, start=300.0)
    samples = _samples(history)
    known = [sample["requestsPerSecond"] is not None for sample in samples]
    assert False in known[2:-2]
    assert samples[-1]["at"] - samples[0]["at"] == (len(samples) - 1) * 30


def test_a_replica_that_is_gone_is_forgotten_after_an_hour() -> None:
    history = History()
    last = _run(history, ticks=13, replicas=2)

    for now in range(int(last) + 5, int(last) + 3500, 5):
        history.record(KEY, Tick(float(now), ONE, {"pod-0": _engine(now, now)}))
    assert history.replicas(KEY) == ["pod-0", "pod-1"]
    for now in range(int(last) + 3500, int(last) + 3700, 5):
        history.record(KEY, Tick(float(now), ONE, {"pod-0": _engine(now, now)}))
    assert history.replicas(KEY) == ["pod-0"]


def test_pods_that_come_and_go_do_not_fill_the_memory() -> None:
    history = History()
    for place in range(600):
        pod = (Replica(f"pod-{place}", 0.0, ready=True),)
        history.record(KEY, Tick(5.0 * place, pod))
    assert len(history.replicas(KEY) or ()) < 50


def test_a_replica_that_has_not_begun_has_no_samples() -> None:
    history = History()
    starting = Replica("pod-1", 0.0, ready=False)
    for now in range(0, 100, 5):
        history.record(KEY, Tick(float(now), (*ONE, starting), {"pod-0": _engine(now, now)}))
    assert history.replicas(KEY) == ["pod-0"]


def test_gpu_and_usage_are_shown_while_they_are_young() -> None:
    history = History()
    gpu = GpuSample(at=0.0, count=2, utilization=0.5, memory_used=70e9, memory_total=160e9)
    usage = UsageSample(at=0.0, cpu=1.5, memory=3e9)
    for now in range(0, 300, 5):
        tick = Tick(float(now), ONE, {"pod-0": _engine(now, now)}, gpus={"pod-0": gpu}, usage={"pod-0": usage})
        history.record(KEY, tick)
    samples = _samples(history)
    assert samples[1]["gpuUtilizationPercent"] == 50.0
    assert samples[1]["gpuMemoryBytes"] == pytest.approx(70e9, rel=1e-3)
    assert samples[1]["cpuCores"] == 1.5
    assert samples[1]["memoryBytes"] == pytest.approx(3e9, rel=1e-3)
    assert samples[-1]["gpuUtilizationPercent"] is None
    assert samples[-1]["cpuCores"] is None


def test_demand_is_the_gateways_where_there_are_any() -> None:
    history = History()
    for now in range(0, 160, 5):
        demand = DemandSample(now, arrived=5.0 * now, waiting=3.0, sources=2, answered=2 if now < 90 else 1)
        history.record(KEY, Tick(float(now), ONE, {"pod-0": _engine(now, now)}, demand=demand, demand_sources=2))
    assert history.demand(KEY)[1]["requestsPerSecond"] == 5.0
    assert history.demand(KEY)[1]["waiting"] == 3.0
    assert history.demand(KEY)[-1]["requestsPerSecond"] is None  # one of the gateways did not answer


def test_demand_is_else_what_the_engines_count() -> None:
    history = History()
    _run(history, ticks=20, replicas=3)
    assert history.demand(KEY)[-1]["requestsPerSecond"] == 6.0


def test_tokens_of_a_mean_request() -> None:
    history = History()
    for now in range(0, 70, 5):
        engine = _engine(now, now, prompt_tokens=100.0 * now, output_tokens=20.0 * now)
        history.record(KEY, Tick(float(now), ONE, {"pod-0": engine}))
    assert _samples(history)[-1]["promptTokens"] == pytest.approx(100, rel=1e-3)
    assert _samples(history)[-1]["outputTokens"] == pytest.approx(20, rel=1e-3)


def test_an_unknown_server_has_no_samples() -> None:
    history = History()
    assert (history.replicas(KEY), history.samples(KEY, "pod-0"), history.demand(KEY)) == (None, [], [])
    _run(history, ticks=13)
    assert history.samples(KEY, "pod-1") == []
    history.forget(KEY)
    assert (history.replicas(KEY), history.samples(KEY, "pod-0"), history.demand(KEY)) == (None, [], [])


_VALUES = st.one_of(st.none(), st.sampled_from([0.0, 1.0]), st.integers(-600, 600).map(float))


@settings(deadline=None)
@given(
    kept=st.integers(1, 250),
    rows=st.lists(st.tuples(st.integers(1, 120), _VALUES, _VALUES), min_size=1, max_size=60),
    start=st.integers(0, 10**9),
)
def test_a_ring_gives_back_the_last_rows(
    kept: int, rows: list[tuple[int, float | None, float | None]], start: int
) -> None:
    ring = Ring({"a": 1.0, "b": 16.0}, kept)
    expected: dict[int, dict[str, float | None]] = {}
    slot = start
    for step, a, b in rows:
        slot += step
        row = {"a": a, "b": None if b is None else b * 16}
        ring.put(slot, row)
        expected[slot] = row
    found = list(ring.rows(kept))
    unknown = {"a": None, "b": None}
    last = range(min(expected), slot + 1)[-kept:]
    assert found == [(each, expected.get(each, unknown)) for each in last]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_what_is_no_number_is_unknown(value: float | None) -> None:
    ring = Ring({"a": 1.0}, 4)
    ring.put(7, {"a": value})
    assert list(ring.rows(4)) == [(7, {"a": None})]


def test_what_is_too_large_is_the_largest() -> None:
    ring = Ring({"a": 2.0}, 4)
    ring.put(7, {"a": 1e9})
    assert list(ring.rows(4)) == [(7, {"a": 131000.0})]
    assert struct.calcsize("<e") == 2
