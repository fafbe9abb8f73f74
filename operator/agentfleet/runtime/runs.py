"""One run, from a Task to its Events: gate, guardrails, session, Runner, and what is written down about it.

Every protocol asks for runs here and nowhere else, so that limits, guardrails and audit hold for all of them. A run is
a task of its own: its time limit, its context variables and its cancellation do not depend on which task of the web
server reads the events. Closing the iteration cancels model and tools for real, and the place in the gate is free.

A failure that is not the caller's fault becomes the fallback reply, with status 200, as long as no text has gone out;
its cause is logged by the request id and counted. What the caller must act on stays an error: 400, 408, 409, 429, 503.
"""

import asyncio
import contextlib
import copy
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agentfleet.runtime import approvals, images
from agentfleet.runtime.access import effective_mode
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.hooks import Audit, Guards, Outcome, OutputFilter, Rejected, RunRecord, Session, Sessions
from agentfleet.runtime.judging import Judging
from agentfleet.runtime.sessions import WAIT
from agentfleet.runtime.turns import Turns
from agentfleet.runtime.types import Decided, Delta, Done, Event, Failure, Finish, RunError, Runner, Task, Usage, Wanted

log = logging.getLogger(__name__)

_DEEPEST = 5
"""Causes of an error that the log names."""
_AHEAD = 64
"""Events that a run may be ahead of a slow reader."""
_NOTHING_DONE = frozenset({"unknown_approval", "unknown_tool"})
"""Refusals before anything was done: approvals stay open."""
_OVERLOAD = frozenset({"queue_full", "queue_timeout", "shed", "out_of_memory", "shutting_down"})
_OUTCOMES: Final[dict[Finish, Outcome]] = {
    "approval": "approval",
    "content_filter": "filtered",
    "fallback": "fallback",
}

Observer = Callable[[Task, RunRecord], None]


@dataclass
class _Progress:
    """What is known of a run while it is under way."""

    begun: float
    task: Task
    """As it may be written down: nothing of what the client said before the input's guardrails have let it pass."""
    events: asyncio.Queue[Event | RunError] = field(default_factory=lambda: asyncio.Queue(_AHEAD))
    waited: float = 0.0
    usage: Usage = Usage()
    session: str | None = None
    text: list[str] = field(default_factory=list)
    reason: str = ""

    async def say(self, text: str) -> None:
        if text:
            self.text.append(text)
            await self.events.put(Delta(text))


