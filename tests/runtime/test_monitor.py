"""What the process sees of itself, and what follows: memory, alerts and their actions, window of runs, history."""

import json
from pathlib import Path

import pytest

from agentfleet.runtime import history
from agentfleet.runtime.alarms import Alarms
from agentfleet.runtime.cgroup import Cgroup
from agentfleet.runtime.config import Alert, Concurrency, Monitoring
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.history import History
from agentfleet.runtime.hooks import Outcome, RunRecord
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.monitor import Monitor
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.window import Window
from tests.runtime.parts import task


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(outcome: Outcome = "ok", duration: float = 0.1) -> RunRecord:
    return RunRecord(outcome=outcome, status=200, duration=duration)


def cgroup(
    folder: Path, memory: int, *, limit: str = "1000", cache: int = 0, cpu: int = 0, most: str = "100000 100000"
) -> Cgroup:
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{memory}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")
    (folder / "cpu.stat").write_text(f"usage_usec {cpu}\nuser_usec 1\n")
    (folder / "cpu.max").write_text(f"{most}\n")
    return Cgroup(folder)


def test_memory_and_cpu_of_the_container(tmp_path: Path) -> None:
    here = cgroup(tmp_path, 900, cache=100, cpu=2_500_000, most="50000 100000")
    assert (here.memory_percent(), here.cpu_seconds(), here.cpu_limit()) == (80.0, 2.5, 0.5)


def test_what_is_not_limited_or_not_told_is_not_zero(tmp_path: Path) -> None:
    free = cgroup(tmp_path, 900, limit="max", most="max 100000")
    assert (free.memory_percent(), free.cpu_limit()) == (None, None)
    nowhere = Cgroup(tmp_path / "none")
    assert (nowhere.memory_percent(), nowhere.cpu_seconds(), nowhere.cpu_limit()) == (None, None, None)


def test_the_window_of_runs() -> None:
    clock = Clock()
    window = Window(clock)
    assert (window.p95(60), window.error_percent(60), window.completion()) == (None, None, 1.0)
    for outcome in ("ok", "ok", "fallback", "timeout", "refused", "overload", "filtered", "cancelled"):
        window.run(task(), record(outcome))  # type: ignore[arg-type]
    assert (window.count(60), window.error_percent(60), window.completion()) == (4, 50.0, 0.5)
    clock.now += 100
    for duration in range(1, 101):
        window.run(task(), record(duration=duration / 10))
    assert window.p95(60) == pytest.approx(9.6)
    assert window.count(60) == 100


def test_an_alert_begins_and_ends_after_its_time() -> None:
    alarms = Alarms((Alert("ResponseTime", 2.0, "SmallerTier", 10.0),))

    def at(now: float, value: float | None) -> list[bool]:
        return [begins for _, begins in alarms.update({"ResponseTime": value}, now)]

    assert at(0, 3.0) == []
    assert at(9, 3.0) == []
    assert at(9.5, 1.0) == []  # a break: the time begins anew
    assert at(10, 3.0) == []
    assert at(20, 3.0) == [True]
    assert alarms.lasts("SmallerTier")
    assert not alarms.lasts("Shed")
    assert at(25, None) == []
    assert at(30, 5.0) == []
    assert at(31, 1.0) == []
    assert at(41, 1.0) == [False]
    assert not alarms.lasts("SmallerTier")


def monitor(
    tmp_path: Path, clock: Clock, settings: Monitoring, here: Cgroup
) -> tuple[Monitor, Strain, Window, Metrics]:
    strain, window, metrics = Strain(), Window(clock), Metrics()
    gate = Gate(Concurrency(), strain, clock)
    made = Monitor(settings, strain, gate, window, metrics, History(tmp_path / "data"), clock, here)
    return made, strain, window, metrics


def test_memory_above_its_soft_limit_refuses_new_runs(tmp_path: Path) -> None:
    here = tmp_path / "cgroup"
    one, strain, _, _ = monitor(tmp_path, Clock(), Monitoring(memory_soft_limit_percent=80), cgroup(here, 700))
    one.look()
    assert not strain.memory
    cgroup(here, 850)
    one.look()
    assert strain.memory
    cgroup(here, 850, cache=100)
    one.look()
    assert not strain.memory


def test_alerts_act_and_are_told(tmp_path: Path) -> None:
    alerts = (Alert("ResponseTime", 2.0, "SmallerTier", 0.0), Alert("ErrorRate", 10.0, "Shed", 0.0))
    clock = Clock()
    one, strain, window, metrics = monitor(tmp_path, clock, Monitoring(alerts), Cgroup(tmp_path / "none"))
    one.look()
    assert (strain.shed, strain.tier()) == (False, None)
    window.run(task(), record("fallback", 3.0))
    one.look()
    assert (strain.shed, strain.tier()) == (True, "lightweight")
    assert b'agentfleet_agent_alert{action="Shed",metric="ErrorRate"} 1.0' in metrics.page()
    clock.now += 100
    one.look()
    assert (strain.shed, strain.tier()) == (False, None)
    assert b'agentfleet_agent_alert{action="Shed",metric="ErrorRate"} 0.0' in metrics.page()


def test_cpu_is_of_the_time_between_two_looks(tmp_path: Path) -> None:
    here, clock = tmp_path / "cgroup", Clock()
    one, _, _, _ = monitor(tmp_path, clock, Monitoring(), cgroup(here, 1, cpu=1_000_000))
    assert one.look()["CPU"] is None
    clock.now += 2
    cgroup(here, 1, cpu=2_500_000)
    assert one.look()["CPU"] == pytest.approx(75.0)


def test_the_history_is_bounded_and_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_LINES", 3)
    for number in range(8):
        History(tmp_path).add({"n": number})
    kept = [
        json.loads(line)["n"]
        for name in ("metrics.1.jsonl", "metrics.jsonl")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == [3, 4, 5, 6, 7]


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    broken = History(tmp_path / "file")
    broken.add({"n": 1})
    broken.add({"n": 2})
    assert [record.message.split(":")[0] for record in caplog.records] == ["the local history of metrics is not kept"]
