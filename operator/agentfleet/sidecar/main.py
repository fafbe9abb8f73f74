"""`agentfleet sidecar`: how the parts are put together. No logic."""

import argparse
import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence

import httpx
from aiohttp import web

from agentfleet import logs
from agentfleet.running import run_until
from agentfleet.sidecar.adapters import Adapters
from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.download import Downloads, Reach
from agentfleet.sidecar.engines.base import Engine, Sampler, local_client
from agentfleet.sidecar.engines.llamacpp import LlamaCpp
from agentfleet.sidecar.engines.loras import Loras
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.engines.vllm import VLLM
from agentfleet.sidecar.holding import Holding
from agentfleet.sidecar.idle import IdleUnloader
from agentfleet.sidecar.library import Library, LibraryOptions
from agentfleet.sidecar.network import Network
from agentfleet.sidecar.options import parse
from agentfleet.sidecar.server import Routes
from agentfleet.sidecar.speed import SpeedProbe
from agentfleet.sidecar.supervisor import Models, Supervisor
from agentfleet.sidecar.telemetry import Telemetry
from agentfleet.sidecar.updates import UpdateClock
from agentfleet.sidecar.usage import Lease
from agentfleet.sidecar.warmup import REQUESTS, WarmUp
from agentfleet.sidecar.weights import Weights

READERS: dict[str, Callable[[httpx.AsyncClient], Engine]] = {"VLLM": VLLM, "LlamaCpp": LlamaCpp}
"""Engines that read their weights from disk. Ollama is the other kind: it has to be told what to serve."""

STOP_TIMEOUT = 0.3
"""Seconds that open requests get on SIGTERM, twice. The engine has ended by then: they are probes and scrapes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; returns the exit code."""
    options = parse(argv)
    logs.configure(options.log_level)
    asyncio.run(run(options))
    return 0


async def run(options: argparse.Namespace) -> None:
    """Builds everything and runs it until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    telemetry = Telemetry()
    async with local_client(options.engine_port, options.api_key_file) as client:
        network = Network(options.engine_port)
        engine, models, companions = _parts(options, client, network, telemetry)
        sampler = Sampler(engine)
        if isinstance(engine, Ollama):
            companions.append(_speed(options, engine, sampler, telemetry))
        supervisor = Supervisor(options.engine, engine, models, network, companions)
        routes = Routes(
            supervisor=supervisor,
            sampler=sampler,
            models=models,
            telemetry=telemetry,
            dns_delay=options.dns_delay,
            drain_timeout=options.drain_timeout,
            stop_token=options.stop_token,
            leave_delay=options.leave_delay,
        )
        runner = web.AppRunner(routes.application(), access_log=None, shutdown_timeout=STOP_TIMEOUT)
        await runner.setup()
        try:
            await web.TCPSite(runner, "0.0.0.0", options.port).start()  # noqa: S104 - kubelet and the operator ask from outside
            await run_until(stop, supervisor.run())
        finally:
            await runner.cleanup()


def _parts(
    options: argparse.Namespace, client: httpx.AsyncClient, network: Network, telemetry: Telemetry
) -> tuple[Engine, Models, list[Companion]]:
    """The engine's client, its models, and what else there is to do, in the order in which it is reported."""
    if options.engine == "Ollama":
        ollama = Ollama(client, network)
        library = _library(options, ollama, telemetry)
        companions = [*_warm_up(options, client), *_rotation(options, ollama, library, network, telemetry)]
        return ollama, library, companions
    companions = [*_warm_up(options, client), *_adapters(options, client), *_holding(options)]
    name = options.serve[0].alias if options.serve else options.engine
    weights = Weights(name, options.state_dir, expects_loader=options.expects_loader)
    return READERS[options.engine](client), weights, companions


def _library(options: argparse.Namespace, ollama: Ollama, telemetry: Telemetry) -> Library:
    library = LibraryOptions(
        preload=options.preload, keep_alive=options.keep_alive, insecure_registry=options.insecure_registry
    )
    return Library(ollama, options.serve, library, telemetry.pulled, telemetry.updated)


def _warm_up(options: argparse.Namespace, client: httpx.AsyncClient) -> Iterator[Companion]:
    if options.warm_up in REQUESTS:
        yield WarmUp(client, options.warm_up, options.warm_up_timeout)


def _rotation(
    options: argparse.Namespace, ollama: Ollama, library: Library, network: Network, telemetry: Telemetry
) -> Iterator[Companion]:
    if options.idle:
        yield IdleUnloader(ollama, network, options.idle, telemetry.unloaded)
    if options.schedule:
        yield UpdateClock(options.schedule, library.keepers)


def _speed(options: argparse.Namespace, ollama: Ollama, sampler: Sampler, telemetry: Telemetry) -> Companion:
    goes_when_idle = bool(options.idle) or options.keep_alive != -1
    probe = SpeedProbe(ollama, sampler, once=goes_when_idle)
    telemetry.show_probes(lambda: probe.probes)
    return probe


def _adapters(options: argparse.Namespace, client: httpx.AsyncClient) -> Iterator[Companion]:
    if options.adapters_file:
        scheme = options.serve[0].source.partition("://")[0] if options.serve else None
        reach = Reach(options.credentials_dir, options.endpoint, options.ca_bundle, scheme)
        yield Adapters(options.adapters_file, options.adapters_dir, Loras(client), Downloads(reach))


def _holding(options: argparse.Namespace) -> Iterator[Companion]:
    if options.model_dir:
        yield Holding(Lease(options.model_dir))
