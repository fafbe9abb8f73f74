"""``python -m e2e.bench.loop_process``: the scaling loop alone in a process, measured from within.

It is the operator's own loop with its scraper, controllers and history, in a process that has loaded all of the
operator. Reconcile is not there: it is only counted how often it would have been woken. With ``--bare`` there is no
loop either: the same requests are sent, and their answers read and thrown away. Each window's figures are one line of
JSON on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import importlib
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import yarl

from agentfleet.autoscale.samples import EngineSample, Replica, Tick
from agentfleet.cache import Cache
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.metrics import Metrics
from agentfleet.monitor.engines import VLLM
from agentfleet.monitor.history import INTERVAL as HALF_MINUTE
from agentfleet.monitor.history import KEPT, History
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.scrape import Scraper
from agentfleet.objects import FIELD_MANAGER, GROUP, MANAGED_BY, MODEL_SERVER_LABEL, VERSION, Key, Manifest
from agentfleet.planning.scaling_goal import goal_of
from agentfleet.planning.scaling_types import Standing
from agentfleet.resources.modelserver import ModelServer
from e2e.bench.meter import machine_seconds
from e2e.bench.process import cpu_seconds
from e2e.bench.sidecars import address

_INTERVAL = 5.0
_REVISION = "r1"
_LAG_PROBE = 0.02
_AT_ONCE = 100


class Fleet:
    """The ModelServers and their pods."""

    def __init__(self, servers: int, replicas: int) -> None:
        self.replicas = replicas
        self.keys = [Key("ModelServer", f"team-{number % 20}", f"chat-{number:04}") for number in range(servers)]
        self.created = datetime.now(UTC)

    def standing(self, key: Key) -> Standing:
        """What reconcile would say of it."""
        server = ModelServer.from_manifest(
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "ModelServer",
                "metadata": {"name": key.name, "namespace": key.namespace, "uid": str(key), "generation": 1},
                "spec": {
                    "engine": "VLLM",
                    "model": {"uri": "hf://acme/chat-7b@main"},
                    "replicas": self.replicas,
                    "scaling": {"mode": "Apply", "minReplicas": self.replicas, "maxReplicas": 8},
                },
            }
        )
        return Standing(
            uid=server.uid,
            spec=server.spec,
            mode="Apply",
            wanted=self.replicas,
            revision=_REVISION,
            goal=goal_of(server),
            gpus=1,
            max_running=256.0,
        )

    def names(self, key: Key) -> list[str]:
        """Its replicas."""
        return [f"{key.name}-r1-{number}" for number in range(self.replicas)]

    def pods(self) -> list[Manifest]:
        """All pods, each where a sidecar of sidecars.py listens."""
        places = [(key, name) for key in self.keys for name in self.names(key)]
        return [self._pod(key, name, address(number)) for number, (key, name) in enumerate(places)]

    def _pod(self, key: Key, name: str, ip: str) -> Manifest:
        created = self.created.isoformat(timespec="seconds").replace("+00:00", "Z")
        labels = {MANAGED_BY: FIELD_MANAGER, MODEL_SERVER_LABEL: key.name, REVISION_LABEL: _REVISION}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": key.namespace,
                "uid": f"{key.namespace}-{name}",
                "resourceVersion": "1",
                "creationTimestamp": created,
                "labels": labels,
            },
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
        }


class Window:
    """Reads CPU, memory and how long others in this process had to wait, from its making until ``figures``."""

    def __init__(self, beside: int) -> None:
        """`beside`: the process of the sidecars, whose work is not the machine's other load."""
        self._beside = beside
        self._began = time.monotonic()
        self._cpu = time.process_time()
        self._machine = self._machine_cpu()
        self._lags: list[float] = []
        self._probe = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_PROBE
            await asyncio.sleep(_LAG_PROBE)
            self._lags.append(loop.time() - due)

    def _machine_cpu(self) -> float:
        """CPU seconds of everybody but the sidecars."""
        busy, _ = machine_seconds()
        return busy - cpu_seconds(self._beside)

    def figures(self) -> dict[str, Any]:
        """What was read."""
        self._probe.cancel()
        cpu, seconds = time.process_time() - self._cpu, time.monotonic() - self._began
        lags = sorted(self._lags)
        others = (self._machine_cpu() - self._machine - cpu) / seconds / len(os.sched_getaffinity(0))
        return {
            "other_load_percent": 100 * max(0.0, others),
            "cores": cpu / seconds,
            "rss_mb": _rss_mb(),
            "lag_p99_ms": 1000 * lags[int(0.99 * len(lags))],
            "lag_max_ms": 1000 * lags[-1],
        }


class TimedLoop(ScalingLoop):
    """The loop, which also notes when its ticks begin and end."""

    ticks: list[tuple[float, float]]

    async def tick(self) -> None:
        began = time.monotonic()
        await super().tick()
        self.ticks.append((began, time.monotonic()))


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmRSS in /proc/self/status")


