"""The two patterns that the framework cannot run over remote members: Intent and Handoff, as a loop over A2A.

Intent: one member answers each request, picked by selection.py; its text streams through, its approvals too.

Handoff: one member is in charge, at first the first of the list, and stays so over the turns of a session. Its answer
hands over by the word handoff_to_NAME; until it is known that it does not, its text is held back. A member may hand
back once; the same step a second time is a circle, and ends the run with an error, as do more than maxRounds steps.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise

from agentfleet.runtime.config import Member
from agentfleet.runtime.conversation import Conversation
from agentfleet.runtime.selection import Selector
from agentfleet.runtime.team import Team
from agentfleet.runtime.types import Decided, Delta, Done, RunError, Step, Task, Verdict, Wanted

_MARKER = re.compile(r"\bhandoff_to_([\w-]+)")


async def intent(team: Team, selector: Selector, task: Task) -> AsyncGenerator[Step, None]:
    """Answer with the member that fits, or go on with the one that waited for a decision."""
    if task.verdicts:
        waited = team.conversation.waiting
        resumed = _resumed(team.conversation, task)
        yield Decided.of(waited, task.verdicts)
        if isinstance(resumed, Wanted):
            yield resumed
            yield Done("approval")
            return
        name, verdicts = resumed
        asking = team.ask(name, "", verdicts, stream=task.stream)
    else:
        conversation, text = team.conversation, task.turns[-1].text if task.turns else ""
        before = conversation.recent()
        conversation.begin(task.turns)
        member = await selector.for_request(text, before, conversation.current, task)
        conversation.current = member.name
        asking = team.ask(member.name, conversation.tell(member.name), stream=task.stream)
    async with aclosing(asking) as events:
        async for event in events:
            yield event
    yield Done(team.finish, team.spent + selector.spent)


async def handoff(team: Team, members: Sequence[Member], max_rounds: int, task: Task) -> AsyncGenerator[Step, None]:
    """Answer with the member in charge, or with the one that it hands over to."""
    conversation = team.conversation
    verdicts: tuple[Verdict, ...] = ()
    name = conversation.current if conversation.current in {m.name for m in members} else members[0].name
    if task.verdicts:
        waited = conversation.waiting
        resumed = _resumed(conversation, task)
        yield Decided.of(waited, task.verdicts)
        if isinstance(resumed, Wanted):
            yield resumed
            yield Done("approval")
            return
        name, verdicts = resumed
    else:
        conversation.begin(task.turns)
    path = [name or members[0].name]
    while True:
        said: list[str] = []
        wanted: list[Wanted] = []
        text = "" if verdicts else f"{conversation.tell(path[-1])}\n\n{offer(members, path[-1])}"
        async with aclosing(team.ask(path[-1], text, verdicts)) as events:
            async for event in events:
                match event:
                    case Delta():
                        said.append(event.text)
                    case Wanted():
                        wanted.append(event)
        answer, verdicts = "".join(said), ()
        target = None if wanted else target_of(answer, members, path[-1])
        if target is None:
            conversation.current = path[-1]
            yield Delta(answer)
            for each in wanted:
                yield each
            yield Done(team.finish, team.spent)
            return
        path.append(target)
        check(path, max_rounds)


def offer(members: Sequence[Member], me: str) -> str:
    """What a member is told of the others."""
    others = "\n".join(f"- {member.name}: {member.description}" for member in members if member.name != me)
    return (
        "(If another agent is better suited, hand over to it: answer with handoff_to_NAME and nothing else. "
        f"NAME is one of:\n{others})"
    )


def target_of(answer: str, members: Sequence[Member], me: str) -> str | None:
    """Who an answer hands over to; None where it names nobody that it could."""
    names = {_plain(member.name): member.name for member in members if member.name != me}
    return next((names[_plain(found)] for found in _MARKER.findall(answer) if _plain(found) in names), None)


def check(path: Sequence[str], max_rounds: int) -> None:
    """RunError where the steps of `path` go round in a circle, or are too many."""
    steps = list(pairwise(path))
    if len(set(steps)) < len(steps):
        raise RunError(508, "handoff_cycle", f"The agents hand over in a circle: {' -> '.join(path)}.")
    if len(steps) >= max_rounds:
        raise RunError(508, "handoff_rounds", f"No answer after {max_rounds} rounds: {' -> '.join(path)}.")


def _plain(name: str) -> str:
    """As models write names of tools: with underscores, and a hyphen at the end of a sentence."""
    return name.casefold().replace("_", "-").strip("-")


def _resumed(conversation: Conversation, task: Task) -> Wanted | tuple[str, tuple[Verdict, ...]]:
    member, still_open, verdicts = conversation.settle(task.verdicts)
    return Wanted(still_open) if still_open else (member, verdicts)
