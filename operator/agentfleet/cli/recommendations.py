"""`recommendations`: the last decision of a ModelServer with all that explains it, and what became of earlier ones."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agentfleet.cli import fleet
from agentfleet.cli.api import Api
from agentfleet.cli.output import answer
from agentfleet.cli.server import Server, change_text
from agentfleet.cli.table import NOTHING, fields, moment, span, table

_LONGEST_REASON = 80


async def run(arguments: Namespace, api: Api) -> int:
    """One ModelServer in full, or all in a line each."""
    namespace = arguments.namespace or api.namespace
    now = datetime.now(UTC)
    if arguments.name:
        one = await fleet.server(api, namespace, arguments.name)
        answer(arguments.output, details(one, now), _data(one))
        return 0
    found = await fleet.servers(api, None if arguments.all_namespaces else namespace)
    answer(arguments.output, overview(found, now), [_data(server) for server in found])
    return 0


def overview(servers: Sequence[Server], now: datetime) -> str:
    """A line for each ModelServer that has decided anything."""
    rows = [
        (
            server.namespace,
            server.name,
            change_text(decision),
            decision["state"],
            decision["binding"],
            span((now - moment(decision["time"])).total_seconds()),
            _shortened(decision["reason"]),
        )
        for server in servers
        if (decision := server.decision)
    ]
    if not rows:
        return "No recommendations."
    return table(("NAMESPACE", "NAME", "ACTION", "STATE", "BINDING", "AGE", "REASON"), rows)


def details(server: Server, now: datetime) -> str:
    """The last decision, advice by thresholds, and the history."""
    parts = [
        f"{server.namespace}/{server.name}: mode {server.mode or 'none, nothing to scale'}",
        *_decision(server, now),
    ]
    advice = server.report.get("recommendations") or []
    if advice:
        rows = [(each["type"], each["instance"], each["reason"], each["suggestion"]) for each in advice]
        title = "Advice by the plain thresholds of utilisation and latency; it is not what is applied:"
        parts.append(f"{title}\n{table(('TYPE', 'INSTANCE', 'REASON', 'SUGGESTION'), rows)}")
    history = server.scaling.get("history") or []
    if history:
        parts.append(
            f"History, newest first:\n{table(('TIME', 'ACTION', 'BINDING', 'STATE', 'VERDICT'), _rows(history))}"
        )
    return "\n\n".join(parts)


def _decision(server: Server, now: datetime) -> Iterator[str]:
    decision = server.decision
    if decision is None:
        yield "Nothing has been decided yet: the operator first has to learn what a replica can carry."
    else:
        yield fields(_pairs(server, decision, now))
    minimum = server.scaling.get("suggestedMinReplicas")
    if minimum is not None:
        yield f"A minReplicas of {minimum} would have spared most of the requests that missed the goal."


def _pairs(server: Server, decision: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "decision", f"{change_text(decision)} ({decision['state']})"
    yield "id", decision["id"]
    yield "taken", f"{span((now - moment(decision['time'])).total_seconds())} ago"
    if decision["state"] == "AwaitingApproval" and decision.get("expires"):
        left = (moment(decision["expires"]) - now).total_seconds()
        yield "approve", f"kubectl agentfleet approve -n {server.namespace} {server.name} {decision['id']}"
        yield "expires", f"in {span(left)}" if left > 0 else "it has expired"
    yield "binding", decision["binding"]
    yield "reason", decision["reason"]
    if decision.get("counterfactual"):
        yield "one fewer", decision["counterfactual"]
    inputs = decision.get("inputs") or {}
    if inputs:
        yield "inputs", ", ".join(f"{name} {value}" for name, value in sorted(inputs.items()))


def _rows(history: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for change in history:
        yield (
            change["time"],
            change_text(change),
            change["binding"],
            change["state"],
            change.get("verdict") or NOTHING,
        )


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"


def _data(server: Server) -> dict[str, Any]:
    return {
        "namespace": server.namespace,
        "name": server.name,
        "mode": server.mode,
        "decision": server.decision,
        "suggestedMinReplicas": server.scaling.get("suggestedMinReplicas"),
        "advice": server.report.get("recommendations") or [],
        "history": server.scaling.get("history") or [],
    }
