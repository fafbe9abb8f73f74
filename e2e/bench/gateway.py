"""``bench gateway``: what does a request cost that goes through an AgentRoute's gateway?

Real HAProxy with a whole policy (gateway_route.py) has one core; beside it, in the same run, there are no proxy at all,
HAProxy that only passes on, Envoy with what it has of such a policy, and a bare proxy in Python. All of them run from
the start, and take turns: each round has each of them under full load, then at a steady rate, then with streams. CPU
time for each request is that of the proxy's process alone, and the figure that a busy machine hurts least. The parts of
the policy are what the gateway costs with each of them switched off.
"""

from __future__ import annotations

import argparse
import operator
import os
import resource
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

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
_GOALS: dict[str, float] = {
    "policy_us": 50,
    "policy_ratio": 3,
    "envoy_ratio": 1,
    "first_chunk_delay_ms": 1,
    "failed": 0,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Smaller numbers are for trying the benchmark out."""
    parser.add_argument("--seconds", type=float, default=3, metavar="N", help="length of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="times that each is made (default 3)")
    parser.add_argument("--haproxy", choices=("3.2", "3.4"), help="its version (default: the newest that is here)")


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
    options.haproxy = options.haproxy or _newest()
    with tempfile.TemporaryDirectory(prefix="agentfleet-bench-") as name, _Bench(Path(name), options) as bench:
        found = report(bench.compare(), options.haproxy)
    with tempfile.TemporaryDirectory(prefix="agentfleet-bench-") as name, _Bench(Path(name), options) as bench:
        found.values |= parts(bench.parts())
    if bench.other_load > _MUCH_LOAD:
        others = f"others took {bench.other_load:.0f} % of the machine"
        found.notes.append(f"{others}: compare CPU times with each other, and trust no latency")
    return found


def _newest() -> haproxy.Version:
    """The version that gateways run is 3.4; where it cannot be had, 3.2 tells much the same."""
    haproxy.prepare()
    try:
        haproxy.command("3.4")
    except haproxy.Missing:
        return "3.2"
    return "3.4"


class _Bench:
    """One server, and what stands before it; all of it ends with the block."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._version: haproxy.Version = options.haproxy
        self._stack = ExitStack()
        self.other_load = 0.0
        """Percentage of the machine that went to others during the rounds."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._server = stack.enter_context(gateway_subjects.server(self._folder))
            for stream in (False, True):
                self._requests(stream).write_bytes(gateway_route.requests(stream))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def compare(self) -> dict[str, Seen]:
        """The gateway beside the others."""
        target = self._server.port
        subjects = [
            self._server,
            self._plain(),
            self._gateway(),
            self._stack.enter_context(gateway_subjects.envoy(self._folder, target)),
            self._stack.enter_context(gateway_subjects.bare(self._folder, target)),
        ]
        return self._rounds(subjects, with_streams=True)

    def parts(self) -> dict[str, Seen]:
        """The gateway without each of its parts."""
        subjects = [self._gateway(), *(self._gateway(part) for part in gateway_route.PARTS)]
        return self._rounds(subjects, with_streams=False)

    def _plain(self) -> Subject:
        return self._stack.enter_context(gateway_subjects.plain(self._folder, self._server.port, self._version))

    def _gateway(self, part: str | None = None) -> Subject:
        return self._stack.enter_context(gateway_subjects.policy(self._folder, self._server.port, self._version, part))

    def _rounds(self, subjects: Sequence[Subject], *, with_streams: bool) -> dict[str, Seen]:
        seen = {subject.name: Seen() for subject in subjects}
        for subject in subjects:
            with step(f"{subject.name} warms up"):
                self._warm_up(subject)
        ours, (busy, total) = _own_seconds(subjects), machine_seconds()
        for number in range(self._options.rounds):
            with step(f"round {number + 1}") as progress:
                first = number % len(subjects)
                for subject in (*subjects[first:], *subjects[:first]):
                    progress.update(subject.name)
                    self._measure(subject, seen[subject.name], with_streams)
        now_busy, now_total = machine_seconds()
        others = now_busy - busy - (_own_seconds(subjects) - ours)
        self.other_load = 100 * max(0.0, others) / (now_total - total)
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
        seen.rss_mb.append(subject.process.rss_mb)
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
        return subject.process.cpu_seconds, subject.helper.cpu_seconds if subject.helper else 0.0

    spent = _Cpu()
    before = read()
    yield spent
    spent.proxy, spent.helper = (now - then for now, then in zip(read(), before, strict=True))


def _own_seconds(subjects: Sequence[Subject]) -> float:
    """CPU seconds of the benchmark: the proxies, the server, and clients that have ended."""
    processes = (each for subject in subjects for each in (subject.process, subject.helper) if each)
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(each.cpu_seconds for each in processes) + clients.ru_utime + clients.ru_stime


def report(seen: Mapping[str, Seen], version: str) -> Report:
    """The figures of all of them. Pure."""
    direct, plain, policy, envoy = (seen[name] for name in ("direct", "plain", "policy", "envoy"))
    found = Report("gateway", goals=_GOALS)
    found.notes.append(f"HAProxy {version}; the decider has a process and a core of its own: it is not in policy_us")
    found.ratios["policy_ratio"] = _each(operator.truediv, policy.us, plain.us)
    found.ratios["envoy_ratio"] = _each(operator.truediv, policy.us, envoy.us)
    for name, each in seen.items():
        found.values |= {f"{name}_{figure}": value for figure, value in _figures(each).items()}
    for figure in ("us", "sse_us", "rss_mb"):
        del found.values[f"direct_{figure}"]  # of the server, which is none of the proxies
    found.values["decider_us"] = Figure.of(*policy.helper_us)
    found.values["sse_first_chunk_ms"] = found.values.pop("policy_first_chunk_ms")
    firsts = [[each.first_p50_ms for each in one.streams] for one in (policy, direct)]
    found.values["first_chunk_delay_ms"] = _each(operator.sub, *firsts)
    found.values["failed"] = Figure.of(sum(each.failed for each in seen.values()))
    return found


def _figures(seen: Seen) -> dict[str, Figure]:
    return {
        "us": Figure.of(*seen.us),
        "rps": Figure.of(*seen.rps),
        "p50_ms": Figure.of(*(each.p50_ms for each in seen.steady)),
        "p99_ms": Figure.of(*(each.p99_ms for each in seen.steady)),
        "first_chunk_ms": Figure.of(*(each.first_p50_ms for each in seen.streams)),
        "sse_total_ms": Figure.of(*(each.p50_ms for each in seen.streams)),
        "sse_us": Figure.of(*seen.stream_us),
        "rss_mb": Figure.of(*seen.rss_mb),
    }


def parts(seen: Mapping[str, Seen]) -> dict[str, Figure]:
    """What the gateway saves without each of its parts. Pure."""
    whole = seen["policy"].us
    return {
        # Rounds are compared one by one: what else the machine does changes from one to the next.
        f"part_{part}_us": _each(operator.sub, whole, seen[f"without-{part}"].us)
        for part in gateway_route.PARTS
    }


def _each(operation: Callable[[float, float], float], ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Of the rounds, one by one."""
    return Figure.of(*map(operation, ours, theirs))
