"""Approvals that a session waits for: kept in its state, decided one by one, resumed when all are. Pure.

The framework has its own record of them in the session and resumes only what stands there; this one is for clients:
which ids are open, what was said so far, and what is unknown. Requests are the framework's, as plain JSON.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentfleet.runtime.tools.contain import clean
from agentfleet.runtime.types import Approval, RunError, Verdict

_KEY = "approvals"
_REASONS = "rejections"
_MOST_REASON = 1000
"""Characters of one."""
_MOST_REASONS = 20
"""Of one session: the latest, since what is older is compacted."""


def keep(state: dict[str, Any], requests: Sequence[Mapping[str, Any]]) -> tuple[Approval, ...]:
    """Note what the run waits for."""
    state[_KEY] = [{"request": dict(request), "approved": None} for request in requests]
    return tuple(_approval(request) for request in requests)


def clear(state: dict[str, Any]) -> None:
    """They are decided, or the conversation went on without them: the framework then drops the calls."""
    state.pop(_KEY, None)


def waiting(state: Mapping[str, Any]) -> tuple[Approval, ...]:
    """Those that nobody has decided yet."""
    return tuple(_approval(entry["request"]) for entry in state.get(_KEY, []) if entry["approved"] is None)


def settle(state: dict[str, Any], verdicts: Sequence[Verdict]) -> tuple[Approval, ...]:
    """Note `verdicts`; what is still open. RunError(409) where an id is not waited for, and nothing is noted then."""
    kept: list[dict[str, Any]] = state.get(_KEY, [])
    waiting = {entry["request"]["id"]: entry for entry in kept if entry["approved"] is None}
    unknown = [verdict.id for verdict in verdicts if verdict.id not in waiting]
    if unknown or not kept:
        what = f"approval {unknown[0]!r} is not waited for" if unknown else "no approval is waited for"
        raise RunError(409, "unknown_approval", f"In this session {what}: decided already, or not of this caller.")
    for verdict in verdicts:
        waiting[verdict.id]["approved"] = verdict.approved
    _remember(state, verdicts)
    return tuple(_approval(entry["request"]) for entry in kept if entry["approved"] is None)


def decided(state: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Requests and what was said, once nothing is open."""
    return ((entry["request"], bool(entry["approved"])) for entry in state.get(_KEY, []))


def reasons(state: Mapping[str, Any]) -> Mapping[str, str]:
    """Why calls were rejected, by the id of the approval: the framework has no place for it, and models ask for it."""
    kept: dict[str, str] = state.get(_REASONS, {})
    return kept


def _remember(state: dict[str, Any], verdicts: Sequence[Verdict]) -> None:
    said = {
        verdict.id: clean(verdict.reason[:_MOST_REASON], _MOST_REASON)
        for verdict in verdicts
        if verdict.reason and not verdict.approved
    }
    if said:
        state[_REASONS] = dict([*reasons(state).items(), *said.items()][-_MOST_REASONS:])


def _approval(request: Mapping[str, Any]) -> Approval:
    call = request["function_call"]
    arguments = call.get("arguments") or "{}"
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return Approval(str(request["id"]), str(call["name"]), text)