def _fill(history: History, fleet: Fleet) -> None:
    """A history as it is after a day: as many samples of each replica as are kept.

    To record them all takes minutes. So it is done once for each of the moments at which servers complete a sample, and
    the others get copies, which takes a look into History.
    """
    models: dict[int, Any] = {}
    servers = history._servers
    for key in fleet.keys:
        history.record(key, _tick(time.time() - KEPT * HALF_MINUTE, fleet.names(key), 0))
        phase = servers[key].phase
        if phase not in models:
            for sample in range(1, KEPT + 1):
                now = time.time() - (KEPT - sample) * HALF_MINUTE
                history.record(key, _tick(now, fleet.names(key), sample + phase))
            models[phase] = servers[key]
        else:
            servers[key] = copy.deepcopy(models[phase])
            servers[key].replicas = dict(zip(fleet.names(key), servers[key].replicas.values(), strict=True))


def _tick(now: float, names: list[str], salt: int) -> Tick:
    wave = float(salt * 7919 % 997)
    total = 1e6 + salt * 1000 + wave
    sample = EngineSample(
        at=now,
        started_at=1.0,
        running=wave,
        waiting=wave / 3,
        completed=total,
        failed=total / 50,
        prompt_tokens=total * 500,
        output_tokens=total * 200,
        rss=wave * 1e7,
        cpu_seconds=total,
    )
    return Tick(now, tuple(Replica(name, 0.0, ready=True) for name in names), dict.fromkeys(names, sample))


async def _looped(options: argparse.Namespace, stack: AsyncExitStack) -> AsyncIterator[dict[str, Any]]:
    fleet = Fleet(options.servers, options.replicas)
    cache = Cache()
    wakes: list[Key] = []
    began = _rss_mb()
    for pod in fleet.pods():
        cache.observe(pod)
    scraper = await stack.enter_async_context(Scraper(port=options.port))
    loop = TimedLoop(
        cache=cache,
        scraper=scraper,
        enqueue=lambda key, _delay: wakes.append(key),
        metrics=Metrics(),
        interval=_INTERVAL,
        budgets={},
    )
    loop.ticks = []
    for key in fleet.keys:
        loop.stands(key, fleet.standing(key))
    if options.fill:
        _fill(loop.observations.history, fleet)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(options.warm_up)
    for _ in range(options.windows):
        first, wakes[:] = len(loop.ticks), []
        window = Window(options.beside)
        await asyncio.sleep(options.seconds)
        if task.done():
            task.result()
        figures = window.figures()
        yield (
            figures
            | _ticks(loop.ticks[first:])
            | {
                "wakes_per_minute": len(wakes) * 60 / options.seconds,
                "grown_mb": figures["rss_mb"] - began,
                "seen_percent": 100 * _seen(loop) / (options.servers * options.replicas),
            }
        )
    task.cancel()
    await asyncio.wait({task})


def _ticks(ticks: list[tuple[float, float]]) -> dict[str, float]:
    begins = [began for began, _ in ticks]
    late = [after - before - _INTERVAL for before, after in pairwise(begins)]
    return {"tick_s": max(end - began for began, end in ticks), "tick_late_ms": 1000 * max(late)}


def _seen(loop: ScalingLoop) -> int:
    ticks = (each.tick for each in loop.watched)
    return sum(not sample.missing for tick in ticks if tick for sample in tick.engines.values())


async def _bare(options: argparse.Namespace, stack: AsyncExitStack) -> AsyncIterator[dict[str, Any]]:
    """The lower bound: aiohttp, some requests at a time, nothing looked at."""
    query = "names=" + ",".join(VLLM.names)
    count = options.servers * options.replicas
    urls = [yarl.URL(f"http://{address(n)}:{options.port}/engine?{query}", encoded=True) for n in range(count)]
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, trust_env=False))

    async def read_some(waiting: Iterator[yarl.URL]) -> None:
        for url in waiting:
            async with session.get(url) as answer:
                await answer.read()

    async def tick() -> None:
        waiting = iter(urls)
        await asyncio.gather(*(read_some(waiting) for _ in range(_AT_ONCE)))

    await tick()
    for _ in range(options.windows):
        window = Window(options.beside)
        for _ in range(max(1, round(options.seconds / _INTERVAL))):
            due = time.monotonic() + _INTERVAL
            await tick()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield window.figures()


async def _main(options: argparse.Namespace) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 16)), hard))
    async with AsyncExitStack() as stack:
        async for figures in (_bare if options.bare else _looped)(options, stack):
            print(json.dumps(figures), flush=True)


def main() -> None:
    """Measure, and end."""
    importlib.import_module("agentfleet.app")  # with all libraries of the operator: its memory is what counts
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.loop_process")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--beside", type=int, required=True, metavar="PID", help="process of the sidecars")
    parser.add_argument("--servers", type=int, required=True)
    parser.add_argument("--replicas", type=int, required=True)
    parser.add_argument("--windows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=0.0)
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--bare", action="store_true")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
