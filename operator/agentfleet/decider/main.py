"""`agentfleet decider`: how the parts are put together. No logic.

HAProxy ── /decide, /chat, /v1/batch-chat, /health ──▶ Service ── /v1/chat/completions ──▶ HAProxy
   │ audit lines (ring → Unix socket) ──▶ Requests, Budgets ── budgets.map ──▶ HAProxy (admin socket)
mounted Secrets ──▶ Rotation ── maps ──▶ HAProxy;   operator, other gateways ──▶ Page
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from agentfleet import logs
from agentfleet.decider.admin import AdminSocket
from agentfleet.decider.audit import Audit, Line
from agentfleet.decider.budgets import Budgets
from agentfleet.decider.chat import Chat
from agentfleet.decider.classifier import Classifier
from agentfleet.decider.decide import Decide
from agentfleet.decider.demand import Meter
from agentfleet.decider.families import Parts, Requests
from agentfleet.decider.ledger import Ledger
from agentfleet.decider.missing import Missing
from agentfleet.decider.options import parse, paths_of
from agentfleet.decider.page import Page
from agentfleet.decider.paths import Paths
from agentfleet.decider.prepare import NotPrepared, prepare
from agentfleet.decider.rotation import LoadedMap, Rotation
from agentfleet.decider.service import Service
from agentfleet.decider.spending import Spending, read_kept
from agentfleet.gateway.decider_config import DeciderConfig
from agentfleet.gateway.types import Policy
from agentfleet.running import run_until

log = logging.getLogger(__name__)

STOP_TIMEOUT = 0.3
"""Seconds that open requests get on SIGTERM: HAProxy, which is stopped first, has none left."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM, or prepares and ends; returns the exit code."""
    options = parse(argv)
    logs.configure(options.log_level)
    paths = paths_of(options)
    setup = Setup.read(paths, options.name)
    if options.prepare:
        return _prepare(setup)
    asyncio.run(_run(setup, Ports(options.port, options.page_address, options.page_port, options.loopback)))
    return 0


@dataclass(frozen=True)
class Ports:
    """Where to listen, and where HAProxy does."""

    decider: int
    page_address: str
    page: int
    loopback: str


@dataclass(frozen=True)
class Setup:
    """What was read before anything runs."""

    paths: Paths
    policy: Policy
    config: DeciderConfig
    gateway: str

    @classmethod
    def read(cls, paths: Paths, gateway: str) -> "Setup":
        """Both files of the operator."""
        policy = Policy.from_json(paths.policy.read_text(encoding="utf-8"))
        config = DeciderConfig.from_json(paths.decider.read_text(encoding="utf-8"))
        return cls(paths, policy, config, gateway)

    def budgets(self, ledger: Ledger) -> Budgets:
        """The route's budgets over a ledger."""
        names = {target.id: target.name for target in self.policy.targets}
        costs = {names[cost.target]: cost for cost in self.config.costs}
        return Budgets(self.config.budgets, costs, ledger, _now)

    def peers(self, port: int) -> tuple[str, ...]:
        """Pages of the other gateways, all on one port, where there is something to ask for."""
        others = [peer.address for peer in self.config.peers if peer.name != self.gateway]
        return tuple(f"http://{_host(address)}:{port}" for address in others if self.config.budgets)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _now() -> datetime:
    return datetime.now(UTC)


def _prepare(setup: Setup) -> int:
    ledger = Ledger(setup.gateway)
    read_kept(ledger, setup.paths.budgets, _now())
    try:
        prepare(setup.paths, setup.budgets(ledger).spent())
    except NotPrepared as error:
        log.error("%s", error)
        return 1
    return 0


async def _run(setup: Setup, ports: Ports) -> None:
    """Builds everything and runs it until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)  # what may run at once is bounded where it is asked for
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),  # one caller's cookies are nobody else's
            )
        )
        await run_until(stop, _serve(setup, ports, session, stack))


async def _serve(setup: Setup, ports: Ports, session: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    paths, policy, config = setup.paths, setup.policy, setup.config
    admin = AdminSocket(paths.admin_socket)
    meter = Meter(admin, [target.id for target in policy.targets])
    rotation = Rotation(paths, admin)
    classifier = Classifier(config, session)
    chat = Chat(policy, session, ports.loopback, paths.decider_map.read_text(encoding="utf-8").split()[0])
    ledger, requests = Ledger(setup.gateway), Requests()
    budgets = setup.budgets(ledger)
    spending = Spending(ledger, budgets, LoadedMap(paths.budgets_map, admin), setup.peers(ports.page), session, _now)
    # Before the first line is counted: others may know what this gateway had counted when it was stopped.
    spending.start_from(paths.budgets)
    await spending.ask_peers()
    audit = Audit(_each(requests.take, budgets.take))
    await stack.enter_async_context(audit.listening(paths.audit_socket))
    missing = Missing(paths.audited, audit, admin)
    parts = Parts(
        paths, policy, config.demand, setup.gateway, meter, requests, audit, missing, ledger, rotation, classifier, chat
    )
    await _listen(stack, Service(policy, Decide(classifier), chat, meter).application(), "127.0.0.1", ports.decider)
    await _listen(stack, Page(parts).application(), ports.page_address, ports.page)
    log.info("serving: decider on port %d, page on port %d", ports.decider, ports.page)
    async with asyncio.TaskGroup() as group:
        group.create_task(classifier.start())
        group.create_task(rotation.run())
        group.create_task(spending.run())
        group.create_task(missing.run())


def _each(*takers: Callable[[Line], None]) -> Callable[[Line], None]:
    def take(line: Line) -> None:
        for taker in takers:
            taker(line)

    return take


async def _listen(stack: AsyncExitStack, application: web.Application, host: str, port: int) -> None:
    # A caller that leaves takes its call with it: HAProxy then frees the place at the target.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_TIMEOUT)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()
