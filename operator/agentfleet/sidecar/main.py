"""`agentfleet sidecar`: the arguments, and how the parts are put together. No logic."""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from agentfleet import logs
from agentfleet.durations import parse_duration
from agentfleet.sidecar.engines.base import Engine, Sampler, local_client
from agentfleet.sidecar.engines.llamacpp import LlamaCpp
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.engines.vllm import VLLM
from agentfleet.sidecar.library import Library, LibraryOptions, Served
from agentfleet.sidecar.server import Routes
from agentfleet.sidecar.supervisor import Models, Supervisor
from agentfleet.sidecar.telemetry import Telemetry
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


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with code 2 and one line on stderr when they are wrong."""
    parser = argparse.ArgumentParser(prog="agentfleet sidecar", description="Runs beside an engine in its pod.")
    parser.add_argument("--engine", required=True, choices=(*READERS, "Ollama"))
    parser.add_argument("--engine-port", required=True, type=int, metavar="N", help="the engine's port on 127.0.0.1")
    parser.add_argument("--port", type=int, default=9901, help="own port (default: %(default)s)")
    parser.add_argument("--dns-delay", type=_seconds, default=35.0, help="/drain waits this long before it looks")
    parser.add_argument("--drain-timeout", type=_seconds, default=120.0, help="/drain waits this long for idle")
    parser.add_argument(
        "--state-dir", type=Path, default=Path("/models/.agentfleet"), help="folder of the loader's progress.json"
    )
    parser.add_argument("--api-key-file", type=Path, help="file with the engine's API key")
    parser.add_argument(
        "--serve",
        type=_served,
        action="append",
        default=[],
        metavar="SOURCE=ALIAS",
        help="a model and its id in the OpenAI API; pulled where the engine is Ollama",
    )
    parser.add_argument(
        "--keep-alive", type=_keep_alive, default="5m", help="Ollama keeps an idle model so long; -1: always"
    )
    parser.add_argument("--preload", action="store_true", help="ready only when every model is in memory (Ollama)")
    parser.add_argument("--insecure-registry", action="store_true", help="pull over plain HTTP too (Ollama)")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    options = parser.parse_args(argv)
    if options.engine == "Ollama" and not options.serve:
        parser.error("--engine Ollama needs at least one --serve SOURCE=ALIAS: without it nothing would ever be served")
    if options.engine != "Ollama" and len(options.serve) > 1:
        parser.error(f"--engine {options.engine} serves one model, but --serve is given {len(options.serve)} times")
    if options.api_key_file is not None and not options.api_key_file.is_file():
        parser.error(f"--api-key-file {options.api_key_file}: no such file")
    return options


async def run(options: argparse.Namespace) -> None:
    """Builds everything and runs it until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    telemetry = Telemetry()
    async with local_client(options.engine_port, options.api_key_file) as client:
        engine, models = _parts(options, client, telemetry)
        supervisor = Supervisor(options.engine, engine, models)
        routes = Routes(
            supervisor=supervisor,
            sampler=Sampler(engine),
            models=models,
            telemetry=telemetry,
            dns_delay=options.dns_delay,
            drain_timeout=options.drain_timeout,
        )
        runner = web.AppRunner(routes.application(), access_log=None, shutdown_timeout=STOP_TIMEOUT)
        await runner.setup()
        try:
            await web.TCPSite(runner, "0.0.0.0", options.port).start()  # noqa: S104 - kubelet and the operator ask from outside
            await _until(stop, supervisor.run())
        finally:
            await runner.cleanup()


def _parts(options: argparse.Namespace, client: httpx.AsyncClient, telemetry: Telemetry) -> tuple[Engine, Models]:
    if options.engine != "Ollama":
        name = options.serve[0].alias if options.serve else options.engine
        return READERS[options.engine](client), Weights(name, options.state_dir)
    ollama = Ollama(client, options.engine_port)
    library = LibraryOptions(
        preload=options.preload, keep_alive=options.keep_alive, insecure_registry=options.insecure_registry
    )
    return ollama, Library(ollama, options.serve, library, telemetry.pulled)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until `stop`; an error of `work` comes out at once."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _seconds(text: str) -> float:
    """`35`, `0.5` (seconds) or a Go duration (`35s`, `2m`)."""
    try:
        return float(text)
    except ValueError:
        return _duration(text)


def _keep_alive(text: str) -> str | int:
    """Ollama takes a duration as a string and plain seconds, such as -1 for always, only as a number."""
    try:
        return int(text)
    except ValueError:
        _duration(text)
        return text


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _served(text: str) -> Served:
    """A source may hold `=` (a query string); an alias never does."""
    source, _, alias = text.rpartition("=")
    if not source or not alias:
        raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=ALIAS, for example smollm2:135m=small")
    return Served(source, alias)
