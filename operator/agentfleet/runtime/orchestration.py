"""Several agents behind one: the Runner of an Agent with spec.orchestration.

Sequential, Concurrent and GroupChat are the framework's workflows, with participants that ask remote members. Intent
and Handoff are in handoff.py, since the framework hands over within one process only. Answers of the framework's
patterns come whole, at the end, and their members may not pause for approvals.

Sequential: each member sees what the user and those before it said; the last one's answer is the answer, and one that
fails ends the run. Concurrent: all at once; the answers under the members' names, of those that gave one. GroupChat:
the model picks who speaks next and when it is enough, without a model each member speaks once; the last word is the
answer. Members that fail are logged; where nobody answered, the run is a failure.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from agent_framework import AgentResponse, AgentSession, Message
from agent_framework.orchestrations import ConcurrentBuilder, GroupChatBuilder, GroupChatState, SequentialBuilder

from agentfleet.runtime import handoff, members
from agentfleet.runtime.config import AgentConfig, Orchestration
from agentfleet.runtime.conversation import Conversation, transcript
from agentfleet.runtime.members import MemberError, Remote
from agentfleet.runtime.model import Model
from agentfleet.runtime.proof import signed
from agentfleet.runtime.selection import Selector
from agentfleet.runtime.team import Team, as_run_error
from agentfleet.runtime.types import Caller, Delta, Done, RunError, Step, Task

_ALL = ""
"""In the framework's patterns all members hear the same of earlier turns."""
_ENOUGH = "finish"
_NEXT = f"Who of these agents should speak next? Answer {_ENOUGH!r} once the request is answered."

log = logging.getLogger(__name__)


class OrchestrationRunner:
    """See types.Runner."""

    def __init__(
        self,
        config: AgentConfig,
        orchestration: Orchestration,
        instructions: Callable[[], str] = str,
        sign: Callable[[Caller], str] | None = None,
        model_headers: Callable[[Task], Mapping[str, str]] = lambda task: task.headers,
    ) -> None:
        """`instructions` are asked at each run, as files change; `model_headers` go with calls of our own model."""
        self._orchestration = orchestration
        self._instructions = instructions
        self._model_headers = model_headers
        self._model = Model(config.model) if config.model else None
        self._http = members.client(config.limits.timeout, [each.ca_file for each in orchestration.members])
        me = f"{config.namespace}/{config.name}"
        self._remotes = {
            each.name: Remote(each.name, each.url, self._http, signed(sign), me, config.limits.timeout)
            for each in orchestration.members
        }

    async def ready(self) -> None:
        """All members of a Sequential are needed, one of any other; a model that picks is a help, no need."""
        asked = await asyncio.gather(*(remote.ready() for remote in self._remotes.values()), return_exceptions=True)
        failed = [str(error) for error in asked if isinstance(error, MemberError)]
        if failed and (self._orchestration.pattern == "Sequential" or len(failed) == len(self._remotes)):
            raise RunError(503, "members_not_ready", "; ".join(failed))

    async def close(self) -> None:
        """Give connections back."""
        for remote in self._remotes.values():
            await remote.close()
        await self._http.aclose()
        if self._model:
            await self._model.close()

    async def run(self, task: Task, state: dict[str, Any]) -> AsyncGenerator[Step, None]:
        """As types.Runner has it."""
        listed = self._orchestration.members
        team = Team(self._remotes, Conversation(state), task)
        selector = Selector(self._model, listed, self._instructions(), self._model_headers)
        match self._orchestration.pattern:
            case "Intent":
                running = handoff.intent(team, selector, task)
            case "Handoff":
                running = handoff.handoff(team, listed, self._orchestration.max_rounds, task)
            case _:
                running = self._workflow(team, selector, task)
        try:
            async with aclosing(running) as events:
                async for event in events:
                    yield event
        except MemberError as error:
            raise as_run_error(error) from error

    async def _workflow(self, team: Team, selector: Selector, task: Task) -> AsyncGenerator[Step, None]:
        if task.verdicts:
            raise RunError(409, "unknown_approval", "In this session no approval is waited for.")
        team.conversation.begin(task.turns)
        said = [Message(*_spoken(who, text)) for who, text in team.conversation.unheard(_ALL)]
        rounds = _Rounds(self._orchestration, team, selector, task)
        await rounds.run(said)
        if rounds.error or not rounds.answers:
            raise rounds.error or MemberError("no member gave an answer")
        answer = rounds.answer()
        team.conversation.caught_up(_ALL)  # of the single answers; the next turn tells them this one
        team.conversation.said("assistant", answer)
        yield Delta(answer)
        yield Done("stop", team.spent + selector.spent)


