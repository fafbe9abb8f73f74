"""What an orchestration remembers of a session: what was said by whom, and how it speaks with each member. Pure.

Members keep sessions of their own, so each is told what it has not heard yet, and nothing twice. It lives in the
session's state as JSON; without a session it begins anew with every run, and members get the whole conversation.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from agentfleet.runtime.members import Thread
from agentfleet.runtime.types import Approval, RunError, Turn, Verdict

_KEY = "orchestration"
_MOST_TURNS = 40
_RECENT = 4
_CUT = 500
_USER = "user"


class Conversation:
    """A view on a session's state, which it changes in place."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._kept: dict[str, Any] = state.setdefault(
            _KEY, {"turns": [], "dropped": 0, "heard": {}, "threads": {}, "current": None, "waiting": None}
        )

    @property
    def current(self) -> str | None:
        """The member that is in charge: it answered last."""
        current: str | None = self._kept["current"]
        return current

    @current.setter
    def current(self, member: str) -> None:
        self._kept["current"] = member

    def begin(self, turns: Sequence[Turn]) -> None:
        """A request has come; calls that waited for a decision are given up."""
        self._kept["waiting"] = None
        for turn in turns:
            if turn.role != "system" or [turn.role, turn.text] not in self._kept["turns"]:  # clients repeat these
                self.said(turn.role, turn.text)

    def said(self, who: str, text: str) -> None:
        """Somebody spoke: a role of the client's, or a member."""
        turns = self._kept["turns"]
        turns.append([who, text])
        dropped = max(0, len(turns) - _MOST_TURNS)
        del turns[:dropped]
        self._kept["dropped"] += dropped

    def recent(self) -> str:
        """The last turns, cut, for who only has to see what it is about."""
        return _lines([(who, text[:_CUT]) for who, text in self._kept["turns"][-_RECENT:]])

    def tell(self, member: str) -> str:
        """What `member` has not heard, as one text; from now on it has."""
        return transcript(self.unheard(member))

    def unheard(self, member: str) -> list[tuple[str, str]]:
        """Who said what since `member` was told last; what it said itself is left out."""
        heard = max(0, self._kept["heard"].get(member, 0) - self._kept["dropped"])
        self.caught_up(member)
        return [(who, text) for who, text in self._kept["turns"][heard:] if who != member]

    def caught_up(self, member: str) -> None:
        """It knows all that was said."""
        self._kept["heard"][member] = self._kept["dropped"] + len(self._kept["turns"])

    def thread(self, member: str) -> Thread:
        """How we speak with `member`; `keep` it afterwards."""
        kept = self._kept["threads"].get(member) or {"context": uuid.uuid4().hex}
        return Thread(kept["context"], kept.get("task"), tuple(kept.get("told", ())))

    def keep(self, member: str, thread: Thread) -> None:
        """For the next turn."""
        self._kept["threads"][member] = asdict(thread) | {"told": list(thread.told)}

    def wait(self, member: str, approvals: Sequence[Approval]) -> None:
        """`member` has paused for these."""
        self._kept["waiting"] = {"member": member, "open": [asdict(each) for each in approvals], "given": []}

    @property
    def waiting(self) -> tuple[Approval, ...]:
        """What nobody has decided yet."""
        waiting = self._kept["waiting"] or {"open": []}
        return tuple(Approval(**each) for each in waiting["open"])

    def settle(self, verdicts: Sequence[Verdict]) -> tuple[str, tuple[Approval, ...], tuple[Verdict, ...]]:
        """The member that waits, what is still open, and all that was decided; RunError(409) for what nobody asked."""
        waiting = self._kept["waiting"] or {"member": "", "open": [], "given": []}
        open_ids = {each["id"] for each in waiting["open"]}
        if not verdicts or (unknown := next((each.id for each in verdicts if each.id not in open_ids), None)):
            what = f"approval {unknown!r} is not waited for" if verdicts else "no decision was sent"
            raise RunError(409, "unknown_approval", f"In this session {what}: decided already, or not of this caller.")
        decided = {each.id for each in verdicts}
        waiting["open"] = [each for each in waiting["open"] if each["id"] not in decided]
        waiting["given"] += [asdict(each) for each in verdicts]
        if not waiting["open"]:
            self._kept["waiting"] = None
        still = tuple(Approval(**each) for each in waiting["open"])
        return waiting["member"], still, tuple(Verdict(**each) for each in waiting["given"])


def transcript(said: Sequence[tuple[str, str]]) -> str:
    """As a message for a member: a lone request as it is, anything longer with who said what."""
    if not said:
        return ""
    *before, (who, text) = said
    if not before and who == _USER:
        return text
    if who == _USER:
        return f"The conversation so far:\n{_lines(before)}\n\nAnswer this:\n{text}"
    return f"The conversation so far:\n{_lines(said)}\n\nIt is your turn: answer the user, with what others have said."


def _lines(said: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{who}: {text}" for who, text in said)
