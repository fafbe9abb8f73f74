"""counting.py and folding.py: half minutes out of ticks, with resets, silence and old values told apart."""

import pytest

from agentfleet.autoscale.counting import Counting
from agentfleet.autoscale.folding import Fold, Folded
from agentfleet.autoscale.samples import EngineSample, GpuSample, Histogram, Replica, Tick, UsageSample

READY = Replica("pod", 0.0, ready=True)
BOUNDS = (1.0, 2.5, 5.0, float("inf"))


def _folded(
    *engines: EngineSample | None,
    replica: Replica = READY,
    gpu: GpuSample | None = None,
    usage: UsageSample | None = None,
) -> Folded:
    fold = Fold()
    for place, engine in enumerate(engines):
        fold.add(
            replica,
            Tick(
                5.0 * place,
                (replica,),
                {} if engine is None else {"pod": engine},
                gpus={} if gpu is None else {"pod": gpu},
                usage={} if usage is None else {"pod": usage},
            ),
        )
    return fold.take("pod", 0.0, 30.0)


def test_counts_grow_from_the_first_answer_on() -> None:
    folded = _folded(EngineSample(0, completed=100, failed=5), EngineSample(10, completed=120, failed=6))
    assert folded.growth is not None
    assert (folded.growth.completed, folded.growth.failed, folded.growth.requests) == (20, 1, 21)
    assert folded.rate(folded.growth.requests) == 2.1


def test_one_answer_says_nothing_about_a_rate() -> None:
    folded = _folded(EngineSample(0, completed=100, running=3))
    assert folded.growth is None
    assert folded.running == 3


@pytest.mark.parametrize(
    "restarted",
    [
        EngineSample(10, completed=4, output_tokens=40, started_at=8.0),
        EngineSample(10, completed=4, output_tokens=40),
    ],
    ids=["by its start time", "by a smaller counter"],
)
def test_a_restart_counts_from_zero(restarted: EngineSample) -> None:
    folded = _folded(
        EngineSample(0, completed=100, output_tokens=1000, started_at=1.0),
        EngineSample(5, completed=110, output_tokens=1100, started_at=1.0),
        restarted,
    )
    assert folded.growth is not None
    assert (folded.growth.completed, folded.growth.output_tokens, folded.growth.seconds) == (14, 140, 10)


def test_a_restart_is_seen_by_its_time_even_where_counters_are_larger() -> None:
    folded = _folded(EngineSample(0, completed=1, started_at=1.0), EngineSample(10, completed=7, started_at=5.0))
    assert folded.growth is not None
    assert folded.growth.completed == 7


def test_what_an_engine_does_not_count_stays_unknown() -> None:
    folded = _folded(EngineSample(0, output_tokens=1), EngineSample(5, output_tokens=2, completed=3))
    assert folded.growth is not None
    assert (folded.growth.completed, folded.growth.requests, folded.growth.arrived) == (None, None, None)
    assert folded.growth.output_tokens == 1


def test_arrivals_are_what_ended_and_what_has_piled_up() -> None:
    folded = _folded(
        EngineSample(0, completed=0, failed=0, aborted=0, running=2, waiting=0),
        EngineSample(10, completed=10, failed=1, aborted=2, running=4, waiting=5),
    )
    assert folded.growth is not None
    assert folded.growth.arrived == 10 + 1 + 2 + 7


def test_silence_is_part_of_the_next_growth() -> None:
    counting = Counting()
    counting.add(EngineSample(0, completed=0))
    assert counting.take() is None
    assert counting.take() is None
    counting.add(EngineSample(60, completed=30))
    growth = counting.take()
    assert growth is not None
    assert (growth.seconds, growth.completed) == (60, 30)
    assert counting.take() is None


def _times(*counts: float, total: float) -> Histogram:
    return Histogram(BOUNDS, counts, total)


