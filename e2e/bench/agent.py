"""``bench agent``: what does an agent add to the call of its model?

The process of a pod, `agentfleet runtime --config FILE`, without tools; its model is the scripted server, which answers
at once, in a process of its own. Calls come in pairs, one at a time and by the same client: the model is asked directly
and through the agent, now this one first and now that one, and the difference inside each pair is the overhead. CPU
time is that of the agent's process alone, and the figure that a busy machine hurts least. Several starts of the agent
give the spread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from agentfleet.runtime.config import Access, AgentConfig, Concurrency, ModelEndpoint
from e2e.bench.meter import machine_seconds
from e2e.bench.process import Process, cpu_seconds, running
from e2e.bench.report import Figure, Report
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import step
from e2e.cluster.shell import wait_until, without_proxies
from e2e.support.ports import free_ports

_REPOSITORY = Path(__file__).resolve().parents[2]
_CHAT = "/v1/chat/completions"
_QUESTION = "Where is my parcel, and when will it be here?"
_TOKENS = 16
"""Of each answer, whoever asks."""
_WARM_UP = 20
"""Pairs before those that count."""
_TURNS = 5
"""Of each session."""
_START_TIMEOUT = 60.0
_MUCH_LOAD = 15
"""Percent of the machine in other hands, from where on times tell more about those than about the agent."""


@dataclass(frozen=True)
class Pairs:
    """What was seen of one kind of call, in milliseconds."""

    bare_ms: Sequence[float]
    run_ms: Sequence[float]
    cpu_ms: float
    """Of the agent's process, for each run."""

    @property
    def overhead_ms(self) -> float:
        """The median of what a run took longer than the bare call beside it."""
        return statistics.median(run - bare for run, bare in zip(self.run_ms, self.bare_ms, strict=True))


@dataclass(frozen=True)
class Start:
    """What was seen of one process."""

    ready_s: float
    rss_idle_mb: float
    whole: Pairs
    streamed: Pairs
    rss_mb: float
    """With the sessions."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Smaller numbers are for trying the benchmark out."""
    parser.add_argument("--starts", type=int, default=5, metavar="N", help="processes that are measured (default 5)")
    parser.add_argument("--pairs", type=int, default=200, metavar="N", help="pairs of calls of each kind (default 200)")
    parser.add_argument("--sessions", type=int, default=100, metavar="N", help="sessions that are kept (default 100)")


def measure(options: argparse.Namespace) -> Report:
    """Run everything."""
    with tempfile.TemporaryDirectory(prefix="agentfleet-bench-") as name, _model(Path(name)) as model:
        with step("an agent starts, so that its code is compiled"), _agent(Path(name), model.port):
            pass
        ours, (busy, total) = _own_seconds(model), machine_seconds()
        starts = []
        for number in range(options.starts):
            with step(f"start {number + 1}"):
                starts.append(_start(Path(name), model, options))
                ours -= starts[-1][1]
        now_busy, now_total = machine_seconds()
        others = 100 * (now_busy - busy - (_own_seconds(model) - ours)) / (now_total - total)
    found = report([start for start, _ in starts], options.sessions)
    if others > _MUCH_LOAD:
        found.notes.append(f"others took {others:.0f} % of the machine: trust CPU and memory, not times")
    return found


def report(starts: Sequence[Start], sessions: int) -> Report:
    """The figures. Pure."""
    found = Report("agent")
    for prefix, pairs in (("", [each.whole for each in starts]), ("stream_", [each.streamed for each in starts])):
        found.values[f"{prefix}overhead_ms"] = Figure.of(*(each.overhead_ms for each in pairs))
        found.values[f"{prefix}overhead_cpu_ms"] = Figure.of(*(each.cpu_ms for each in pairs))
        found.values[f"{prefix}bare_ms"] = Figure.of(*(statistics.median(each.bare_ms) for each in pairs))
    found.values["rss_idle_mb"] = Figure.of(*(each.rss_idle_mb for each in starts))
    found.values[f"rss_{sessions}_mb"] = Figure.of(*(each.rss_mb for each in starts))
    found.values["ready_s"] = Figure.of(*(each.ready_s for each in starts))
    kept = f"{sessions} sessions of {_TURNS} turns each"
    found.notes.append(f"rss_{sessions}_mb: {kept}, after all other runs; answers have {_TOKENS} tokens")
    return found


