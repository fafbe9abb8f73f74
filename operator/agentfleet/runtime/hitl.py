"""Approvals over A2A, in the payload that kagent's extension defines, so that its clients can answer ours. Pure.

A paused task is `input-required`, and the message of its status carries a request under the extension's URI; the answer
is a message on the same context, which carries one decision for each call. Words are never a decision.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentfleet.runtime.types import Approval, Verdict

URI = "https://kagent.dev/extensions/hitl/v1"
DESCRIPTION = "Pauses in input-required with a tool_approval_request; answer with a tool_approval_response."


class Malformed(Exception):
    """An answer that decides nothing; the text says what is wrong, for the client."""


def request(approvals: Sequence[Approval], hint: str = "") -> dict[str, Any]:
    """Metadata of the message of a paused task."""
    tools = [{"id": each.id, "call_id": each.id, "name": each.tool, "args": _args(each)} for each in approvals]
    return {URI: {"type": "tool_approval_request", "hint": hint or question(approvals), "tools": tools}}


def question(approvals: Sequence[Approval]) -> str:
    """The same for a person."""
    return f"Approve the call of {', '.join(each.tool for each in approvals)}?"


def response(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Metadata of the message that answers."""
    decisions = [
        {"id": each.id, "approved": each.approved} | ({"rejection_reason": each.reason} if each.reason else {})
        for each in verdicts
    ]
    return {URI: {"type": "tool_approval_response", "approvals": decisions}}


def approvals(metadata: Mapping[str, Any]) -> tuple[Approval, ...]:
    """What a paused task waits for; nothing where it carries no request of this kind."""
    payload = metadata.get(URI)
    if not isinstance(payload, Mapping) or payload.get("type") != "tool_approval_request":
        return ()
    return tuple(
        Approval(str(tool["id"]), str(tool.get("name", "")), json.dumps(tool.get("args", {})))
        for tool in payload.get("tools", ())
        if isinstance(tool, Mapping) and tool.get("id")
    )


def verdicts(metadata: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """The decisions that a message carries; nothing where it carries no payload at all, Malformed where it is wrong."""
    payload = metadata.get(URI)
    if payload is None:
        return ()
    if not isinstance(payload, Mapping) or payload.get("type") != "tool_approval_response":
        raise Malformed(f"{URI}: type must be tool_approval_response")
    decisions = payload.get("approvals")
    if not isinstance(decisions, Sequence) or isinstance(decisions, str) or not decisions:
        raise Malformed(f"{URI}: approvals must be a list with one decision for each call")
    return tuple(_verdict(each) for each in decisions)


def undecided(wanted: Iterable[Approval], given: Sequence[Verdict]) -> str:
    """What is wrong with `given` as an answer to `wanted`; empty where it decides each call exactly once."""
    ids, answered = [each.id for each in wanted], [each.id for each in given]
    problems = {
        "not decided": [each for each in ids if each not in answered],
        "not waiting": [each for each in answered if each not in ids],
        "decided twice": sorted({each for each in answered if answered.count(each) > 1}),
    }
    return "; ".join(f"{problem}: {', '.join(which)}" for problem, which in problems.items() if which)


def _verdict(decision: object) -> Verdict:
    if not isinstance(decision, Mapping) or not isinstance(decision.get("id"), str):
        raise Malformed(f"{URI}: each of approvals needs an id")
    if not isinstance(decision.get("approved"), bool):
        raise Malformed(f"{URI}: approved of {decision['id']} must be true or false")
    return Verdict(decision["id"], decision["approved"], str(decision.get("rejection_reason") or ""))


def _args(approval: Approval) -> dict[str, Any]:
    """As an object, which the payload asks for; a model may have written anything."""
    try:
        parsed = json.loads(approval.arguments or "{}")
    except ValueError:
        parsed = approval.arguments
    return parsed if isinstance(parsed, dict) else {"arguments": parsed}
