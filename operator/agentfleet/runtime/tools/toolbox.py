"""From spec.tools to the tools that the model has: connects sources, names what they offer, puts the rules before each.

Used by main.py and by whatever runs the agent. A source that is away takes only its own tools with it; what is wrong
with one is told by `ready` and `problems`, never found out by a client's run.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agentfleet.runtime import proof
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.config_tools import AgentTool, HttpTool, McpTool, PythonTool, ToolEntry
from agentfleet.runtime.tools import approval, contain, naming, offline, schema
from agentfleet.runtime.tools.http import HttpSource
from agentfleet.runtime.tools.pipeline import BoundTool, Counts, Rules, task_of, timeout_of
from agentfleet.runtime.tools.records import Invocation, Offer, Outcome, Source, ToolAudit, ToolRecord
from agentfleet.runtime.types import Caller, Mode, RunError, Tool, ToolCall, ToolError

_LONGEST_DESCRIPTION = 2000


class Toolbox:
    """All tools of one agent."""

    def __init__(self, config: AgentConfig, audit: ToolAudit, sign: Callable[[Caller], str] | None = None) -> None:
        """`sign` gives the value of x-agentfleet-identity for calls of other agents."""
        self._limits = config.limits
        self._rules = Rules(config.limits, audit, Counts())
        data = Path(config.data_folder)
        me = f"{config.namespace}/{config.name}"
        proofs = partial(_proof, sign, config.privacy.mode)
        self._sources = [_source(entry, data, proofs, me) for entry in config.tools]
        self._queues = {
            source.entry.name: self._queue(source, data)
            for source in self._sources
            if source.entry.when_offline == "Queue"
        }
        self._seen: list[tuple[Offer, ...]] | None = None
        self._tools: tuple[Tool, ...] = ()
        self._left_out: tuple[str, ...] = ()
        self._misfits: tuple[str, ...] = ()
        self._too_many: dict[str, str] = {}

    async def start(self) -> None:
        """Begin to connect, and to send what waits from before; returns at once."""
        await asyncio.gather(*(source.start() for source in self._sources))
        await asyncio.gather(*(queue.start() for queue in self._queues.values()))

    async def close(self) -> None:
        """End sessions and give connections back."""
        await asyncio.gather(*(queue.close() for queue in self._queues.values()))
        await asyncio.gather(*(source.close() for source in self._sources))

    async def ready(self) -> None:
        """RunError 503 names the entries of spec.tools that cannot be used, and why."""
        self._refresh()
        missing = {source.entry.name: why for source in self._sources if (why := source.missing())} | self._too_many
        if missing:
            told = "; ".join(f"{entry}: {why}" for entry, why in missing.items())
            raise RunError(503, "tools_unavailable", f"Tools are not available: {told}.", retry_after=5)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What the model has now. Changes when servers change: ask for each run."""
        self._refresh()
        return self._tools

    def problems(self) -> tuple[str, ...]:
        """What the agent's owner should repair, though the rest works: broken functions, tools that are left out."""
        self._refresh()
        told = [f"{source.entry.name}: {problem}" for source in self._sources for problem in source.problems()]
        return (*told, *self._left_out, *self._misfits)

    async def call(self, call: ToolCall) -> str:
        """Call a tool by its name; ToolError where there is none, as models make names up."""
        for tool in self.tools:
            if tool.name == call.tool:
                return await tool.call(call)
        known = ", ".join(tool.name for tool in self.tools) or "none"
        self.unknown(call)
        raise ToolError(f"There is no tool of that name. There are: {known}.")

    def unknown(self, call: ToolCall) -> None:
        """Writes down a call of a tool that there is not."""
        length = len(json.dumps(dict(call.arguments), ensure_ascii=False, default=str))
        record = ToolRecord(call.task, naming.fitting(call.tool), "", "refused", "unknown", input_length=length)
        self._rules.audit.tool(record)

    def _refresh(self) -> None:
        offers = [source.offers() for source in self._sources]
        if self._seen is not None and all(new is old for new, old in zip(offers, self._seen, strict=True)):
            return
        usable, self._left_out, self._too_many = naming.choose([source.entry.name for source in self._sources], offers)
        by_name = {source.entry.name: source for source in self._sources}
        names = naming.unique(usable)
        self._tools = tuple(
            self._bound(name, offer, by_name[entry]) for name, (entry, offer) in zip(names, usable, strict=True)
        )
        unfit = [(source.entry, approval.misfits(source.entry, _names(source))) for source in self._sources]
        self._misfits = tuple(
            f"{entry.name}: approval.tools names {', '.join(names)}, which it does not have: all its calls wait"
            for entry, names in unfit
            if names
        )
        self._seen = offers

    def _bound(self, name: str, offer: Offer, source: Source) -> Tool:
        shown = Offer(
            offer.name,
            contain.clean(offer.description, _LONGEST_DESCRIPTION),
            _described(offer.parameters),
        )
        queue = self._queues.get(source.entry.name)
        return BoundTool(
            name,
            shown,
            source,
            approval=approval.waits(source.entry, offer.name, _names(source)),
            rules=self._rules,
            check=schema.checker(offer.parameters),
            keep=None if queue is None else queue.put,
        )

    def _queue(self, source: Source, data: Path) -> offline.Queue:
        async def send(kept: offline.Kept) -> str:
            try:
                async with asyncio.timeout(timeout_of(source.entry, self._limits)):
                    return await source.call(Invocation(kept.tool, kept.arguments, task_of(kept), kept.key))
            except TimeoutError as error:
                raise ToolError("no answer in time; whether it was done is not known") from error

        def told(kept: offline.Kept, outcome: Outcome, reason: str) -> None:
            self._rules.audit.tool(
                ToolRecord(task_of(kept), kept.known_as, source.entry.name, outcome, "queue" if reason else "")
            )

        return offline.Queue(data / "queue" / source.entry.name, send, told)


def _proof(sign: Callable[[Caller], str] | None, own: Mode, use: AgentTool) -> proof.Proof:
    return proof.by_token(Path(use.token_file), own) if use.token_file else proof.signed(sign)


def _source(entry: ToolEntry, data: Path, proofs: Callable[[AgentTool], proof.Proof], me: str) -> Source:
    """Libraries are loaded where they are used: mcp alone costs an agent without such tools 20 MB and half a second."""
    listed = data / "tools" / f"{entry.name}.json" if entry.when_offline == "Queue" else None
    match entry.use:
        case McpTool() as use:
            from agentfleet.runtime.tools.mcp import McpSource  # noqa: PLC0415

            return McpSource(entry, use.url, include=use.include, exclude=use.exclude, headers=use.headers, kept=listed)
        case PythonTool() as use:
            from agentfleet.runtime.tools.python_source import PythonSource  # noqa: PLC0415

            return PythonSource(entry, f"http://127.0.0.1:{use.port}/mcp", kept=listed)
        case HttpTool() as use:
            return HttpSource(entry, use)
        case AgentTool() as use:
            from agentfleet.runtime.tools.agents import AgentSource  # noqa: PLC0415

            return AgentSource(entry, use, proofs(use), me)


def _names(source: Source) -> list[str]:
    return [offer.name for offer in source.offers()]


def _described(part: Any) -> Any:
    """A schema whose descriptions, which the model reads, are as contained as results."""
    if isinstance(part, Mapping):
        return {
            key: contain.clean(value, _LONGEST_DESCRIPTION)
            if key in {"description", "title"} and isinstance(value, str)
            else _described(value)
            for key, value in part.items()
        }
    return [_described(item) for item in part] if isinstance(part, list) else part
