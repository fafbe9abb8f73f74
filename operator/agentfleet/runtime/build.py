"""Puts one agent together from its configuration: the only place that knows every part.

Whatever is opened here is closed with the exit stack that is given, in the reverse order.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from agentfleet.runtime import compaction, environment, framework, identity, sessions, wire_responses
from agentfleet.runtime.a2a_server import A2A
from agentfleet.runtime.access import AccessCheck, effective_mode
from agentfleet.runtime.audit import AuditLog
from agentfleet.runtime.cgroup import Cgroup
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.guardrails import Guards
from agentfleet.runtime.health import Check, Health
from agentfleet.runtime.history import History
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.model import Model
from agentfleet.runtime.monitor import Monitor
from agentfleet.runtime.runs import Runs
from agentfleet.runtime.server import Parts, application, caller_of
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.token_review import Reviewer
from agentfleet.runtime.tools.records import ToolRecord
from agentfleet.runtime.tools.toolbox import Toolbox
from agentfleet.runtime.types import Caller, Runner, Task
from agentfleet.runtime.window import Window

_TIER = "x-agentroute-tier"


@dataclass(frozen=True)
class Process:
    """What main.py runs."""

    app: ASGIApp
    gate: Gate
    health: Health
    monitor: Monitor
    cut_off: Callable[[], None]
    """Ends the runs that are under way."""
    before_stop: Callable[[], Awaitable[None]]
    """Ends what runs of their own accord, A2A's tasks, once no run is left."""


@dataclass(frozen=True)
class _ToolRecords:
    audit: AuditLog
    metrics: Metrics

    def tool(self, record: ToolRecord) -> None:
        self.audit.tool(record)
        self.metrics.tool(record)


async def build(config: AgentConfig, stack: AsyncExitStack, cgroup: Cgroup) -> Process:
    """Everything but the loop that serves it."""
    clock = time.monotonic
    strain, metrics, window = Strain(), Metrics(), Window(clock)
    gate = Gate(config.concurrency, strain, clock)
    metrics.watch(gate, window.completion)
    audit = _audit(config)
    stack.callback(audit.close)
    metrics.audit(audit.chain, lambda: audit.head)
    sign = _signer(config)
    toolbox = Toolbox(config, _ToolRecords(audit, metrics), sign)
    stack.push_async_callback(toolbox.close)
    await toolbox.start()
    runner, checks = _runner(config, toolbox, strain, sign)
    stack.push_async_callback(runner.close)
    store = sessions.open_store(
        config.session,
        owner=f"{config.namespace}/{config.name}",
        compact=compaction.compactor(config.session, _summarizer(runner)),
        clock=time.time,
    )
    stack.push_async_callback(store.close)
    access = _access(config, audit)
    stack.push_async_callback(access.close)
    guards = Guards(config.guardrails, audit.guardrail)
    runs = Runs(config, runner, gate, guards, store, audit, (metrics.run, window.run), clock)
    checks = {**checks, "sessions": store.ready}
    health = Health(checks, clock, partial(metrics.health, tuple(checks)))
    history = History(Path(config.data_folder))
    monitor = Monitor(config.monitoring, strain, gate, window, metrics, history, clock, cgroup)
    parts = Parts(
        config,
        runs.run,
        access,
        health,
        metrics,
        notes=toolbox.problems,
        alerts=lambda: monitor.alerts,
        tools=lambda: toolbox.tools,
        changed=environment.watched(Path(config.environment_folder)),
    )
    a2a = A2A(config, runs.run, caller_of(access), lambda: toolbox.tools)
    routes = await _other_protocols(parts, a2a, stack)
    return Process(application(parts, routes), gate, health, monitor, runs.cut_off, a2a.close)


