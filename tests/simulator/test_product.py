"""The operator's own controller in the simulator: what it is better at, and what bad data must not make it do."""

from dataclasses import replace
from functools import cache

import pytest

from agentfleet.autoscale.decision import Goal
from agentfleet.simulator.faults import Faults, parse_faults
from agentfleet.simulator.fleet import Fleet
from agentfleet.simulator.policies import parse_policies
from agentfleet.simulator.product import Product
from agentfleet.simulator.profiles import load_profile
from agentfleet.simulator.run import Job, Scenario, run_all, run_observed
from agentfleet.simulator.score import Result
from agentfleet.simulator.telemetry import Telemetry
from agentfleet.simulator.traces import Trace

(AGENTFLEET,) = parse_policies("agentfleet")
FALLING = 3900.0
"""Load falls then, and replicas go, if nothing is wrong."""
BLIND = 1200.0


def wave(faults: str | None = None) -> Scenario:
    """The daily wave within an hour and a half."""
    return Scenario("diurnal", load_profile("a100-8b"), hours=1.5, faults=parse_faults(faults))


@cache
def ran(faults: str | None) -> tuple[Result, Product]:
    result, product = run_observed(wave(faults), Job(AGENTFLEET, 7))
    assert product is not None
    return result, product


def fewer(product: Product, start: float, end: float) -> list[str]:
    """Scale-ins between these seconds, in words."""
    return [
        decision.reason
        for decision in product.changes
        if decision.target < decision.start and start <= decision.time < end
    ]


def test_fewer_gpu_hours_than_the_best_tuned_hpa_within_the_goal() -> None:
    # 31 is what hindsight finds for the whole wave; 15, 23, 38 and more cost more or miss more
    scenario = replace(wave(), hours=3)
    tuned, ours = run_all(scenario, parse_policies("hpa-concurrency-tuned=31,agentfleet"), [7], jobs=2)
    assert ours.slo_percent >= 99.9
    assert ours.gpu_hours < tuned.gpu_hours


def test_replicas_go_when_the_load_falls_and_all_is_seen() -> None:
    assert fewer(ran(None)[1], FALLING, FALLING + BLIND)


@pytest.mark.parametrize("field", ["completed", "prompt_tokens", "output_tokens", "steps", "step_tokens", "kv_used"])
@pytest.mark.parametrize("fault", ["renamed", "nan"])
def test_no_replica_goes_while_one_metric_is_missing_or_false(fault: str, field: str) -> None:
    scenario = replace(wave(f"{fault}={field}@600"), hours=0.75, start=4)
    result, product = run_observed(scenario, Job(AGENTFLEET, 7))
    assert product is not None
    assert fewer(product, 615, 2700) == []
    # without counts of requests nobody knows what comes in, and nothing is added either
    assert result.slo_percent >= 99.5 or field == "completed"


def test_a_server_with_little_to_do_is_learnt_and_keeps_one() -> None:
    scenario = replace(wave(), trace="ramp", load=0.02, hours=0.5, start=6)
    result, product = run_observed(scenario, Job(AGENTFLEET, 7))
    assert product is not None
    assert product.last is not None
    assert product.last.target == 1, product.last.reason
    assert product.controller.learnt is not None
    assert result.slo_percent == 100


def test_an_ollama_is_probed_only_while_it_is_idle() -> None:
    profile = load_profile("l4-8b-ollama")
    trace = Trace("one", [100.0], [100], [20_000], 800.0)
    fleet = Fleet(trace, profile, 60.0, 7)
    telemetry = Telemetry(fleet, Faults())
    seen: dict[float, float | None] = {}

    def look() -> None:
        sample = telemetry.sample(fleet.pods[0])
        assert sample is not None
        seen[fleet.now] = sample.tokens_per_second

    fleet.begin(1)
    fleet.every(5.0, look)
    fleet.run(0.0)
    assert seen[5.0] == seen[150.0] == pytest.approx(1 / 0.021, rel=0.05)
    assert seen[250.0] is None, "busy for longer than a probe is believed"


@pytest.mark.parametrize("fault", ["outage", "renamed", "nan"])
def test_no_replica_goes_while_data_is_missing_or_false(fault: str) -> None:
    result, product = ran(f"{fault}={BLIND:g}s@{FALLING:g}")
    # what was seen within the last three looks counts as fresh
    assert fewer(product, FALLING + 15, FALLING + BLIND) == []
    assert result.slo_percent >= 99.5, "too many replicas cost nothing but GPUs"


def test_lost_scrapes_change_little() -> None:
    assert ran("lost-scrapes=30%")[0].slo_percent >= 99.5


def test_a_replica_that_crashes_for_ever_blocks_nothing_and_counts_for_nothing() -> None:
    result, product = ran("crash-loop@1200")
    assert any(decision.target > decision.start for decision in product.changes if decision.time > 1200)
    assert result.slo_percent >= 97, "a new one takes two minutes, and one of two or three was lost"


def test_a_quota_is_not_run_against_for_ever() -> None:
    result, product = ran("quota=3")
    assert result.peak_replicas == 3
    assert max(decision.target for decision in product.changes) <= 6, "each that cannot start stops the next"


def test_the_same_seed_gives_the_same_decisions() -> None:
    first, product = ran(None)
    again, other = run_observed(wave(), Job(AGENTFLEET, 7))
    assert other is not None
    assert (again, other.changes) == (first, product.changes)


def test_to_zero_and_back() -> None:
    scenario = Scenario(
        "idle", load_profile("a100-8b"), cold_start=30, goal=Goal(minimum=0, maximum=4), gateway=True, start=1
    )
    result, product = run_observed(scenario, Job(AGENTFLEET, 7))
    assert product is not None
    assert any(decision.target == 0 for decision in product.changes)
    assert any(decision.start == 0 for decision in product.changes)
    assert result.unfinished == result.failed == 0


def test_an_hpa_keeps_one_where_the_product_may_go_to_zero() -> None:
    scenario = Scenario("idle", load_profile("a100-8b"), goal=Goal(minimum=0, maximum=4), gateway=True, start=0)
    (result,) = run_all(scenario, parse_policies("hpa-concurrency"), [7], jobs=1)
    assert result.gpu_hours >= 6


@pytest.mark.parametrize("profile", ["l4-8b-llamacpp", "l4-8b-ollama"])
def test_engines_that_count_less_are_scaled_too(profile: str) -> None:
    scenario = Scenario("ramp", load_profile(profile), load=0.05, gateway=True)
    result, product = run_observed(scenario, Job(AGENTFLEET, 7))
    assert product is not None
    assert product.changes
    assert result.unfinished == 0
