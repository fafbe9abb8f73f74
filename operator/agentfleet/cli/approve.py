"""`approve`: says yes or no to the decision that waits for it, by an annotation, and waits for the operator's answer.

The annotation carries the decision's id, so that a yes can never be taken for a yes to something else.
"""

import asyncio
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agentfleet.cli import fleet
from agentfleet.cli.api import Api
from agentfleet.cli.output import answer, remark
from agentfleet.cli.server import Server, change_text
from agentfleet.cli.table import moment
from agentfleet.errors import AgentfleetError
from agentfleet.objects import APPROVE_ANNOTATION, REJECT_ANNOTATION

_PERIOD = 0.5


class NothingToApprove(AgentfleetError):
    """No decision waits, or not the one that was named."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a human says about a decision, and how."""

    reject: bool

    @property
    def annotations(self) -> tuple[str, str]:
        """The one to set and the one to remove: an earlier no must not stand beside a yes."""
        both = (APPROVE_ANNOTATION, REJECT_ANNOTATION)
        return (both[1], both[0]) if self.reject else both

    @property
    def word(self) -> str:
        return "rejected" if self.reject else "approved"

    @property
    def state(self) -> str:
        """The decision's state once the operator has taken it up."""
        return "Rejected" if self.reject else "Applied"


async def run(arguments: Namespace, api: Api) -> int:
    """Refuses where nothing waits, where it has expired, and where something else waits than what is named."""
    namespace = arguments.namespace or api.namespace
    verdict = Verdict(arguments.reject)
    server = await fleet.server(api, namespace, arguments.name)
    decision = waiting(server, arguments.id, datetime.now(UTC))
    said, unsaid = verdict.annotations
    body = {"metadata": {"annotations": {said: decision["id"], unsaid: None}}}
    await api.merge(fleet.path_of(namespace, server.name), body)
    state = await _outcome(api, server, decision["id"], arguments.wait)
    text = (
        f"{verdict.word} {decision['id']} of {namespace}/{server.name}: {change_text(decision)}. {decision['reason']}"
    )
    answer(arguments.output, text, {"id": decision["id"], "verdict": verdict.word, "state": state})
    if state != verdict.state and arguments.wait > 0:
        remark(
            f"warning: it is not {verdict.state} but {state} after {arguments.wait:g} s; see condition ScalingActive"
        )
    return 0


def waiting(server: Server, wanted: str | None, now: datetime) -> Mapping[str, Any]:
    """The decision that waits for a human's word; NothingToApprove says why there is none."""
    name = f"{server.namespace}/{server.name}"
    decision = server.decision
    if decision is None:
        raise NothingToApprove(f"{name}: nothing has been decided yet")
    shown = f"{decision['id']} ({change_text(decision)})"
    if decision["state"] != "AwaitingApproval":
        raise NothingToApprove(f"{name}: the last decision, {shown}, is {decision['state']}: {_why(server)}")
    if wanted and wanted != decision["id"]:
        raise NothingToApprove(f"{name}: {wanted} does not wait for approval, {shown} does")
    if decision.get("expires") and moment(decision["expires"]) <= now:
        raise NothingToApprove(f"{name}: {shown} has expired at {decision['expires']}; wait for the next decision")
    return decision


def _why(server: Server) -> str:
    scaling = server.spec.get("scaling") or {}
    if server.mode != "Apply":
        return f"nothing waits in mode {server.mode}; with scaling.mode Apply decisions are carried out"
    if not (scaling.get("approval") or {}).get("required"):
        return "nothing waits, since scaling.approval.required is not set"
    return "nothing waits for approval"


async def _outcome(api: Api, server: Server, decision_id: str, patience: float) -> str:
    """The decision's state, once the operator has taken it up or something newer came; where patience ends, before."""
    try:
        async with asyncio.timeout(patience):
            while True:
                decision = (await fleet.server(api, server.namespace, server.name)).decision
                if decision is None or decision["id"] != decision_id:
                    return "Superseded"
                if decision["state"] != "AwaitingApproval":
                    return str(decision["state"])
                await asyncio.sleep(_PERIOD)
    except TimeoutError:
        return "AwaitingApproval"
