"""One example fleet as those who own it and those who ask it see it.

What its folder holds is applied as `kubectl apply -k` does. Its agents say `modelServerRef: {name: small}`: here that
ModelServer's engine is the scripted one, because in these fleets it matters what the model says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from openai import OpenAI

from e2e.scenarios import agents, routes, scripted
from e2e.scenarios.kube import Manifest, path_of
from e2e.scenarios.scenario import Scenario
from e2e.support.answers import Reply

MODEL = "small"
"""The ModelServer whose words the tests choose."""
_NAMESPACE = "fleets"
"""For which the manifests are written."""
_CHAT_SECONDS = 120
_START_SECONDS = 150
"""Until the pods of all fleets run, which start at the same time."""


def manifests_of(scenario: Scenario, folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would apply. They are written for a namespace `fleets`, which grants name: here it is
    another one."""
    text = scenario.kubectl("kustomize", str(folder)).replace("fleets:", f"{scenario.namespace}:")
    return [each for each in yaml.safe_load_all(text) if each]


@dataclass(frozen=True)
class Said:
    """An agent's answer."""

    text: str
    finish: str
    fallback: bool
    """Whether it is the friendly reply for failures."""
    calls: dict[str, str]
    """Calls of tools that wait for a person, by id: the tool's name."""


class Caller:
    """Somebody who asks, with OpenAI's own client."""

    def __init__(self, client: OpenAI, model: str) -> None:
        self.client = client
        self._model = model

    def ask(self, text: str, *, model: str = "", session: str = "", **more: Any) -> Said:
        """One turn; of a conversation that is kept, where `session` names one."""
        return self.send([{"role": "user", "content": text}], model=model, session=session, **more)

    def send(self, messages: Any, *, model: str = "", session: str = "", **more: Any) -> Said:
        """The same with messages of one's own, such as decisions about calls that wait."""
        raw = self.client.chat.completions.with_raw_response.create(
            model=model or self._model,
            messages=messages,
            extra_headers={"x-session-id": session} if session else {},
            **more,
        )
        choice = raw.parse().choices[0]
        calls = {call.id: call.function.name for call in choice.message.tool_calls or () if call.type == "function"}
        fallback = raw.headers.get("x-agentfleet-finish") == "fallback"
        return Said(choice.message.content or "", choice.finish_reason, fallback, calls)


class Fleet:
    """The agents of one folder, in a namespace with those of others."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.folder = folder

    @classmethod
    def ready(cls, scenario: Scenario, folder: Path) -> Fleet:
        """Waits until all that the folder names can answer, and its model."""
        named = [(each["kind"], each["metadata"]["name"]) for each in manifests_of(scenario, folder)]
        scenario.wait_ready(MODEL, *(name for kind, name in named if kind == "ModelServer"), timeout=_START_SECONDS)
        agents.wait_ready(scenario, *(name for kind, name in named if kind == "Agent"), timeout=_START_SECONDS)
        if gateways := [name for kind, name in named if kind == "AgentRoute"]:
            routes.wait_ready(scenario, *gateways, timeout=_START_SECONDS)
        return cls(scenario, folder)

    # --- who asks ------------------------------------------------------------------------------------------------

    @contextmanager
    def caller(self, agent: str, account: str = "default") -> Iterator[Caller]:
        """A pod of this service account, which asks the agent directly."""
        token = agents.token(self.scenario, account)
        with (
            agents.address(self.scenario, agent) as address,
            agents.client(address, token, timeout=_CHAT_SECONDS) as client,
        ):
            yield Caller(client, agent)

    @contextmanager
    def through(self, route: str, key: str) -> Iterator[Caller]:
        """Who has this API key of an AgentRoute, through that."""
        with (
            routes.route(self.scenario, route) as gateway,
            agents.client(gateway.address, key, timeout=_CHAT_SECONDS) as client,
        ):
            yield Caller(client, "auto")

    def audited(
        self, agent: str, kind: str, /, *, least: int = 1, timeout: float = 30, **wanted: object
    ) -> list[Manifest]:
        """Audit lines of a kind that have these values, as soon as there are so many: a pod's log takes a moment."""

        def lines() -> list[Manifest] | None:
            found = told(agents.audit(self.scenario, agent), kind, **wanted)
            return found if len(found) >= least else None

        return self.scenario.until(lines, f"{least} lines of {kind} {wanted} are in the audit of {agent}", timeout)

    # --- the model -----------------------------------------------------------------------------------------------

    def says(self, *replies: Reply) -> None:
        """What the model answers next; words without meaning once they are used up."""
        self._model("PUT", "replies", json.dumps([asdict(reply) for reply in replies]))

    def plays(self, script: str = "") -> None:
        """How the model answers from now on, such as `status=503`; well, where nothing is said."""
        self._model("PUT", "script", script)

    @contextmanager
    def playing(self, script: str) -> Iterator[None]:
        """The same for the time of the block."""
        self.plays(script)
        try:
            yield
        finally:
            self.plays()

    def heard(self) -> Manifest:
        """The last request that the model has had."""
        found: Manifest = json.loads(self._model("GET", "body"))
        return found

    def results(self) -> list[str]:
        """What tools have answered, as the model had it in its last request."""
        return [str(each["content"]) for each in self.heard()["messages"] if each["role"] == "tool"]

    def tools(self) -> dict[str, Manifest]:
        """The tools that were offered to the model in its last request: their parameters by name."""
        return {each["function"]["name"]: each["function"]["parameters"] for each in self.heard().get("tools", ())}

    @property
    def requests(self) -> int:
        """How many the model has had."""
        return int(json.loads(self._model("GET", "stats"))["received"])

    def _model(self, method: str, page: str, content: str = "") -> str:
        (pod,) = (each["metadata"]["name"] for each in self.scenario.children("Pod", MODEL))
        path = f"{path_of('Pod', self.scenario.namespace, f'{pod}:{scripted.PORT}')}/proxy/{page}"
        return self.scenario.kube.call(method, path, content)


def called(name: str, /, **arguments: Any) -> Reply:
    """The model calls a tool."""
    return Reply(calls=((name, json.dumps(arguments)),))


def told(lines: Sequence[Manifest], kind: str, **wanted: object) -> list[Manifest]:
    """Audit lines of a kind that have these values."""
    return [line for line in lines if line["kind"] == kind and wanted.items() <= line.items()]