def test_latency_is_of_the_requests_that_ended_meanwhile() -> None:
    folded = _folded(
        EngineSample(0, completed=10, request_time=_times(5, 5, 10, 10, total=100)),
        EngineSample(5, completed=14, request_time=_times(7, 8, 14, 14, total=108)),
    )
    assert folded.latency == 2.0
    assert folded.latencies == _times(2, 3, 4, 4, total=8)


def test_latency_of_nothing_is_unknown() -> None:
    same = _times(5, 5, 10, 10, total=100)
    folded = _folded(
        EngineSample(0, completed=10, request_time=same, running=1),
        EngineSample(5, completed=10, request_time=same, running=1),
    )
    assert folded.latency is None


def test_latencies_across_a_restart_and_across_versions() -> None:
    before = EngineSample(0, completed=10, started_at=1, request_time=_times(5, 5, 10, 10, total=100))
    after = EngineSample(5, completed=2, started_at=3, request_time=_times(2, 2, 2, 2, total=1))
    assert _folded(before, after).latencies == _times(2, 2, 2, 2, total=1)
    other = EngineSample(5, completed=12, started_at=1, request_time=Histogram((1.0, float("inf")), (1, 2), 1))
    assert _folded(before, other).latencies is None


def test_without_a_histogram_the_mean_comes_from_what_is_within() -> None:
    folded = _folded(
        EngineSample(0, completed=0, running=4, waiting=2), EngineSample(10, completed=20, running=4, waiting=2)
    )
    assert folded.latency == 3.0


def test_an_active_probe_is_a_latency_too() -> None:
    folded = _folded(EngineSample(0, probe_seconds=0.7), EngineSample(5, probe_seconds=0.9, tokens_per_second=40.0))
    assert folded.latency == 0.9
    assert folded.tokens_per_second == 40.0


def test_availability_counts_looks_at_replicas_that_have_served() -> None:
    answer = EngineSample(0, running=0)
    assert (_folded(answer, None, answer).looks, _folded(answer, None, answer).answered) == (3, 2)
    starting = Replica("pod", 0.0, ready=False)
    assert _folded(None, None, replica=starting).looks == 0
    leaving = Replica("pod", 0.0, ready=True, leaving=True)
    assert _folded(None, None, replica=leaving).looks == 0


def test_a_replica_that_was_ready_and_is_not_counts_as_away() -> None:
    fold = Fold()
    fold.add(READY, Tick(0, (READY,), {"pod": EngineSample(0)}))
    down = Replica("pod", 0.0, ready=False)
    fold.add(down, Tick(5, (down,)))
    folded = fold.take("pod", 0, 30)
    assert (folded.looks, folded.answered) == (2, 1)


def test_gpus_and_usage() -> None:
    usage = UsageSample(0, cpu=1, memory=2, cpu_share=0.5, memory_share=None, node_cpu_share=0.9, node_memory_share=0.3)
    folded = _folded(EngineSample(0, rss=7), gpu=GpuSample(0, 2, 0.5, 10, 20), usage=usage)
    assert (folded.gpus, folded.gpu, folded.gpu_memory, folded.gpu_memory_total) == (2, 0.5, 10, 20)
    assert (folded.cpu, folded.memory, folded.cpu_share, folded.memory_share) == (1, 2, 0.9, 0.3)


def test_without_metrics_server_the_engine_speaks_of_itself() -> None:
    folded = _folded(EngineSample(0, rss=7, cpu_seconds=10), EngineSample(5, rss=8, cpu_seconds=20))
    assert (folded.cpu, folded.memory) == (2.0, 8)
    assert folded.cpu_share is None


def test_old_values_say_nothing_about_now() -> None:
    folded = _folded(EngineSample(0), gpu=GpuSample(-100, 1, 0.5), usage=UsageSample(-200, cpu=1))
    assert (folded.gpus, folded.gpu, folded.cpu) == (0, None, None)


def test_the_longest_queue_is_kept_beside_the_mean() -> None:
    folded = _folded(EngineSample(0, waiting=0), EngineSample(5, waiting=9), EngineSample(10, waiting=0))
    assert (folded.waiting, folded.most_waiting) == (3, 9)
