"""thresholds.py: what raises an alert, what clears it, and what does neither."""

import pytest

from agentfleet.autoscale.counting import Growth
from agentfleet.autoscale.folding import Folded
from agentfleet.autoscale.samples import Histogram
from agentfleet.autoscale.thresholds import (
    SEVERITIES,
    Alarms,
    Alert,
    AlertType,
    Limits,
    cleared_words,
    condition,
    limits_of,
    raised_words,
)
from agentfleet.resources.scaling import Thresholds

MINUTE = 60.0


def _growth(requests: float | None = 0.0, failed: float | None = 0.0, latencies: Histogram | None = None) -> Growth:
    completed = None if requests is None else requests - (failed or 0.0)
    return Growth(30.0, completed, failed, 0.0, None, None, None, 0.0, latencies)


def _feed(alarms: Alarms, *samples: dict[str, object], limits: Limits | None = None, start: int = 0) -> list[str]:
    """Half minutes of one replica; gives what was raised (+) and cleared (-), each with its half minute."""
    said = []
    for place, values in enumerate(samples, start=start + 1):
        sample = Folded("pod-0", 30.0 * (place - 1), 30.0 * place, **values)
        raised, cleared = alarms.judge([sample], limits or limits_of("VLLM", None))
        said += [f"+{alert.type}@{place}" for alert in raised] + [f"-{alert.type}@{place}" for alert in cleared]
    return said


_SILENT: dict[str, object] = {}
_ABOVE: list[tuple[AlertType, dict[str, object]]] = [
    ("gpu_utilization", {"gpu": 0.96}),
    ("memory", {"memory_share": 0.86}),
    ("cpu", {"cpu_share": 0.81}),
    ("latency", {"latency": 3.1, "growth": _growth(10)}),
    ("queue_length", {"waiting": 51.0}),
    ("error_rate", {"growth": _growth(40, failed=5)}),
]
_BELOW: dict[AlertType, dict[str, object]] = {
    "gpu_utilization": {"gpu": 0.95},
    "memory": {"memory_share": 0.85},
    "cpu": {"cpu_share": 0.80},
    "latency": {"latency": 3.0, "growth": _growth(10)},
    "queue_length": {"waiting": 50.0},
    "error_rate": {"growth": _growth(400)},
}


@pytest.mark.parametrize(("kind", "above"), _ABOVE)
def test_a_threshold_is_told_after_a_minute_and_cleared_at_once(kind: AlertType, above: dict[str, object]) -> None:
    alarms = Alarms()
    assert _feed(alarms, above) == []
    assert _feed(alarms, above, start=1) == [f"+{kind}@2"]
    assert [(alert.type, alert.severity, alert.since) for alert in alarms.alerts] == [(kind, SEVERITIES[kind], 0.0)]
    assert _feed(alarms, above, _BELOW[kind], start=2) == [f"-{kind}@4"]
    assert alarms.alerts == ()


@pytest.mark.parametrize(("kind", "above"), _ABOVE)
def test_missing_data_neither_raises_nor_clears(kind: AlertType, above: dict[str, object]) -> None:
    alarms = Alarms()
    assert _feed(alarms, above, *[_SILENT] * 10) == []
    assert _feed(alarms, above, start=11) == [f"+{kind}@12"]
    assert _feed(alarms, *[_SILENT] * 10, start=12) == []
    assert [alert.type for alert in alarms.alerts] == [kind]


def test_a_short_excess_is_not_told() -> None:
    above, below = {"gpu": 0.99}, {"gpu": 0.5}
    assert _feed(Alarms(), above, below, above, below, above) == []


def test_for_is_what_the_spec_says() -> None:
    above = {"waiting": 51.0}
    for text, place in (("1s", 1), ("1m", 2), ("2m", 4)):
        limits = limits_of("VLLM", Thresholds.model_validate({"for": text}))
        assert _feed(Alarms(), *[above] * 5, limits=limits) == [f"+queue_length@{place}"]


def test_gpu_memory_is_of_one_gpu_and_only_where_it_is_set() -> None:
    full = {"gpus": 2, "gpu_memory": 2.0 * 11 * 2**30}
    assert _feed(Alarms(), full, full) == []
    limits = limits_of("VLLM", Thresholds(gpu_memory="10Gi"))
    assert _feed(Alarms(), full, full, limits=limits) == ["+gpu_memory@2"]
    assert _feed(Alarms(), {**full, "gpus": 4}, {**full, "gpus": 4}, limits=limits) == []