class Client:
    """One connection, to the model or to the agent."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def chat(self, *, stream: bool = False, session: str = "") -> float:
        """The milliseconds until an answer was read whole."""
        messages = [{"role": "user", "content": _QUESTION}]
        body = {"model": "scripted", "messages": messages, "max_tokens": _TOKENS, "stream": stream}
        headers = {"Content-Type": "application/json", **({"x-session-id": session} if session else {})}
        began = time.perf_counter()
        answer = self._ask("POST", _CHAT, json.dumps(body), headers)
        took = 1000 * (time.perf_counter() - began)
        if (b"[DONE]" if stream else b'"choices"') not in answer:
            raise ClusterError(f"this is no whole answer: {answer[-500:]!r}")
        return took

    def get(self, path: str) -> bytes:
        """What is there."""
        return self._ask("GET", path, None, {})

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> bytes:
        self._connection.request(method, path, body, headers)
        with self._connection.getresponse() as response:
            answer = response.read()
        if response.status != 200 or "x-agentfleet-finish" in response.headers:
            raise ClusterError(f"{method} {path}: HTTP {response.status}: {answer[:500].decode(errors='replace')}")
        return answer


@contextmanager
def client(port: int) -> Iterator[Client]:
    """For the block."""
    made = Client(port)
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True)
class Served:
    """A process that answers."""

    process: Process
    port: int
    seconds: float
    """Until it did."""


def settings(model: int, folder: Path) -> AgentConfig:
    """An agent that anybody may ask, with sessions in memory."""
    return AgentConfig(
        name="desk",
        namespace="shop",
        url="http://desk-agent.shop.svc",
        revision="1",
        role="customer-service",
        instructions="You help customers of a shop with their orders.",
        model=ModelEndpoint(f"http://127.0.0.1:{model}/v1", "scripted"),
        concurrency=Concurrency(),
        access=Access(default="Allow", token_review=False),
        data_folder=str(folder / "data"),
    )


def _start(folder: Path, model: Served, options: argparse.Namespace) -> tuple[Start, float]:
    """What was seen, and the CPU seconds of the process, which counts for no child while it runs."""
    with _agent(folder, model.port) as agent, client(model.port) as bare, client(agent.port) as runs:
        idle = agent.process.rss_mb
        whole, streamed = (_pairs(agent.process, bare, runs, options.pairs, stream=each) for each in (False, True))
        for number in range(options.sessions * _TURNS):
            runs.chat(session=f"session-{number % options.sessions}")
        kept = len(json.loads(bare.get("/body"))["messages"])
        if kept < 2 * _TURNS - 1:
            raise ClusterError(f"the model was told {kept} messages in a turn of number {_TURNS}: no session was kept")
        found = Start(agent.seconds, idle, whole, streamed, agent.process.rss_mb)
        return found, agent.process.cpu_seconds


def _pairs(agent: Process, bare: Client, runs: Client, count: int, *, stream: bool) -> Pairs:
    for _ in range(_WARM_UP):
        bare.chat(stream=stream)
        runs.chat(stream=stream)
    seen: dict[Client, list[float]] = {bare: [], runs: []}
    before = agent.cpu_seconds
    for number in range(count):
        for each in (bare, runs) if number % 2 else (runs, bare):
            seen[each].append(each.chat(stream=stream))
    return Pairs(seen[bare], seen[runs], 1000 * (agent.cpu_seconds - before) / count)


@contextmanager
def _model(folder: Path) -> Iterator[Served]:
    (port,) = free_ports(1)
    words = [sys.executable, "-m", "e2e.support.scripted"]
    with _served("model", words, folder, port, "/health", {"HOST": "127.0.0.1", "PORT": str(port)}) as found:
        yield found


@contextmanager
def _agent(folder: Path, model: int) -> Iterator[Served]:
    (port,) = free_ports(1)
    file = folder / "agent.json"
    file.write_text(settings(model, folder).to_json(), encoding="utf-8")
    words = [sys.executable, "-m", "agentfleet", "runtime", "--config", str(file)]
    with _served("agent", [*words, "--host", "127.0.0.1", "--port", str(port)], folder, port, "/readyz", {}) as found:
        yield found


@contextmanager
def _served(
    name: str, words: Sequence[str], folder: Path, port: int, path: str, more: dict[str, str]
) -> Iterator[Served]:
    """A process for the block, once it answers there with 200."""
    folders = os.pathsep.join((str(_REPOSITORY), str(_REPOSITORY / "operator")))
    environment = {**without_proxies(os.environ), "PYTHONPATH": folders, **more}
    began = time.monotonic()
    with running(name, words, folder, environment) as process:

        def answers() -> bool:
            process.expect_running()
            with client(port) as asked:
                try:
                    asked.get(path)
                except (OSError, HTTPException, ClusterError):
                    return False
            return True

        wait_until(answers, f"{name} answers", timeout=_START_TIMEOUT, interval=0.01, hint=process.log_tail)
        yield Served(process, port, time.monotonic() - began)


def _own_seconds(model: Served) -> float:
    """CPU seconds of the benchmark and the model; agents are counted one by one."""
    return cpu_seconds(os.getpid()) + model.process.cpu_seconds
