"""`chat`: talk to an agent from the terminal, with approvals.

The way leads by `kubectl port-forward` to one of its pods, in the name of a service account that `access` lets in; or,
with --route, to a gateway, with the key of the environment.
"""

import os
import secrets
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agentfleet.cli.agents import AGENT_PORT, Agent, agent, pods_of
from agentfleet.cli.api import Api, Refused
from agentfleet.cli.conversation import Call, Conversation, NoAnswer, Turn, Verdict, conversation
from agentfleet.cli.forward import forwarded
from agentfleet.cli.output import answer, remark
from agentfleet.cli.pods import serving
from agentfleet.cli.routes import route
from agentfleet.cli.terminal import Lines
from agentfleet.durations import parse_duration
from agentfleet.errors import AgentfleetError
from agentfleet.objects import AGENT_ROUTE_LABEL

_KEY = "OPENAI_API_KEY"
_AUDIENCE = "agentfleet"
_TOKEN_SECONDS = 3600
_GATEWAY_PORT = 8080
_DEFAULT_TIMEOUT = "30s"
_SLACK = 60.0
"""Seconds that an answer may take beyond limits.timeout: the queue, a route that holds the request for a cold start."""
_EVERY_ACCOUNT = ("system:serviceaccounts", "system:authenticated")


class CannotChat(AgentfleetError):
    """There is no way to the agent, or nobody in whose name it could be asked."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the agent is reached."""

    url: str
    model: str
    token: str | None
    told: str


async def run(arguments: Namespace, api: Api) -> int:
    """Exit code 1 where the agent refuses, fails, or an approval finds nobody to decide."""
    asked = await agent(api, arguments.namespace or api.namespace, arguments.agent)
    session = arguments.session or f"chat-{secrets.token_hex(6)}"
    timeout = arguments.timeout or _timeout(asked)
    plain = arguments.output != "json"

    def said(text: str) -> None:
        if plain:
            sys.stdout.write(text)
            sys.stdout.flush()

    async with (
        _way(arguments, api, asked) as way,
        conversation(way.url, model=way.model, session=session, token=way.token, timeout=timeout, said=said) as client,
    ):
        remark(f"{asked.namespace}/{asked.name} {way.told}, session {session}")
        talk = _Talk(client, Lines(), plain=plain)
        whole = await (talk.once(" ".join(arguments.message)) if arguments.message else talk.on())
    if not plain:
        answer("json", "", {"session": session, "turns": talk.turns})
    return 0 if whole else 1


class _Talk:
    """Turns of one conversation, each told as it ends."""

    def __init__(self, client: Conversation, lines: Lines, *, plain: bool) -> None:
        self._client = client
        self._lines = lines
        self._plain = plain
        self.turns: list[dict[str, Any]] = []

    async def once(self, message: str) -> bool:
        """One message, and what is decided about its calls."""
        turn = self._told(await self._client.ask(message))
        while turn.calls:
            verdicts = await self._decided(turn.calls)
            if verdicts is None:
                remark(f"it waits for approval of {', '.join(call.tool for call in turn.calls)}, and nobody answers")
                return False
            turn = self._told(await self._client.decide(verdicts))
        return turn.finish != "fallback"

    async def on(self) -> bool:
        """Messages until there are no more. One that fails ends nothing."""
        whole = True
        while (message := await self._lines.read("> ")) is not None:
            if message.strip():
                try:
                    whole = await self.once(message) and whole
                except NoAnswer as error:
                    remark(f"error: {error}")
                    whole = False
        return whole

    def _told(self, turn: Turn) -> Turn:
        if self._plain and turn.text:
            sys.stdout.write("\n")
            sys.stdout.flush()
        if turn.finish == "fallback":
            remark(f"the agent failed and said its fallback reply: see its log for request {turn.request}")
        elif turn.finish not in ("stop", "tool_calls"):
            remark(f"the answer ended by {turn.finish}")
        self.turns.append(
            {
                "answer": turn.text,
                "finish": turn.finish,
                "request": turn.request,
                "usage": turn.usage,
                "approvals": [{"id": call.id, "tool": call.tool, "arguments": call.arguments} for call in turn.calls],
            }
        )
        return turn

    async def _decided(self, calls: Sequence[Call]) -> list[Verdict] | None:
        """What a person says of each call; None where nobody is there."""
        verdicts = []
        for call in calls:
            remark(f"The agent asks to call {call.tool} with {call.arguments}")
            said = await self._lines.read("Approve? y, or why not: ")
            if said is None:
                return None
            approved = said.strip().lower() in ("y", "yes")
            reason = "" if said.strip().lower() in ("", "n", "no") else said.strip()
            verdicts.append(Verdict(call.id, approved, "" if approved else reason))
        return verdicts


