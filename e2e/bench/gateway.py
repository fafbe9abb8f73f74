"""``bench gateway``: what does a request cost that goes through an AgentRoute's gateway?

Real HAProxy with a whole policy (gateway_route.py) has one core; beside it, in the same run, there are no proxy at all,
HAProxy that only passes on, Envoy with what it has of such a policy, and a bare proxy in Python. All of them run from
the start, and take turns: each round has each of them under full load, then at a steady rate, then with streams. CPU
time for each request is that of the proxy's process alone, and the figure that a busy machine hurts least. The parts of
the policy are what the gateway costs with each of them switched off.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.bench import gateway_route, gateway_subjects, gateway_traffic
from e2e.bench.gateway_subjects import Subject
from e2e.bench.gateway_traffic import Traffic
from e2e.bench.meter import machine_seconds
from e2e.bench.report import Figure, Report
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import step
from e2e.cluster.shell import wait_until
from e2e.support import haproxy

_CONNECTIONS = 16
_RATE = 500
_STREAMS = 100
"""Begun in a second; each takes one."""
_MUCH_LOAD = 15
"""Percent of the machine in other hands, from where on latencies tell more about those than about the proxies."""
_GOAL_US, _GOAL_RATIO = 50, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Smaller numbers are for trying the benchmark out."""
    parser.add_argument("--seconds", type=float, default=3, metavar="N", help="length of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="times that each is made (default 3)")
    parser.add_argument("--haproxy", choices=("3.2", "3.4"), default="3.2", help="its version (default 3.2)")
    parser.add_argument("--parts", action="store_true", help="only HAProxy, whole and with each part switched off")


@dataclass
class Seen:
    """What was measured of one subject, a value for each round."""

    us: list[float] = field(default_factory=list)
    helper_us: list[float] = field(default_factory=list)
    rps: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    stream_us: list[float] = field(default_factory=list)
    steady: list[Traffic] = field(default_factory=list)
    streams: list[Traffic] = field(default_factory=list)
    failed: int = 0


def measure(options: argparse.Namespace) -> Report:
    """Run everything."""
    if len(os.sched_getaffinity(0)) < 2:
        raise ClusterError("`bench gateway` needs two cores: one for the proxy, one for its clients and servers")
    before = machine_seconds()
    with tempfile.TemporaryDirectory(prefix="agentfleet-bench-") as name, ExitStack() as stack:
        bench = _Bench(Path(name), stack, options)
        report = bench.parts() if options.parts else bench.compare()
    busy, total = (now - then for now, then in zip(machine_seconds(), before, strict=True))
    report.values["machine_busy_percent"] = Figure.of(100 * busy / total)
    return report


class _Bench:
    def __init__(self, folder: Path, stack: ExitStack, options: argparse.Namespace) -> None:
        self._folder = folder
        self._stack = stack
        self._options = options
        self._version: haproxy.Version = options.haproxy
        self._server = stack.enter_context(gateway_subjects.server(folder))
        for stream in (False, True):
            self._requests(stream).write_bytes(gateway_route.requests(stream))

    def compare(self) -> Report:
        """The gateway beside the others."""
        subjects = [
            Subject("direct", self._server),
            self._plain(),
            self._gateway(),
            self._stack.enter_context(gateway_subjects.envoy(self._folder, self._server)),
            self._stack.enter_context(gateway_subjects.bare(self._folder, self._server)),
        ]
        seen = self._rounds(subjects, with_streams=True)
        return report(seen, self._version)

    def parts(self) -> Report:
        """The gateway without each of its parts."""
        subjects = [self._plain(), self._gateway(), *(self._gateway(part) for part in gateway_route.PARTS)]
        seen = self._rounds(subjects, with_streams=False)
        found = Report("gateway parts")
        found.values["plain_us"] = Figure.of(*seen["plain"].us)
        found.values["policy_us"] = Figure.of(*seen["policy"].us)
        for part in gateway_route.PARTS:
            without = seen[f"without-{part}"].us
            # Rounds are compared one by one: what else the machine does changes from one to the next.
            saved = [whole - less for whole, less in zip(seen["policy"].us, without, strict=True)]
            found.values[f"{part}_us"] = Figure.of(*saved)
        found.values["failed"] = Figure.of(sum(each.failed for each in seen.values()))
        return found

    def _plain(self) -> Subject:
        return self._stack.enter_context(gateway_subjects.plain(self._folder, self._server, self._version))

    def _gateway(self, part: str | None = None) -> Subject:
        return self._stack.enter_context(gateway_subjects.policy(self._folder, self._server, self._version, part))

    def _rounds(self, subjects: Sequence[Subject], *, with_streams: bool) -> dict[str, Seen]:
        seen = {subject.name: Seen() for subject in subjects}
        for subject in subjects:
            with step(f"{subject.name} warms up"):
                self._warm_up(subject)
        for number in range(self._options.rounds):
            with step(f"round {number + 1}") as progress:
                for subject in subjects[number % len(subjects) :] + subjects[: number % len(subjects)]:
                    progress.update(subject.name)
                    self._measure(subject, seen[subject.name], with_streams)
        return seen

    def _warm_up(self, subject: Subject) -> None:
        """Until the pods are up and the intents known, as they are in a gateway that has served for a minute."""
        wait_until(lambda: not self._load(subject, 0.2).failed, f"{subject.name} answers", timeout=15, interval=0.2)
        self._load(subject, 1)

    def _measure(self, subject: Subject, seen: Seen, with_streams: bool) -> None:
        seconds = self._options.seconds
        with _cpu(subject) as cpu:
            full = self._load(subject, seconds)
        seen.us.append(cpu.proxy * 1e6 / max(1, full.answered))
        seen.helper_us.append(cpu.helper * 1e6 / max(1, full.answered))
        seen.rps.append(full.answered / full.seconds)
        seen.failed += full.failed
        if with_streams:
            seen.steady.append(self._load(subject, seconds, rate=_RATE))
            with _cpu(subject) as cpu:
                seen.streams.append(self._load(subject, seconds, rate=_STREAMS, stream=True))
            seen.stream_us.append(cpu.proxy * 1e6 / max(1, seen.streams[-1].answered))
            seen.failed += seen.steady[-1].failed + seen.streams[-1].failed
        if subject.proxy:
            seen.rss_mb.append(subject.proxy.rss_mb)
            subject.forget_log()

    def _load(self, subject: Subject, seconds: float, *, rate: float = 0, stream: bool = False) -> Traffic:
        return gateway_traffic.load(
            subject.port,
            self._requests(stream),
            connections=_CONNECTIONS,
            seconds=seconds,
            rate=rate,
            core=gateway_subjects.TRAFFIC_CORE,
        )

    def _requests(self, stream: bool) -> Path:
        return self._folder / ("streams" if stream else "chats")


@dataclass
class _Cpu:
    """CPU seconds, once the block has ended."""

    proxy: float = 0.0
    helper: float = 0.0


@contextmanager
def _cpu(subject: Subject) -> Iterator[_Cpu]:
    def read() -> tuple[float, float]:
        return tuple(each.cpu_seconds if each else 0.0 for each in (subject.proxy, subject.helper))  # type: ignore[return-value]

    spent = _Cpu()
    before = read()
    yield spent
    spent.proxy, spent.helper = (now - then for now, then in zip(read(), before, strict=True))


def report(seen: dict[str, Seen], version: str) -> Report:
    """The figures of all of them. Pure."""
    found = Report(
        "gateway",
        goals={
            "policy_us": _GOAL_US,
            "policy_ratio": _GOAL_RATIO,
            "envoy_ratio": 1,
            "first_chunk_delay_ms": 1,
            "failed": 0,
        },
        notes=[f"HAProxy {version}; its decider has a process of its own and is not in policy_us"],
    )
    policy, plain, envoy, direct = seen["policy"], seen["plain"], seen["envoy"], seen["direct"]
    found.ratios["policy_ratio"] = _ratio(policy.us, plain.us)
    found.ratios["envoy_ratio"] = _ratio(policy.us, envoy.us)
    for name, each in seen.items():
        if each.rss_mb:
            found.values[f"{name}_us"] = Figure.of(*each.us)
    found.values["decider_us"] = Figure.of(*policy.helper_us)
    for name, each in seen.items():
        found.values[f"{name}_rps"] = Figure.of(*each.rps)
    for name, each in seen.items():
        found.values[f"{name}_p50_ms"] = Figure.of(*(steady.p50_ms for steady in each.steady))
        found.values[f"{name}_p99_ms"] = Figure.of(*(steady.p99_ms for steady in each.steady))
    for name, each in seen.items():
        prefix = "direct" if name == "direct" else f"{name}_sse"
        found.values[_first(name)] = Figure.of(*(streams.first_p50_ms for streams in each.streams))
        found.values[f"{prefix}_total_p99_ms"] = Figure.of(*(streams.p99_ms for streams in each.streams))
        if each.rss_mb:
            found.values[f"{prefix}_us"] = Figure.of(*each.stream_us)
            found.values[f"{name}_rss_mb"] = Figure.of(*each.rss_mb)
    found.values["first_chunk_delay_ms"] = Figure.of(
        *(
            through.first_p50_ms - straight.first_p50_ms
            for through, straight in zip(policy.streams, direct.streams, strict=True)
        )
    )
    found.values["failed"] = Figure.of(sum(each.failed for each in seen.values()))
    return found


def _first(name: str) -> str:
    """The gateway's own has the plain name."""
    return {"policy": "sse_first_chunk_ms"}.get(name, f"{name}_first_chunk_ms")


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    return Figure.of(*(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)))
