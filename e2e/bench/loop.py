"""``bench loop``: what does the scaling loop cost over a whole fleet?

The loop of the operator (scraper, controllers, history that is full, reports) runs in a process of its own and asks as
many sidecars as there are replicas, each at an address of its own on loopback; they answer from another process, as
vLLM's would under a moderate load. Beside it the same requests are sent by plain aiohttp, which looks at no answer: the
lower bound, in the same run. Figures of several windows give the spread. CPU is that of the measured process alone;
lateness is also that of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from e2e.bench.process import Process, running
from e2e.bench.report import Figure, Report
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import step
from e2e.cluster.shell import wait_until
from e2e.support.ports import free_ports

_REPOSITORY = Path(__file__).resolve().parents[2]
_WARM_UP = 20.0
_START_TIMEOUT = 300.0
_MUCH_LOAD = 15
"""Percent of the machine in other hands, from where on lateness tells more about those than about the loop."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Smaller numbers are for trying the benchmark out."""
    parser.add_argument("--servers", type=int, default=1000, metavar="N", help="ModelServers (default 1000)")
    parser.add_argument("--replicas", type=int, default=4, metavar="N", help="replicas of each (default 4)")
    parser.add_argument("--windows", type=int, default=3, metavar="N", help="times that it is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="length of each (default 20)")


def measure(options: argparse.Namespace) -> Report:
    """Run everything."""
    replicas = options.servers * options.replicas
    report = Report("loop", goals={"cores": 1.0, "rss_mb": 250, "tick_late_ms": 500})
    with tempfile.TemporaryDirectory(prefix="agentfleet-bench-") as folder:
        (port,) = free_ports(1)
        with running("sidecars", _command("sidecars", port), Path(folder), _environment()) as sidecars:
            _wait_listening(sidecars, port)
            with step(f"plain aiohttp, {replicas} replicas"):
                bare = _windows(options, sidecars, port, "--bare")
            with step(f"scaling loop, {replicas} replicas"):
                looped = _windows(options, sidecars, port, "--fill", f"--warm-up={_WARM_UP}")
    lower = _figure(bare, "cores")
    report.ratios["cpu_ratio"] = Figure.of(*(window["cores"] / lower.median for window in looped))
    report.values |= {name: _figure(looped, name) for name in looped[0]}
    report.values |= {"bare_cores": lower, "bare_rss_mb": _figure(bare, "rss_mb")}
    others = report.values["other_load_percent"].highest
    if others > _MUCH_LOAD:
        report.notes.append(f"others took {others:.0f} % of the machine: trust cores and memory, not lateness")
    return report


def _windows(options: argparse.Namespace, sidecars: Process, port: int, *more: str) -> list[dict[str, float]]:
    """Let a process measure itself; one set of figures for each window."""
    argv = [
        *_command("loop_process", port),
        f"--beside={sidecars.pid}",
        f"--servers={options.servers}",
        f"--replicas={options.replicas}",
        f"--windows={options.windows}",
        f"--seconds={options.seconds}",
        *more,
    ]
    name = "bare" if "--bare" in more else "loop"
    with running(name, argv, sidecars.log.parent, _environment()) as process:
        timeout = _START_TIMEOUT + _WARM_UP + 2 * options.windows * options.seconds
        wait_until(lambda: process.has_ended, f"{name} has measured", timeout=timeout, interval=0.5)
        lines = [line for line in process.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        if len(lines) != options.windows:
            raise ClusterError(f"{name} gave {len(lines)} of {options.windows} figures: {process.log_tail()}")
    return [json.loads(line) for line in lines]


def _figure(windows: list[dict[str, float]], name: str) -> Figure:
    return Figure.of(*(window[name] for window in windows))


def _command(module: str, port: int) -> list[str]:
    return [sys.executable, "-m", f"e2e.bench.{module}", f"--port={port}"]


def _environment() -> dict[str, str]:
    folders = (str(_REPOSITORY), str(_REPOSITORY / "operator"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}


def _wait_listening(process: Process, port: int) -> None:
    def listening() -> bool:
        process.expect_running()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listening, "the sidecars listen", timeout=30, interval=0.1)