def test_errors_are_told_among_twenty_requests() -> None:
    few = {"growth": _growth(6, failed=3)}
    assert _feed(Alarms(), few, few, few) == []  # 18 of them
    assert _feed(Alarms(), *[few] * 5) == ["+error_rate@5"]  # from the fourth on it is known
    assert _feed(Alarms(), *[{"growth": _growth(1, failed=1)}] * 15) == []  # never twenty within five minutes


def test_errors_clear_where_nobody_asks_any_more() -> None:
    alarms = Alarms()
    bad, quiet = {"growth": _growth(40, failed=20)}, {"growth": _growth(0)}
    assert _feed(alarms, bad, bad) == ["+error_rate@2"]
    assert _feed(alarms, *[quiet] * 12, start=2) == ["-error_rate@12"]  # the failures have left the last ten samples


def test_clients_that_give_up_are_no_errors() -> None:
    aborted = Growth(30.0, 10.0, 0.0, 90.0, None, None, None, 0.0, None)
    assert _feed(Alarms(), *[{"growth": aborted}] * 4) == []


def test_an_idle_replica_is_not_slow_and_a_stuck_one_says_nothing() -> None:
    slow = {"latency": 9.0, "growth": _growth(10)}
    idle = {"growth": _growth(0), "running": 0.0, "waiting": 0.0}
    stuck = {"growth": _growth(0), "running": 4.0}
    alarms = Alarms()
    assert _feed(alarms, slow, slow, stuck, stuck) == ["+latency@2"]
    assert _feed(alarms, idle, start=4) == ["-latency@5"]


def test_a_replica_that_is_gone_takes_its_alerts_along() -> None:
    alarms = Alarms()
    _feed(alarms, {"gpu": 0.99}, {"gpu": 0.99})
    raised, cleared = alarms.judge([], limits_of("VLLM", None))
    assert (raised, [alert.type for alert in cleared]) == ([], ["gpu_utilization"])


def test_a_raised_limit_clears() -> None:
    alarms = Alarms()
    assert _feed(alarms, {"waiting": 51.0}, {"waiting": 51.0}) == ["+queue_length@2"]
    limits = limits_of("VLLM", Thresholds(queue_length=100))
    assert _feed(alarms, {"waiting": 51.0}, start=2, limits=limits) == ["-queue_length@3"]


@pytest.mark.parametrize(
    ("engine", "latency", "errors"), [("VLLM", 3.0, 0.10), ("LlamaCpp", 3.0, 0.10), ("Ollama", 2.0, 0.05)]
)
def test_defaults_of_the_engines(engine: str, latency: float, errors: float) -> None:
    limits = limits_of(engine, None)
    assert limits == Limits(
        {
            "gpu_utilization": 0.95,
            "memory": 0.85,
            "cpu": 0.80,
            "latency": latency,
            "queue_length": 50.0,
            "error_rate": errors,
        },
        MINUTE,
    )


def test_what_the_spec_says_wins() -> None:
    spec = Thresholds(
        gpu_utilization_percent=90,
        gpu_memory="10Gi",
        memory_percent=70,
        cpu_percent=60,
        latency="500ms",
        queue_length=5,
        error_rate_percent=1,
        for_="30s",
    )
    assert limits_of("Ollama", spec) == Limits(
        {
            "gpu_utilization": 0.9,
            "gpu_memory": 10.0 * 2**30,
            "memory": 0.7,
            "cpu": 0.6,
            "latency": 0.5,
            "queue_length": 5.0,
            "error_rate": 0.01,
        },
        30.0,
    )


def test_words() -> None:
    slow = Alert("pod-0", "latency", "warning", 0.0, 4.25, 3.0)
    full = Alert("pod-1", "gpu_memory", "critical", 60.0, 11.5 * 2**30, 10 * 2.0**30)
    assert condition(()) is None
    assert condition((full, slow)) == (
        "True",
        "AboveThreshold",
        "gpu_memory of pod-1 is 11.5 GiB, above 10 GiB (critical) since 1970-01-01T00:01:00Z;"
        " latency of pod-0 is 4.25 s, above 3 s (warning) since 1970-01-01T00:00:00Z.",
    )
    assert raised_words(slow) == (
        "Warning",
        "AboveThreshold",
        "latency of pod-0 is 4.25 s, above 3 s (warning) since 1970-01-01T00:00:00Z.",
    )
    assert cleared_words(slow) == ("Normal", "BelowThreshold", "latency of pod-0 is no longer above 3 s.")


def test_a_condition_lists_eight_and_counts_the_rest() -> None:
    told = condition(tuple(Alert(f"pod-{place}", "cpu", "warning", 0.0, 0.9, 0.8) for place in range(11)))
    assert told is not None
    assert told[2].count("pod-") == 8
    assert told[2].endswith("; and 3 more.")
