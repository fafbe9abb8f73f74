import json

import pytest

from e2e.bench.report import Figure, Report, percentile


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(1, 50, 1), (1, 99, 1), (2, 50, 1), (3, 50, 2), (100, 99, 99), (200, 99, 198), (200, 100, 200)],
)
def test_percentile_is_a_measurement_by_nearest_rank(count: int, percent: float, expected: float) -> None:
    measured = [float(value) for value in range(count, 0, -1)]
    assert percentile(measured, percent) == expected


def test_json_has_medians_under_their_names_and_ranges_beside_them() -> None:
    report = Report("reconcile")
    report.ratios["converge_ratio_1000"] = Figure.of(1.2, 1.5, 1.1)
    report.values["rss_mb_1000"] = Figure.of(104.0)
    found = json.loads(report.json())
    assert set(found) == {"name", "machine", "values", "ratios"}
    assert found["name"] == "reconcile"
    assert found["ratios"] == {
        "converge_ratio_1000": 1.2,
        "converge_ratio_1000_min": 1.1,
        "converge_ratio_1000_max": 1.5,
    }
    assert found["values"] == {"rss_mb_1000": 104.0}


def test_text_says_whether_goals_are_met() -> None:
    report = Report("reconcile", goals={"ratio": 1.5, "writes": 0}, notes=["a busy machine"])
    report.ratios["ratio"] = Figure.of(1.4)
    report.values["writes"] = Figure.of(3)
    ratio, writes, note = report.text().splitlines()[1:]
    assert ratio.endswith("goal: at most 1.50, met")
    assert writes.endswith("goal: at most 0, MISSED")
    assert note == "  note: a busy machine"
