"""``bench reconcile``: what does the operator cost beside a bare client that makes the same writes?

In each round ModelServers are created while an operator runs, and the bare client creates as many in another namespace
and writes their children and status itself; which goes first alternates. Both are timed by the API server's audit log,
from the arrival of the first create to the answer to the last write, so both include the creation of the ModelServers.
They have no pods (replicas 0), and no controllers run: at the rate that they are allowed they would come later anyway,
and their writes would make the two more alike than they are. Memory, steady state, restart and latency are measured
with the last round's ModelServers there, and with controllers.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass

from e2e.bench import client
from e2e.bench.control_plane import ControlPlane, control_plane
from e2e.bench.laboratory import BARE, Converged, Laboratory
from e2e.bench.operator_process import NAMESPACE, OPERATOR, Operator, operator
from e2e.bench.report import Figure, Report, percentile
from e2e.cluster.progress import step

_SMALL = 100
_SMALL_ROUNDS = 3
_SINGLES = 200
_MINUTE = 60.0
_MUCH_LOAD = 15
"""Percent of the machine in other hands, from where on times tell more about those than about the operator."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Smaller numbers are for trying the benchmark out; names of figures follow them."""
    parser.add_argument("--objects", type=int, default=1000, metavar="N", help="ModelServers at once (default 1000)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="rounds with that many (default 2)")
    parser.add_argument("--steady", type=float, default=60, metavar="SECONDS", help="steady state (default 60)")


def measure(options: argparse.Namespace) -> Report:
    """Run everything."""
    with control_plane((OPERATOR, BARE)) as plane:
        return asyncio.run(_measure(plane, options))


async def _measure(plane: ControlPlane, options: argparse.Namespace) -> Report:
    count = options.objects
    report = Report(
        "reconcile",
        goals={
            f"converge_ratio_{count}": 1.5,
            "create_p50_ms": 100,
            "steady_writes_per_minute": 0,
            "restart_writes": 0,
            "restart_noop_applies": 0,
            f"rss_mb_{count}": 120,
        },
    )
    async with client.connect(plane, BARE) as connection:
        laboratory = Laboratory(plane, connection)
        await laboratory.install_crds()
        await laboratory.namespace(NAMESPACE)
        bench = _Bench(laboratory, report, options)
        await bench.quiet()
        await bench.rounds(_SMALL, _SMALL_ROUNDS)
        await bench.rounds(count, options.rounds, then_live=True)
    load = report.values[f"other_load_percent_{count}"].highest
    if load > _MUCH_LOAD:
        report.notes.append(
            f"others took up to {load:.0f} % of the machine: trust the ratio of CPU times, not of times"
        )
    return report


@dataclass
class _Bench:
    lab: Laboratory
    report: Report
    options: argparse.Namespace

    async def rounds(self, count: int, rounds: int, *, then_live: bool = False) -> None:
        """Converge ``count`` ModelServers both ways, ``rounds`` times; the very last thing is the operator's."""
        bare, operated = [], []
        for number in range(rounds):
            name = f"{count}-{number}"
            # Which goes first alternates, for what grows with time in an API server.
            if (rounds - number) % 2:
                bare.append(await self._bare(name, count))
                operated.append(await self._operated(name, count, then_live=then_live and number == rounds - 1))
            else:
                operated.append(await self._operated(name, count))
                bare.append(await self._bare(name, count))
        self._record(count, bare, operated)

    async def _bare(self, name: str, count: int) -> Converged:
        with step(f"bare client, {count} ModelServers"):
            result = await self.lab.by_bare_client(f"bare-{name}", count)
        await self.quiet()
        return result

    async def _operated(self, name: str, count: int, *, then_live: bool = False) -> Converged:
        namespace = await self.lab.namespace(f"operated-{name}")
        async with operator(self.lab.plane, namespace) as running:
            with step(f"operator, {count} ModelServers"):
                result = await self.lab.by_operator(running, namespace, count)
            if then_live:
                await self._live(running, namespace)
        await self.lab.clear(namespace)
        await self.quiet()
        return result

    async def quiet(self) -> None:
        """Wait for what the control plane still has to do."""
        with step("control plane catches up"):
            await self.lab.wait_quiet()

    def _record(self, count: int, bare: list[Converged], operated: list[Converged]) -> None:
        pairs = list(zip(operated, bare, strict=True))
        self.report.ratios |= {
            f"converge_ratio_{count}": Figure.of(*(ours.seconds / theirs.seconds for ours, theirs in pairs)),
            f"cpu_ratio_{count}": Figure.of(*(ours.cpu / theirs.cpu for ours, theirs in pairs)),
        }
        self.report.values |= {
            f"converge_s_{count}": Figure.of(*(each.seconds for each in operated)),
            f"bare_s_{count}": Figure.of(*(each.seconds for each in bare)),
            f"operator_cpu_s_{count}": Figure.of(*(each.meter.writer_cpu for each in operated)),
            f"bare_cpu_s_{count}": Figure.of(*(each.meter.writer_cpu for each in bare)),
            f"operator_plane_cpu_s_{count}": Figure.of(*(each.meter.plane_cpu for each in operated)),
            f"bare_plane_cpu_s_{count}": Figure.of(*(each.meter.plane_cpu for each in bare)),
            f"other_load_percent_{count}": Figure.of(*(each.meter.other_load for each in (*operated, *bare))),
        }

    async def _live(self, running: Operator, namespace: str) -> None:
        """Memory and steady state with the ModelServers of ``namespace``, then a crash, a restart, and some more."""
        count = self.options.objects
        values = self.report.values
        with self.lab.plane.controllers():
            await self.quiet()
            await running.wait_idle()
            values[f"rss_mb_{count}"] = Figure.of(running.process.rss_mb)
            # one more was made before the clock ran
            values["writes_per_object"] = Figure.of(len(self.lab.writes(namespace)) / (count + 1))
            await self._steady(running, namespace)
            running.process.kill()
            await self._restart(namespace, count)

    async def _steady(self, running: Operator, namespace: str) -> None:
        values = self.report.values
        seconds = self.options.steady
        cpu = running.process.cpu_seconds
        before = await self.lab.snapshot(namespace)
        with step(f"steady state, {seconds:.0f} s"):
            await asyncio.sleep(seconds)
        writes, noops = await self.lab.since(before)
        per_minute = _MINUTE / seconds
        values["steady_writes_per_minute"] = Figure.of(writes * per_minute)
        values["steady_noop_applies_per_minute"] = Figure.of(noops * per_minute)
        values["steady_cpu_s_per_minute"] = Figure.of((running.process.cpu_seconds - cpu) * per_minute)

    async def _restart(self, namespace: str, count: int) -> None:
        values = self.report.values
        before = await self.lab.snapshot(namespace)
        started = time.monotonic()
        async with operator(self.lab.plane, namespace) as running:
            values["restart_warm_s"] = Figure.of(time.monotonic() - started)
            with step("restart"):
                await running.wait_reconciled(count)
                values["restart_reconciled_s"] = Figure.of(time.monotonic() - started)
                await self.lab.wait_quiet()
            writes, noops = await self.lab.since(before)
            values["restart_writes"] = Figure.of(writes)
            values["restart_noop_applies"] = Figure.of(noops)
            values[f"restart_rss_mb_{count}"] = Figure.of(running.process.rss_mb)
            with step(f"{_SINGLES} ModelServers, one at a time"):
                latencies = [1000 * await self.lab.create_one(namespace, f"single-{n}") for n in range(_SINGLES)]
        values["create_p50_ms"] = Figure.of(percentile(latencies, 50))
        values["create_p99_ms"] = Figure.of(percentile(latencies, 99))
