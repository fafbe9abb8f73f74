"""engine.py: times of steps, admission by the KV cache, preemption, and counters, against values reckoned by hand."""

import math

import pytest

from agentfleet.simulator.engine import Engine
from agentfleet.simulator.profiles import load_profile, names
from agentfleet.simulator.traces import Journal, stream
from tests.simulator.building import engine_of, profile, trace


@pytest.mark.parametrize(
    ("requests", "changes", "first", "ended"),
    [
        # 10 tokens of prompt: 19 ms; then 4 steps of 10 ms
        ([(0, 10, 5)], {}, [0.019], [0.059]),
        # one token of answer comes with the prompt
        ([(0, 10, 1)], {}, [0.019], [0.019]),
        # 150 tokens do not fit into 100: 109 ms, then 50 more: 59 ms
        ([(0, 150, 2)], {}, [0.168], [0.178]),
        # the second prompt goes with the first answer: 11 tokens, 20 ms; then two answers at once: 11 ms
        ([(0, 10, 3), (0, 10, 3)], {}, [0.019, 0.039], [0.050, 0.060]),
        # attention of prefill: 10 × 5 pairs at 1 ms each
        ([(0, 10, 1)], {"per_prompt_pair_picoseconds": 1e9}, [0.069], [0.069]),
        # one place in the batch: each starts when the one before has ended
        ([(0, 10, 2), (0, 10, 2), (0, 10, 2)], {"max_running": 1}, [0.019, 0.048, 0.077], [0.029, 0.058, 0.087]),
        # per request: 1 ms each
        ([(0, 10, 2)], {"per_request_microseconds": 1000}, [0.020], [0.031]),
    ],
)
def test_times_of_steps(
    requests: list[tuple[float, int, int]], changes: dict[str, object], first: list[float], ended: list[float]
) -> None:
    _, journal = engine_of(requests, **changes)
    assert list(journal.first) == pytest.approx(first, abs=1e-9)
    assert list(journal.ended) == pytest.approx(ended, abs=1e-9)


def test_one_that_comes_within_a_run_joins_after_the_step_in_progress() -> None:
    # decoding steps end at 19, 29, 39, 49 ms; the one that comes at 31 ms gets into the step that starts at 39
    _, journal = engine_of([(0, 10, 20), (0.031, 10, 1)])
    assert journal.first[1] == pytest.approx(0.039 + 0.020)


def test_the_kv_cache_lets_in_what_fits() -> None:
    _, journal = engine_of([(0, 60, 30), (0, 60, 2)], kv_tokens=100)
    assert journal.admitted[1] == pytest.approx(journal.ended[0]), "60 and 60 tokens do not fit into 100 together"


def test_the_youngest_goes_back_when_answers_outgrow_the_kv_cache() -> None:
    engine, journal = engine_of([(0, 30, 50), (0, 30, 50)], kv_tokens=100)
    sample = engine.sample(10_000)
    assert sample.preemptions is not None
    assert sample.preemptions >= 1
    assert journal.ended[1] > journal.ended[0]
    assert sample.completed == 2
    assert sample.kv_used == 0
    assert sample.output_tokens == 100, "what was preempted is not counted twice"


def test_what_never_fits_is_refused() -> None:
    engine, journal = engine_of([(0, 90, 20), (1, 10, 1)], kv_tokens=100)
    assert journal.failed == {0: 0}
    assert engine.sample(10_000).failed == 1
    assert not math.isnan(journal.ended[1])


def test_counters_within_a_run() -> None:
    them = trace((0, 10, 40))
    engine = Engine(profile(), them, Journal(them), 0.0)
    engine.add(0, 0.0)
    engine.advance(0.0555)
    sample = engine.sample(0.0555)
    # the prompt until 19 ms, then steps that end at 29, 39 and 49 ms
    assert (sample.steps, sample.output_tokens, sample.step_tokens, sample.running) == (4, 4, 13, 1)
    assert sample.kv_used == pytest.approx(0.013)
    assert engine.busy_until(0.0555) == pytest.approx(0.0555)


@pytest.mark.parametrize("seed", range(8))
def test_every_request_ends_once_and_nothing_is_left(seed: int) -> None:
    draw = stream(seed, "requests")
    second = 0.0
    requests = []
    for _ in range(400):
        second += draw.expovariate(20)
        requests.append((second, draw.randint(1, 150), draw.randint(1, 40)))
    engine, journal = engine_of(requests, kv_tokens=400)
    sample = engine.sample(10_000)
    assert sample.completed == len(requests)
    assert (engine.load, sample.running, sample.waiting, sample.kv_used) == (0, 0, 0, 0)
    assert sample.output_tokens == sum(output for _, _, output in requests) == engine.ended_tokens
    assert sample.prompt_tokens == sum(prompt for _, prompt, _ in requests)
    for request, (arrived, _, _) in enumerate(requests):
        assert arrived < journal.first[request] <= journal.ended[request]
    for histogram in (sample.time_to_first_token, sample.request_time):
        assert histogram is not None
        assert histogram.count == len(requests)


def test_built_in_profiles_are_read_and_carry_load() -> None:
    for name in names():
        assert load_profile(name).requests_per_second(100, 50, 0.1) > 0


def test_capacity_of_the_reference_profile() -> None:
    # an independent simulation with the same constants saturated at about 7 requests per second
    assert load_profile("a100-8b").requests_per_second(1155, 211, 0.1) == pytest.approx(7.2, abs=0.3)
    assert load_profile("a100-8b").linear[1024] == pytest.approx(0.0751 + 0.0009)
    assert load_profile("a100-8b").linear[48] == pytest.approx((0.0109 + 0.0112) / 2 + 0.0009)