def _timeout(asked: Agent) -> float:
    return parse_duration((asked.spec.get("limits") or {}).get("timeout") or _DEFAULT_TIMEOUT) + _SLACK


@asynccontextmanager
async def _way(arguments: Namespace, api: Api, asked: Agent) -> AsyncIterator[_Way]:
    if (asked.spec.get("protocols") or {}).get("openai") is False:
        raise CannotChat(f"{asked.namespace}/{asked.name} does not speak OpenAI's API: its protocols.openai is false")
    cluster = {"kubeconfig": arguments.kubeconfig, "context": arguments.context}
    if arguments.route:
        found = await route(api, asked.namespace, arguments.route)
        pod = await _gateway(api, asked.namespace, found.name)
        async with forwarded(asked.namespace, pod, _GATEWAY_PORT, **cluster) as address:
            told = f"through route {found.name}"
            yield _Way(f"http://{address}/v1", f"agent/{asked.name}", os.environ.get(_KEY), told)
        return
    pods = serving(await pods_of(api, asked))
    if not pods:
        why = next((f": {each.message}" for each in asked.troubles if each.type == "Ready"), "")
        hint = "ask through a route that wakes it, with --route" if asked.replicas == 0 else "see doctor"
        raise CannotChat(f"no pod of {asked.namespace}/{asked.name} is ready{why or '.'} {hint.capitalize()}")
    namespace, account = _account(arguments.service_account, asked)
    token = await _token(api, namespace, account)
    pod = str(pods[0]["metadata"]["name"])
    async with forwarded(asked.namespace, pod, AGENT_PORT, **cluster) as address:
        yield _Way(f"http://{address}/v1", asked.name, token, f"on {pod} as service account {namespace}:{account}")


async def _gateway(api: Api, namespace: str, name: str) -> str:
    selector = f"{AGENT_ROUTE_LABEL}={name}"
    pods = serving(await api.list(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector))
    if not pods:
        raise CannotChat(f"no gateway of route {namespace}/{name} is ready")
    return str(pods[0]["metadata"]["name"])


def _account(wanted: str | None, asked: Agent) -> tuple[str, str]:
    """Namespace and name of the service account in whose name it is asked."""
    if wanted:
        namespace, colon, name = wanted.rpartition(":")
        return (namespace if colon else asked.namespace), name
    if asked.callers:
        namespace, _, name = asked.callers[0].partition(":")
        return namespace, name
    every = (*_EVERY_ACCOUNT, f"system:serviceaccounts:{asked.namespace}")
    if asked.lets_all_in or any(group in every for grant in asked.grants for group in grant.get("groups") or ()):
        return asked.namespace, "default"
    raise CannotChat(
        f"access of {asked.namespace}/{asked.name} names no service account: ask with --route, or name an account"
        " of one of its groups with --service-account"
    )


async def _token(api: Api, namespace: str, account: str) -> str:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [_AUDIENCE], "expirationSeconds": _TOKEN_SECONDS},
    }
    try:
        made = await api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)
    except Refused as error:
        raise CannotChat(f"no token for service account {namespace}:{account}: {error}") from error
    return str(made["status"]["token"])