class _Rounds:
    """One run of one of the framework's workflows, which keep state and so are built for each."""

    def __init__(self, orchestration: Orchestration, team: Team, selector: Selector, task: Task) -> None:
        self._pattern = orchestration.pattern
        self._names = [member.name for member in orchestration.members]
        self._max_rounds = orchestration.max_rounds
        self._team = team
        self._selector = selector
        self._task = task
        self._next: str | None = None
        self.answers: list[tuple[str, str]] = []
        self.error: MemberError | None = None
        """Why the run ends without an answer."""

    async def run(self, said: list[Message]) -> None:
        """Fills `answers`, or `error`."""
        participants: list[Any] = [_Participant(name, self) for name in self._names]
        if self._pattern == "Sequential":
            workflow = SequentialBuilder(participants=participants).build()
        elif self._pattern == "Concurrent":
            workflow = ConcurrentBuilder(participants=participants).with_aggregator(_no_aggregate).build()
        else:
            workflow = GroupChatBuilder(
                participants=participants,
                selection_func=self._speaker,
                termination_condition=self._is_enough,
                max_rounds=self._max_rounds,
            ).build()
        try:
            await workflow.run(said)
        except Exception:
            if self.error is None:
                raise

    def answer(self) -> str:
        """Of all that was said."""
        if self._pattern != "Concurrent":
            return self.answers[-1][1]
        given = dict(self.answers)
        return "\n\n".join(f"**{name}**\n{given[name]}" for name in self._names if name in given)

    async def ask(self, name: str, said: Sequence[Message]) -> str:
        """What a participant says; nothing where it fails and others can go on."""
        try:
            text = await self._team.whole(name, transcript([_heard(message) for message in said]))
        except MemberError as error:
            if self._pattern == "Sequential":
                self.error = error
                raise
            return ""
        self.answers.append((name, text))
        return text

    async def _is_enough(self, said: list[Message]) -> bool:
        """The framework asks this before it asks who speaks: both are one question to the model."""
        picked = await self._selector.pick(_NEXT, transcript([_heard(each) for each in said]), self._task, (_ENOUGH,))
        spoken = len(self.answers) + len(self._team.failed)
        if picked == _ENOUGH and self.answers:
            return True
        if picked in self._names:
            self._next = picked
            return False
        self._next = self._names[spoken % len(self._names)]
        return spoken >= len(self._names)  # nobody directs: each speaks once

    def _speaker(self, _: GroupChatState) -> str:
        return self._next or self._names[0]


class _Participant:
    """A remote member, as the framework knows agents."""

    def __init__(self, name: str, rounds: _Rounds) -> None:
        self.id = name
        self.name = name
        self.description: str | None = None
        self._rounds = rounds

    async def run(self, messages: Any = None, **_: Any) -> AgentResponse[Any]:
        """Workflows that do not stream, as ours, ask for the whole."""
        text = await self._rounds.ask(self.name, messages or [])
        return AgentResponse(messages=[Message("assistant", [text], author_name=self.name)])

    def create_session(self, *, session_id: str | None = None) -> AgentSession:
        """The framework's own; the conversation with the member is in the session's state."""
        return AgentSession(session_id=session_id)

    def get_session(self, service_session_id: Any, *, session_id: str | None = None) -> AgentSession:
        """As above."""
        return AgentSession(session_id=session_id, service_session_id=service_session_id)


def _no_aggregate(_: list[Any]) -> str:
    """Answers are kept as they come in."""
    return ""


def _spoken(who: str, text: str) -> tuple[str, list[str]]:
    return who if who in ("user", "system") else "assistant", [text]


def _heard(message: Message) -> tuple[str, str]:
    return message.author_name or message.role, message.text
