"""The guides to scaling, monitoring, simulator and command line name what there is: all of it, and nothing else."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import pytest
import yaml
from prometheus_client.registry import Collector

from agentfleet.autoscale.decision import Binding
from agentfleet.autoscale.thresholds import SEVERITIES, limits_of
from agentfleet.cache import Cache
from agentfleet.cli import arguments
from agentfleet.gpu import names
from agentfleet.metrics import Metrics
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.metrics import ObservationsCollector
from agentfleet.monitor.observations import Observations
from agentfleet.monitor.scaling_metrics import ScalingCollector
from agentfleet.resources.conditions import HINTS
from agentfleet.resources.scaling_status import DecisionState
from agentfleet.simulator import main as simulator
from agentfleet.simulator.faults import parse_faults
from agentfleet.simulator.policies import parse_policies

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "operator/docs"
SCALING, SIMULATOR, MONITORING, CLI = (
    (GUIDES / f"{name}.md").read_text(encoding="utf-8") for name in ("scaling", "simulator", "monitoring", "cli")
)
PAGES = {"README": (ROOT / "README.md").read_text(encoding="utf-8")} | {
    page.stem: page.read_text(encoding="utf-8") for page in GUIDES.glob("*.md")
}

_NEVER_DECIDED = {"NoDemandSource"}
"""It is a condition; the minimum that it leads to is what binds."""


def _rows(page: str, header: str) -> list[list[str]]:
    """Cells of the table that begins with a header's first cells."""
    found = re.search(rf"^\| {re.escape(header)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert found, header
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]


def _words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)", cell)


def test_bindings() -> None:
    told = [word for row in _rows(SCALING, "binding |") for word in _words(row[0])]
    assert sorted(told) == sorted(set(get_args(Binding)) - _NEVER_DECIDED)


def test_states_of_decisions() -> None:
    (told,) = re.findall(r"`state` says what became of it: (.*?)\. The last", SCALING, re.DOTALL)
    assert set(_words(told)) == set(get_args(DecisionState))


def test_conditions_and_their_reasons() -> None:
    rows = _rows(SCALING, "condition |")
    assert [_words(row[0]) for row in rows] == [
        ["ScalingActive"], ["MetricsAvailable"], ["CapacityBlocked"], ["ConflictingAutoscaler"],
    ]  # fmt: skip
    assert {word for row in rows for word in _words(row[1])} <= HINTS.keys()


@pytest.mark.parametrize("kind", SEVERITIES)
def test_thresholds(kind: str) -> None:
    (row,) = (row for row in _rows(MONITORING, "type | field |") if row[0] == f"`{kind}`")
    assert row[3].strip(" |") == SEVERITIES[kind]  # type: ignore[index]
    value = limits_of("VLLM", None).values.get(kind)  # type: ignore[call-overload]
    if value is None:
        assert row[2].startswith("none")
    else:
        unit = {"latency": f"{value:g} s", "queue_length": f"{value:g} requests"}.get(kind, f"{value:.0%}")
        assert row[2].replace(" %", "%").startswith(unit)


def test_alerts() -> None:
    text = (ROOT / "charts/agentfleet/alerts/agentfleet.yaml").read_text(encoding="utf-8")
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    there = {rule["alert"]: rule.get("labels", {}).get("severity", "of the threshold") for rule in rules}
    assert {_words(row[0])[0]: row[1] for row in _rows(MONITORING, "alert |")} == there


def _families(collector: Collector) -> set[str]:
    return {f"{each.name}_total" if each.type == "counter" else each.name for each in collector.collect()}


def test_metrics_of_the_loop_are_those_that_there_are() -> None:
    loop = cast(ScalingLoop, SimpleNamespace(watched=()))
    known = _families(ScalingCollector(loop)) | _families(ObservationsCollector(Observations(), Cache()))
    known |= {name for name in _families(Metrics().registry) if name.startswith("agentfleet_scaling")}
    told = {f"agentfleet_{name}" for row in _rows(MONITORING, "metric `agentfleet_…`") for name in _words(row[0])}
    assert told == known


def test_metrics_of_gpus_are_those_that_there_are() -> None:
    known = {names.PREFIX + name for name in names.GAUGES} | {f"{names.PREFIX}{name}_total" for name in names.COUNTERS}
    known |= {names.UP, names.SUPPORTED, names.ALLOCATED, names.EXPORTER_UP, names.SAMPLE_AGE, names.POD_RESOURCES_UP}
    known |= {names.DRIVER, f"{names.ERRORS}_total", f"{names.XID_ERRORS}_total"}
    told = {names.PREFIX + name for row in _rows(MONITORING, "metric `agentfleet_gpu_…`") for name in _words(row[0])}
    assert told == known


def test_every_command_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments.parse(["--help"])
    there = set(re.findall(r"^    (\w+)", capsys.readouterr().out, re.MULTILINE))
    assert {_words(row[0])[0] for row in _rows(CLI, "command |")} == there


_VALUES = {"trace": "ramp", "cold": "30s", "faults": "crash-loop", "policies": "agentfleet,static", "share": "80"}
"""For variables of the shell."""


def _commands(program: str) -> list[str]:
    """Lines that run a program, in blocks of shell and after backticks; a variable stands for a value."""
    blocks = "\n".join(block for page in PAGES.values() for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    lines = re.findall(rf"^\s*(?:\$ )?{program} (.*)$", blocks.replace("\\\n", " "), re.MULTILINE)
    inline = [told for page in PAGES.values() for told in re.findall(rf"`{program} ([^`]*\s--[^`]*)`", page)]
    return [re.sub(r"\$(\w+)", lambda found: _VALUES[found[1]], line) for line in lines + inline]


@pytest.mark.parametrize("command", _commands("agentfleet simulate"))
def test_simulations_can_be_run(command: str) -> None:
    options = simulator.parser().parse_args(shlex.split(command, comments=True))
    assert parse_policies(options.policy)
    parse_faults(options.faults)


@pytest.mark.parametrize("command", _commands("kubectl agentfleet"))
def test_commands_can_be_run(command: str) -> None:
    assert arguments.parse(shlex.split(command, comments=True))


def test_there_are_commands() -> None:
    assert len(_commands("agentfleet simulate")) > 10
    assert len(_commands("kubectl agentfleet")) > 3


@pytest.mark.parametrize("faults", re.findall(r"^for faults in (.*); do$", SIMULATOR, re.MULTILINE)[0].split())
def test_faults(faults: str) -> None:
    parse_faults(faults)


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_filled_in(page: str) -> None:
    assert "@@" not in PAGES[page]