class Runs:
    """All runs of this process."""

    def __init__(
        self,
        config: AgentConfig,
        runner: Runner,
        gate: Gate,
        guards: Guards,
        sessions: Sessions,
        audit: Audit,
        observers: Sequence[Observer],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._runner = runner
        self._gate = gate
        self._guards = guards
        self._sessions = sessions
        self._audit = audit
        self._observers = (audit.run, *observers)
        self._clock = clock
        self._judging = Judging()
        self._under_way: set[asyncio.Task[None]] = set()
        self._cut = False
        self._turns = Turns(WAIT)

    def cut_off(self) -> None:
        """The process ends: what is under way ends now, and its client is told."""
        self._cut = True
        for work in self._under_way:
            work.cancel()

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """The events of one run, Done last; RunError in its place. To be closed by who does not read to the end."""
        progress = _Progress(self._clock(), replace(task, turns=(), verdicts=()))
        work = asyncio.create_task(self._work(task, progress), name=f"run {task.id}")
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        try:
            while True:
                event = await progress.events.get()
                if isinstance(event, RunError):
                    raise event
                yield event
                if isinstance(event, Done):
                    return
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def _work(self, task: Task, progress: _Progress) -> None:
        """Puts exactly one Done or RunError at the end, after the place in the gate is free."""
        try:
            last = await self._outcome(task, progress)
        except asyncio.CancelledError:
            self._observe(task, progress, "cancelled", 499)
            if not self._cut:
                raise
            last = RunError(503, "shutting_down", "The agent is being stopped. Try again.", retry_after=1)
            await progress.events.put(last)
            return
        if isinstance(last, Done):
            self._observe(task, progress, _OUTCOMES.get(last.finish, "ok"), 200)
        else:
            progress.reason = last.code
            self._observe(task, progress, _outcome_of(last), last.status)
        await progress.events.put(last)

    async def _outcome(self, task: Task, progress: _Progress) -> Done | RunError:
        try:
            async with self._turns.one(task):
                return await self._timed(task, progress)
        except Failure as error:
            about = {"key": task.id, "reason": error.code}
            log.warning("a run failed: %s (%s)", error.message, _causes(error), extra=about)
            return await self._friendly(progress, error)
        except RunError as error:
            return error
        except Exception as error:
            about = {"key": task.id, "reason": "internal_error"}
            quiet = effective_mode(self._config.privacy.mode, task.caller) != "Standard"
            log.error("a run failed by a bug (%s)", _causes(error), extra=about, exc_info=None if quiet else error)
            return await self._friendly(progress, Failure(500, "internal_error", "The agent failed."))

    async def _friendly(self, progress: _Progress, error: RunError) -> Done | RunError:
        reply = self._config.fallback_reply
        if progress.text or not reply:
            return error  # half an answer is no answer: the client has to know
        progress.reason = error.code
        await progress.say(reply)
        return Done("fallback", progress.usage)

    async def _timed(self, task: Task, progress: _Progress) -> Done:
        images.check(task, effective_mode(self._config.privacy.mode, task.caller))
        limit = min(task.timeout or self._config.limits.timeout, self._config.limits.timeout)
        async with self._gate.enter(task.priority) as waited:
            progress.waited = waited
            try:
                async with asyncio.timeout(limit) as timer:
                    return await self._guarded(task, progress)
            except TimeoutError:
                if not timer.expired():
                    raise
                raise RunError(408, "run_timeout", f"The run did not end within {limit:g} s.") from None

    async def _guarded(self, task: Task, progress: _Progress) -> Done:
        checked = progress.task = await self._judging.done(self._guards.input, task, _length(task))
        async with self._session(checked) as session:
            progress.session = session.id if session else None
            state = session.state if session else {}
            async with _spent(session, checked):
                try:
                    with closing(self._guards.output(checked)) as output:
                        done, wanted = await self._answer(checked, state, output, progress)
                except Rejected as rejected:
                    progress.reason = str(rejected)
                    return Done("content_filter", progress.usage)
                if session:
                    await session.save()
            if wanted:
                kept = await self._keep(checked, state) if session is None else None
                self._audit.wanted(checked, wanted.approvals)
                await progress.events.put(Wanted(wanted.approvals, kept))
            return done

    async def _answer(
        self, task: Task, state: dict[str, Any], output: OutputFilter, progress: _Progress
    ) -> tuple[Done, Wanted | None]:
        wanted: Wanted | None = None
        done, spoken = Done(), 0
        async with aclosing(self._runner.run(task, state)) as events:  # type: ignore[type-var] # all are generators
            async for event in events:
                match event:
                    case Delta(text):
                        spoken += len(text)
                        await progress.say(await self._judging.done(output.feed, text, len(text)))
                    case Decided(decisions):
                        self._audit.decided(task, decisions)
                    case Wanted():
                        wanted = event
                    case Done():
                        done = event
                        progress.usage = event.usage
        if spoken or wanted is None:  # who only asks for an approval has not answered yet, so there is nothing to judge
            await progress.say(await self._judging.done(_ended, output, spoken))
        return (Done("length", done.usage) if output.cut and done.finish == "stop" else done), wanted

    @asynccontextmanager
    async def _session(self, task: Task) -> AsyncIterator[Session | None]:
        if task.session is None:
            yield None
            return
        async with self._sessions.open(task.caller, task.session) as session:
            yield session

    async def _keep(self, task: Task, state: dict[str, Any]) -> str:
        """A run of a client without a session waits in one of its own, whose id nobody can guess."""
        name = f"run-{uuid.uuid4().hex}"
        async with self._sessions.open(task.caller, name) as session:
            session.state.update(state)
            await session.save()
        return name

    def _observe(self, task: Task, progress: _Progress, outcome: Outcome, status: int) -> None:
        answer = "".join(progress.text)
        record = RunRecord(
            outcome=outcome,
            status=status,
            duration=self._clock() - progress.begun,
            waited=progress.waited,
            usage=progress.usage,
            input_characters=_length(task),
            output_characters=len(answer),
            session=progress.session,
            reason=progress.reason,
            answer=answer,
        )
        for observer in self._observers:
            observer(progress.task, record)


@asynccontextmanager
async def _spent(session: Session | None, task: Task) -> AsyncIterator[None]:
    """An approval is good for one try: a run that fails after it may have made the call, and must not make it again."""
    if session is None or not task.verdicts:
        yield
        return
    before = copy.deepcopy(session.state)
    saved = False
    try:
        yield
        saved = True
    except RunError as error:
        saved = error.code in _NOTHING_DONE
        raise
    finally:
        if not saved:
            approvals.clear(before)
            session.state = before
            with contextlib.suppress(RunError):  # the run's own error is the one to tell
                await session.save()


def _length(task: Task) -> int:
    return sum(len(turn.text) for turn in task.turns) + sum(len(verdict.reason) for verdict in task.verdicts)


def _ended(output: OutputFilter) -> str:
    return output.end()


def _causes(error: BaseException) -> str:
    """Types and statuses alone, whatever the mode: a provider's message may quote the conversation, or a key."""
    said: list[str] = []
    cause: BaseException | None = error.__cause__ or error
    while cause is not None and len(said) < _DEEPEST:
        status = getattr(cause, "status_code", None)
        said.append(f"{type(cause).__name__} {status}" if isinstance(status, int) else type(cause).__name__)
        cause = cause.__cause__
    return " from ".join(said)


def _outcome_of(error: RunError) -> Outcome:
    if error.code in _OVERLOAD or error.status == 429:
        return "overload"
    if error.status == 408:
        return "timeout"
    if error.code == "content_filter":
        return "filtered"
    return "refused" if error.status < 500 else "error"
