"""Processes are known by their id and start time, and locks by the file that is still there."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from e2e.cluster.daemon import Process
from e2e.cluster.shell import exclusive, wait_until


def test_a_recycled_process_id_is_not_ours() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        process = Process.find(child.pid)
        assert process is not None
        assert process.alive
        assert not Process(process.pid, process.started - 1).alive
        child.kill()


def test_an_ended_child_is_not_alive_though_nobody_waited_for_it() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process.find(child.pid)
    assert process is not None
    process.send(signal.SIGKILL)
    wait_until(lambda: not process.alive, "the child has ended", timeout=10)
    child.wait()


def test_a_record_that_was_cut_short_is_no_process(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    assert Process.load(record) is None
    record.write_text('{"pid": 1', encoding="utf-8")
    assert Process.load(record) is None
    record.write_text(json.dumps({"pid": 1, "started": -1}), encoding="utf-8")
    assert Process.load(record) is None


def test_a_lock_leaves_no_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with exclusive(lock):
        assert lock.exists()
    assert not lock.exists()
