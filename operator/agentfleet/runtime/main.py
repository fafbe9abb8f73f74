"""`agentfleet runtime --config FILE`: serves one agent until SIGTERM, then lets the runs in flight end.

Being stopped: /readyz fails, who waits for a place is answered 503, no new run begins, and what is under way has
`drain_timeout` to end. The pod's preStop has waited for DNS before, so that nobody is sent here any more.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from agentfleet import logs
from agentfleet.runtime import guardrails, redaction, telemetry
from agentfleet.runtime.build import Process, build
from agentfleet.runtime.cgroup import ROOT, Cgroup
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.https import Certificate, PlainPort

log = logging.getLogger(__name__)

_LAST_ANSWERS = 5
"""Seconds for answers that are on their way when the last run has ended."""
_KEEP_ALIVE = 120
"""Longer than gateways keep idle connections, so that it is they who close them."""


class _Server(uvicorn.Server):
    """uvicorn, but for signals: those begin the drain."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called between any two instructions of the main thread."""
        self._loop.call_soon_threadsafe(self._stop.set)


def main(argv: Sequence[str]) -> int:
    """The command's exit code: 0 after a drain, 1 where the agent cannot be made."""
    options = _parser().parse_args(argv)
    logs.configure(options.log_level)
    try:
        config = AgentConfig.from_json(options.config.read_text(encoding="utf-8"))
        for rule in (*config.guardrails.input, *config.guardrails.output):
            guardrails.check(rule)
    except (OSError, ValueError) as error:  # pydantic's is a ValueError
        log.error("the configuration %s cannot be used: %s", options.config, error)
        return 1
    redaction.install(config)
    asyncio.run(serve(config, options.host, options.port, Cgroup(options.cgroup)))
    return 0


async def serve(config: AgentConfig, host: str, port: int, cgroup: Cgroup) -> None:
    """Until SIGTERM or SIGINT, and the drain after it."""
    async with AsyncExitStack() as stack:
        stack.callback(telemetry.start(config))
        process = await build(config, stack, cgroup)
        gc.freeze()  # what is made by now stays: the collector need not walk through it again and again
        stop = asyncio.Event()
        everywhere: Any = None  # asyncio then opens a socket for each family; for "::" it takes no IPv4
        listen = partial(_listening, host or everywhere, stop)
        certificate = Certificate(config.tls) if config.tls else None
        servers = [listen(process.app if certificate is None else PlainPort(process.app), port)]
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(process.monitor.run())]
            if config.tls and certificate:
                servers.append(listen(process.app, config.tls.port, certificate.context))
                beside.append(group.create_task(certificate.follow()))
            serving = [group.create_task(server.serve()) for server in servers]
            beside.append(group.create_task(_set(stop)))
            await asyncio.wait({*serving, *beside}, return_when=asyncio.FIRST_COMPLETED)
            await drain(process, config.drain_timeout)
            for server in servers:
                server.should_exit = True
            for task in beside:
                task.cancel()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def _listening(host: Any, stop: asyncio.Event, app: ASGIApp, port: int, tls: ssl.SSLContext | None = None) -> _Server:
    settings = uvicorn.Config(
        app, host=host, port=port, lifespan="off", log_config=None, access_log=False, server_header=False,
        backlog=2048, timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=_LAST_ANSWERS,
    )  # fmt: skip
    settings.load()
    settings.ssl = tls  # a context of ours, as uvicorn's own would never see a renewed certificate
    return _Server(settings, stop)


async def drain(process: Process, timeout: float) -> None:
    """Return once nothing runs, or the time is over."""
    log.info("being stopped: %d runs are under way, %d wait", process.gate.running, process.gate.waiting)
    process.health.draining = True
    process.gate.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await process.gate.emptied()
    if process.gate.running:
        log.warning("%d runs are cut off after %g s", process.gate.running, timeout)
        process.cut_off()
    await process.before_stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentfleet runtime", description="Serve one agent.")
    parser.add_argument("--config", type=Path, default=Path("/etc/agentfleet/agent.json"), help="agent.json")
    parser.add_argument("--host", default="", help="address to listen on (default: all, IPv6 and IPv4)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--cgroup", type=Path, default=ROOT, help="where this container's cgroup is mounted")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser
