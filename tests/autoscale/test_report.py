"""report.py and reporting.py: figures of a window, and advice by the plain thresholds."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.autoscale.counting import Growth
from agentfleet.autoscale.folding import Folded
from agentfleet.autoscale.report import Window, quantile, recommend
from agentfleet.autoscale.reporting import Reporting
from agentfleet.autoscale.samples import Histogram

INF = float("inf")
BOUNDS = (1.0, 2.5, 5.0, INF)


def growth(
    requests: float | None = None,
    *,
    seconds: float = 30.0,
    failed: float | None = 0.0,
    latencies: Histogram | None = None,
) -> Growth:
    """What an engine counted, `requests` of them, `failed` of these badly."""
    completed = None if requests is None else requests - (failed or 0.0)
    return Growth(seconds, completed, failed, 0.0, None, None, None, 0.0, latencies)


def folded(at: float = 30.0, replica: str = "pod-0", **values: object) -> Folded:
    """A sample of half a minute."""
    return Folded(replica, at - 30.0, at, **{"looks": 6, "answered": 6, **values})


def test_a_whole_window() -> None:
    window = Window(0.0)
    for place in range(1, 121):
        histogram = Histogram(BOUNDS, (30, 54, 60, 60), 84.0)
        for replica in ("pod-0", "pod-1"):
            counted = growth(60, failed=3.0, latencies=histogram)
            window.add(folded(30.0 * place, replica, growth=counted, latency=1.4, gpu=0.5, most_waiting=place / 10))
    report = window.report(3600.0)
    assert report.dump() == {
        "window": "1h",
        "until": "1970-01-01T01:00:00Z",
        "samples": 240,
        "requestsPerSecond": "4",
        "errorRatePercent": "5",
        "latency": {"mean": "1.4", "p50": "1", "p95": "3.75", "max": "5", "min": "1.4"},
        "gpuUtilizationPercent": "50",
        "maxQueue": 12,
        "availabilityPercent": "100",
        "recommendations": [],
    }


def test_what_is_not_known_is_not_said() -> None:
    window = Window(0.0)
    window.add(folded(growth=growth(None, failed=None)))
    report = window.report(600.0).dump()
    assert report == {
        "window": "10m",
        "until": "1970-01-01T00:10:00Z",
        "samples": 1,
        "availabilityPercent": "100",
        "recommendations": [],
    }


def test_nobody_asked() -> None:
    window = Window(0.0)
    window.add(folded(growth=growth(0), most_waiting=0.0))
    report = window.report(3600.0)
    assert report.requests_per_second == "0"
    assert report.error_rate_percent is None
    assert report.latency is None
    assert report.max_queue == 0


def test_silence_lowers_availability_only() -> None:
    window = Window(0.0)
    window.add(folded(growth=growth(10)))
    window.add(folded(answered=0))
    report = window.report(3600.0)
    assert (report.samples, report.availability_percent) == (1, "50")


def test_probes_of_ollama_have_mean_longest_and_shortest() -> None:
    window = Window(0.0)
    for seconds in (0.5, 1.0, 1.5):
        window.add(folded(growth=growth(None, failed=None), latency=seconds))
    latency = window.report(600.0).latency
    assert latency is not None
    assert latency.dump() == {"mean": "1", "max": "1.5", "min": "0.5"}


def test_means_weigh_by_the_requests_behind_them() -> None:
    window = Window(0.0)
    window.add(folded(growth=growth(90), latency=1.0))
    window.add(folded(growth=growth(10), latency=11.0))
    assert window.latency == pytest.approx(2.0)


def test_beyond_the_last_bound_the_slowest_mean_is_told() -> None:
    window = Window(0.0)
    window.add(folded(growth=growth(1, latencies=Histogram(BOUNDS, (0, 0, 0, 1), 42.0)), latency=42.0))
    latency = window.report(600.0).latency
    assert latency is not None
    assert (latency.p50, latency.max) == ("5", "42")


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((10, 10, 10, 10), 0.5, 0.5),
        ((0, 10, 10, 10), 0.5, 1.75),
        ((4, 8, 10, 10), 0.95, 4.375),
        ((0, 0, 0, 10), 0.5, 5.0),
        ((0, 0, 0, 0), 0.5, None),
        ((), 0.5, None),
    ],
)
def test_quantiles_are_those_of_prometheus(counts: tuple[float, ...], share: float, value: float | None) -> None:
    assert quantile(share, BOUNDS[: len(counts)], counts) == value


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_quantile_is_never_smaller(steps: list[int], one: float, other: float) -> None:
    counts = [float(sum(steps[: place + 1])) for place in range(4)]
    low, high = quantile(min(one, other), BOUNDS, counts), quantile(max(one, other), BOUNDS, counts)
    assert (low is None) == (counts[-1] == 0) == (high is None)
    assert low is None or high is None or 0 <= low <= high <= 5


def _window(**values: object) -> Window:
    window = Window(0.0)
    for place in range(1, 11):
        window.add(folded(30.0 * place, **values))
    return window


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ({"growth": growth(60), "latency": 3.1}, ["scale_up"]),
        ({"growth": growth(60), "latency": 3.0}, []),
        ({"growth": growth(60), "gpu": 0.96}, ["scale_out"]),
        ({"growth": growth(60), "gpu": 0.95}, []),
        ({"growth": growth(60), "latency": 4.0, "gpu": 0.99}, ["scale_up", "scale_out"]),
        ({"growth": growth(15), "gpu": 0.19}, ["scale_down"]),
        ({"growth": growth(30), "gpu": 0.19}, []),
        ({"growth": growth(15), "gpu": 0.21}, []),
        ({"growth": growth(15)}, []),
        ({"growth": growth(None), "gpu": 0.1}, []),
    ],
)
def test_advice_by_the_plain_thresholds(values: dict[str, object], types: list[str]) -> None:
    advice = recommend("pod-0", _window(**values), 300.0, 3.0, "VLLM")
    assert [each.type for each in advice] == types
    assert all(each.instance == "pod-0" and each.reason and each.suggestion for each in advice)


def test_advice_says_what_was_seen() -> None:
    (advice,) = recommend("pod-0", _window(growth=growth(15), gpu=0.1), 300.0, 3.0, "VLLM")
    assert advice.reason == "GPUs were busy 10% of 5m, below 20%, at 0.5 requests per second, below 1."


def _feed(reporting: Reporting, *, since: float, until: float, engine: str = "VLLM", **values: object) -> list[float]:
    """Half minutes from `since` to `until`; gives the times at which there was news."""
    return [
        at
        for at in (since + 30.0 * place for place in range(1, int((until - since) / 30) + 1))
        if reporting.add([folded(at, **values)], at, engine=engine, slow=3.0)
    ]


def test_the_first_window_is_told_every_five_minutes_and_the_whole_one_for_an_hour() -> None:
    reporting = Reporting(0.0)
    assert _feed(reporting, since=0, until=3600, growth=growth(30)) == [300.0 * place for place in range(1, 13)]
    assert reporting.report is not None
    assert (reporting.report.window, reporting.report.samples) == ("1h", 120)
    assert _feed(reporting, since=3600, until=7170, growth=growth(60)) == []
    assert _feed(reporting, since=7170, until=7200, growth=growth(60)) == [7200]
    assert reporting.report.requests_per_second == "2"
    assert reporting.report.until == "1970-01-01T02:00:00Z"


def test_ollama_reports_every_ten_minutes() -> None:
    reporting = Reporting(0.0)
    _feed(reporting, since=0, until=1200, engine="Ollama", growth=growth(None), latency=1.0)
    assert reporting.report is not None
    assert (reporting.report.window, reporting.report.samples) == ("10m", 20)


def test_advice_changes_within_a_window() -> None:
    reporting = Reporting(0.0)
    _feed(reporting, since=0, until=3600, growth=growth(60))
    assert _feed(reporting, since=3600, until=3900, growth=growth(60), latency=9.0) == [3900]
    assert reporting.report is not None
    assert (reporting.report.window, [each.type for each in reporting.report.recommendations]) == ("1h", ["scale_up"])
    assert _feed(reporting, since=3900, until=4200, growth=growth(60)) == [4200]
    assert not reporting.report.recommendations


def test_after_a_restart_the_old_report_stays_until_as_much_was_seen() -> None:
    old = Reporting(0.0)
    _feed(old, since=0, until=3600, growth=growth(60))
    new = Reporting(3600.0)
    assert new.latest(old.report) is old.report
    _feed(new, since=3600, until=3900, growth=growth(60), latency=9.0)
    told = new.latest(old.report)
    assert told is not None
    assert told.window == "1h"
    assert [each.type for each in told.recommendations] == ["scale_up"]
    _feed(new, since=3900, until=7200, growth=growth(60))
    assert new.latest(old.report) is new.report


def test_gpus_are_told_in_bands_that_do_not_flutter() -> None:
    reporting = Reporting(0.0)
    gpus = {"gpus": 2, "gpu_memory": 70.0, "gpu_memory_total": 100.0}
    assert _feed(reporting, since=0, until=30, gpu=0.52, **gpus) == [30]
    assert reporting.gpu is not None
    assert reporting.gpu.dump() == {"count": 2, "utilizationPercent": 50, "memoryPercent": 70}
    shown = []
    for step, busy in enumerate((0.53, 0.47, 0.54, 0.56, 0.62)):
        _feed(reporting, since=30 + 300.0 * step, until=330 + 300.0 * step, gpu=busy, **gpus)
        assert reporting.gpu is not None
        shown.append(reporting.gpu.utilization_percent)
    assert shown == [50, 50, 50, 55, 60]
    assert all(later is not None and later % 5 == 0 for _, later in pairwise(shown))


def test_what_could_not_be_read_of_gpus_is_told_once() -> None:
    reporting = Reporting(0.0)
    samples = [folded(30.0, f"pod-{place}", gpus=1, gpu_problem="lost: GPU 3") for place in range(3)]
    assert reporting.add(samples, 30.0, engine="VLLM", slow=3.0)
    assert reporting.gpu is not None
    assert reporting.gpu.dump() == {"count": 3, "problem": "lost: GPU 3"}


def test_gpus_that_nobody_sees_any_more_are_not_told() -> None:
    reporting = Reporting(0.0)
    _feed(reporting, since=0, until=30, gpu=0.52, gpus=2)
    assert _feed(reporting, since=30, until=330) == [300.0]
    assert reporting.gpu is None