async def _other_protocols(parts: Parts, a2a: A2A, stack: AsyncExitStack) -> list[BaseRoute]:
    config, caller = parts.config, caller_of(parts.access)
    routes: list[BaseRoute] = []
    if config.protocols.responses:
        routes += wire_responses.routes(config, parts.run, caller)
    if config.protocols.a2a:
        routes += a2a.routes()
    if config.protocols.mcp:
        from agentfleet.runtime.mcp_server import Mcp  # noqa: PLC0415 # 23 MB of memory, where it is served alone

        mcp = Mcp(config, parts.run, caller)
        await stack.enter_async_context(mcp.running())
        routes += mcp.routes()
    return routes


def _runner(
    config: AgentConfig, toolbox: Toolbox, strain: Strain, sign: Callable[[Caller], str] | None
) -> tuple[Runner, dict[str, Check]]:
    """What answers, and what /readyz asks of it, by name."""
    headers = partial(_model_headers, config, strain, sign)
    if config.orchestration is not None:
        from agentfleet.runtime.orchestration import OrchestrationRunner  # noqa: PLC0415 # likewise

        team = OrchestrationRunner(config, config.orchestration, partial(instructions, config), sign, headers)
        return team, {"members": team.ready}
    if config.model is None:
        raise ValueError("the agent has neither a model nor an orchestration")
    if config.monitoring.capture_content and config.privacy.mode == "Standard":
        framework.capture_content()
    model = Model(config.model, partial(_own_headers, config, sign))
    agent = framework.FrameworkRunner(
        config, model, partial(instructions, config), lambda: toolbox.tools, toolbox.ready, headers, toolbox.unknown
    )
    return agent, {"model": model.ready, "tools": toolbox.ready}


def _model_headers(
    config: AgentConfig, strain: Strain, sign: Callable[[Caller], str] | None, task: Task
) -> dict[str, str]:
    """What goes with the calls of the model. A route is told for whom, as it takes privacy mode and budgets from it."""
    headers = dict(task.headers)
    if config.model is None or not config.model.routed:
        return headers
    if (tier := strain.tier()) is not None:
        headers[_TIER] = tier
    if sign is not None:
        headers[identity.HEADER] = sign(task.caller)
    return headers


def _own_headers(config: AgentConfig, sign: Callable[[Caller], str] | None) -> dict[str, str]:
    """What goes with the agent's own questions: whether the model is there."""
    if config.model is None or not config.model.routed or sign is None:
        return {}
    return {identity.HEADER: sign(Caller(f"agent:{config.namespace}/{config.name}"))}


def instructions(config: AgentConfig) -> str:
    """The agent's role, and the mounted ones, read anew as their ConfigMap may change, or the configuration's."""
    file = config.instructions_file
    text = config.instructions if file is None else Path(file).read_text(encoding="utf-8").strip()
    return f"Your role: {config.role}.\n\n{text}".strip() if config.role else text


def _summarizer(runner: Runner) -> Callable[[str], Awaitable[str]] | None:
    return runner.summarize if isinstance(runner, framework.FrameworkRunner) else None


def _signer(config: AgentConfig) -> Callable[[Caller], str] | None:
    """How calls of other agents and of routes say for whom they are; None where the namespace has no key.

    The mode is the stricter of the caller's and the agent's own.
    """
    file = config.access.identity_key_file
    if file is None:
        return None

    def sign(caller: Caller) -> str:
        mode = effective_mode(config.privacy.mode, caller)
        return identity.sign(identity.keys(Path(file))[0], replace(caller, mode=mode), time.time())

    return sign


def _audit(config: AgentConfig) -> AuditLog:
    file = config.access.identity_key_file
    key = identity.keys(Path(file))[0] if file else None
    return AuditLog(config, folder=Path(config.data_folder), key=key, out=sys.stdout.buffer, clock=time.time)


def _access(config: AgentConfig, audit: AuditLog) -> AccessCheck:
    reviewer = Reviewer.in_cluster(config.access.audience, time.time) if config.access.token_review else None
    return AccessCheck(config.access, reviewer=reviewer, refused=audit.refused, clock=time.time)
