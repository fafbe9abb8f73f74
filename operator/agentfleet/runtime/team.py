"""One run's dealings with the members of an orchestration: whom it asked, what that cost, who failed."""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from agentfleet.runtime.conversation import Conversation
from agentfleet.runtime.members import LoopError, MemberError, Remote
from agentfleet.runtime.types import Delta, Done, Event, Failure, Finish, RunError, Task, Usage, Verdict, Wanted

log = logging.getLogger(__name__)


class Team:
    """The members, for the time of one run."""

    def __init__(self, remotes: Mapping[str, Remote], conversation: Conversation, task: Task) -> None:
        self.conversation = conversation
        self._remotes = remotes
        self._task = task
        self.spent = Usage()
        self.finish: Finish = "stop"
        """Of the last answer."""
        self.failed: list[str] = []

    async def ask(
        self, member: str, text: str, verdicts: Sequence[Verdict] = (), *, stream: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Its text, and Wanted where it pauses; what it said and how to go on is kept. MemberError."""
        thread = self.conversation.thread(member)
        images = () if verdicts or not self._task.turns else self._task.turns[-1].images
        said: list[str] = []
        try:
            remote = self._remotes[member]
            asking = remote.ask(text, self._task, thread, images=images, verdicts=verdicts, stream=stream)
            async with aclosing(asking) as events:
                async for event in events:
                    match event:
                        case Delta():
                            said.append(event.text)
                            yield event
                        case Wanted():
                            self.conversation.wait(member, event.approvals)
                            yield event
                        case Done():
                            self.spent += event.usage
                            self.finish = event.finish
        except MemberError as error:
            self.failed.append(member)
            log.warning("a member gave no answer: %s", error, extra={"key": self._task.id})
            raise
        self.conversation.keep(member, thread)
        self.conversation.said(member, "".join(said))
        self.conversation.caught_up(member)

    async def whole(self, member: str, text: str) -> str:
        """Its answer at once, where a pause has no place: MemberError for one that asks for an approval."""
        said: list[str] = []
        async with aclosing(self.ask(member, text)) as events:
            async for event in events:
                match event:
                    case Delta():
                        said.append(event.text)
                    case Wanted():
                        self.failed.append(member)
                        raise MemberError(f"agent {member} waits for an approval, which this pattern does not hand on")
        return "".join(said)


def as_run_error(error: MemberError) -> RunError:
    """A circle of agents is told as it is, since it has to be changed; anything else is a failure as of a model."""
    if isinstance(error, LoopError):
        return RunError(508, "agent_loop", str(error))
    return Failure(502, "member_failed", str(error))
