"""main.py, report.py, faults.py, profiles.py: what `agentfleet simulate` takes, prints and refuses."""

import json
from pathlib import Path

import pytest

from agentfleet.simulator import main as command
from agentfleet.simulator import plot
from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.faults import Faults, parse_faults
from agentfleet.simulator.profiles import BUILTIN, load_profile

PROMISED = {"policy", "seed", "slo_percent", "gpu_hours", "p99_ttft_s", "p99_tpot_s", "changes", "reversals"}


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Two minutes of small requests."""
    path = tmp_path / "trace.csv"
    rows = "".join(f"{second / 2},100,20\n" for second in range(240))
    path.write_text(f"seconds,prompt_tokens,output_tokens\n{rows}", encoding="utf-8")
    return str(path)


def test_json_is_a_list_with_what_is_promised_and_nothing_else_is_printed(
    trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = "agentfleet,hpa-gpu,hpa-concurrency,kpa,keda-queue,kubeai,static"
    line = f"--trace {trace} --profile a100-8b --policy {policies} --cold-start 120s --seeds 2 --json"
    assert command.main(line.split()) == 0
    printed = capsys.readouterr()
    results = json.loads(printed.out)
    assert printed.err == ""
    assert [result["policy"] for result in results[::2]] == policies.split(",")
    assert all(result.keys() == PROMISED for result in results)
    assert [result["seed"] for result in results[:2]] == [7, 8]


def test_full_json_has_more(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--trace", trace, "--policy", "static", "--json=full"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result.keys() > PROMISED
    assert (result["setting"], result["requests"], result["failed"]) == ("1", 240, 0)


def test_the_table_has_means_and_spreads(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--trace", trace, "--policy", "static=2,hpa-concurrency-tuned", "--seeds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "policy"
    assert "100.00 ± 0.00" in lines[2]
    assert lines[3].startswith("hpa-concurrency-tuned [")
    assert "hindsight" in lines[-1]


def test_processes_change_nothing(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for jobs in ("1", "2"):
        assert command.main(["--trace", trace, "--policy", "kpa,static", "--seeds", "2", "--json", "--jobs", jobs]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_a_trace_without_requests_has_no_percentiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--trace", "idle", "--hours", "0.02", "--json", "--policy", "static=1"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["p99_ttft_s"], result["slo_percent"]) == (None, 100.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--trace nowhere.csv", "built in are diurnal, ramp, surge, idle"),
        ("--profile nowhere", "built in are a100-70b-tp4, a100-8b"),
        ("--policy hpa", "legal are agentfleet, hpa-gpu"),
        ("--policy agentfleet=2", "'agentfleet=2' is not a policy"),
        ("--policy static=x", "has to be a number above 0"),
        ("--policy static=1.5", "has to be a number above 0"),
        ("--policy ,", "names no policy"),
        ("--policy kpa,kpa", "kpa is there twice"),
        ("--faults outage=600s", "'outage=600s' is not a fault"),
        ("--min 4 --max 2", "--min: 4 is above --max 2"),
        ("--start 40", "--start: 40 is not from"),
        ("--plot picture.txt", "has to end in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_used_ends_with_code_2_and_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    "line", ["--cold-start 120", "--cold-start 0s", "--seeds 0", "--seeds x", "--load-factor-percent 5", "--slo-ttft 2"]
)
def test_values_that_argparse_refuses(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(line.split())
    assert caught.value.code == 2
    assert repr(line.split()[1]) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (None, Faults()),
        ("lost-scrapes=30%", Faults(lost_scrapes=0.3)),
        ("outage=600s@3600, quota=4", Faults(outage=(3600, 4200), quota=4)),
        ("renamed@1h", Faults(renamed=(3600, float("inf")))),
        ("nan=10m@30m", Faults(nan=(1800, 2400))),
        ("nan=kv_used@1h", Faults(nan=(3600, float("inf")), nan_fields=("kv_used",))),
        ("renamed=steps:10m@30m", Faults(renamed=(1800, 2400), renamed_fields=("steps",))),
        ("crash-loop", Faults(crash_at=600)),
        ("crash-loop@5m", Faults(crash_at=300)),
    ],
)
def test_faults(text: str | None, faults: Faults) -> None:
    assert parse_faults(text) == faults


@pytest.mark.parametrize(
    "text", ["lost-scrapes=2", "lost-scrapes", "outage@5", "renamed", "quota=0", "quota=x", "bogus"]
)
def test_faults_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="is not a fault"):
        parse_faults(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kvTokens: 5", "stepMilliseconds: Field required"),
        ("kvTokens: -1\nstepMilliseconds: [[1, 1]]", "kvTokens: Input should be greater than or equal to 1"),
        ("kvTokens: 9\nstepMilliseconds: [[1, 1]]\nspeed: 3", "speed: Extra inputs are not permitted"),
        ("kvTokens: 9\nstepMilliseconds: [[8, 1], [1, 2]]", "has to ascend by tokens"),
        ("- 5", "has to be a mapping"),
        ("{", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_profile(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_profile(str(path))
    assert message in str(caught.value)


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((BUILTIN / "a100-8b.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert load_profile(str(path)).model_dump(exclude={"name"}) == load_profile("a100-8b").model_dump(exclude={"name"})


def test_a_plot(trace: str, tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    assert command.main(["--trace", trace, "--policy", "kpa,static", "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(BadInput, match="pip install 'agentfleet"):
        plot.check(tmp_path / "out.png")
