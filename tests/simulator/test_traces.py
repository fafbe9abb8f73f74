"""traces.py, shapes.py: built in traces have the load they are said to have; CSV files are read, and errors named."""

import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.shapes import SHAPES, load_trace
from agentfleet.simulator.traces import gamma_arrivals, read_csv, stream

HEADER = "seconds,prompt_tokens,output_tokens\n"


@pytest.mark.parametrize("name", SHAPES)
def test_a_built_in_trace_is_sorted_within_its_time_and_the_same_again(name: str) -> None:
    trace = load_trace(name, 7, hours=1)
    assert trace == load_trace(name, 7, hours=1)
    assert trace.seconds != load_trace(name, 8, hours=1).seconds
    assert list(trace.seconds) == sorted(trace.seconds)
    assert 0 <= trace.seconds[0] <= trace.seconds[-1] <= trace.duration == 3600


def test_the_wave_has_its_rates_and_lengths() -> None:
    trace = load_trace("diurnal", 7)
    peak = sum(10_500 <= second < 11_100 for second in trace.seconds) / 600
    assert peak == pytest.approx(28, rel=0.05)
    assert len(trace) / trace.duration == pytest.approx(17, rel=0.02)
    assert trace.means == (pytest.approx(1155, rel=0.03), pytest.approx(211, rel=0.03))


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.5])
def test_arrivals_have_the_rate_and_the_burstiness(cv: float) -> None:
    arrivals = gamma_arrivals(lambda _: 10, 10_000, cv, stream(1, cv))
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(arrivals) == pytest.approx(100_000, rel=0.04)
    assert statistics.stdev(gaps) / statistics.fmean(gaps) == pytest.approx(cv, rel=0.05)


def test_no_arrivals_where_the_rate_is_zero() -> None:
    arrivals = gamma_arrivals(lambda second: 5.0 if second < 100 else 0.0, 200, 1, stream(1))
    assert arrivals[-1] <= 100


def test_a_csv_file_with_columns_and_rows_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffmodel, output_tokens ,seconds,prompt_tokens\nb,0,1.5,20\n\na,5,0.5,10\n", encoding="utf-8")
    trace = read_csv(path)
    assert (trace.seconds, trace.prompts, trace.outputs) == ([0.5, 1.5], [10, 20], [5, 1])
    assert trace.duration == 2


@pytest.mark.parametrize("start", [3600, 1_000_000, 1_700_000_000.5])
def test_time_begins_with_the_first_request_of_a_log_that_starts_late(tmp_path: Path, start: float) -> None:
    path = tmp_path / "late.csv"
    path.write_text(f"{HEADER}{start},10,5\n{start + 90},10,5\n", encoding="utf-8")
    trace = read_csv(path)
    assert (trace.seconds, trace.duration) == ([0, 90], 90)


def test_a_quiet_beginning_is_part_of_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEADER}600,10,5\n", encoding="utf-8")
    assert read_csv(path).seconds == [600]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column seconds, prompt_tokens, output_tokens"),
        ("time,prompt_tokens,output_tokens\n", "line 1: no column seconds;"),
        (HEADER, "no requests"),
        (HEADER + "0,1\n", "line 2: 2 columns"),
        (HEADER + "0,1,1\nx,1,1\n", "line 3: seconds is 'x'"),
        (HEADER + "nan,1,1\n", "line 2: seconds is 'nan'"),
        (HEADER + "-1,1,1\n", "line 2: seconds is '-1'"),
        (HEADER + "1700000000,1,1\n1710000000,1,1\n", "is 115.7 days long; at most 31"),
        (HEADER + "1e12,1,1\n", "line 2: seconds is '1e12'"),
        (HEADER + "0,inf,1\n", "line 2: prompt_tokens is 'inf'"),
        (HEADER + "0,1,-3\n", "line 2: output_tokens is '-3'"),
    ],
)
def test_what_is_wrong_with_a_csv_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_trace(str(path), 7)
    assert message in str(caught.value)


def test_a_csv_file_is_cut_and_not_multiplied(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "0,1,1\n100,1,1\n", encoding="utf-8")
    assert len(load_trace(str(path), 7, hours=0.01)) == 1
    with pytest.raises(BadInput, match="--load"):
        load_trace(str(path), 7, load=2)
