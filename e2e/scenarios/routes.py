"""AgentRoutes as their clients see them: requests through the Service of the gateways, and what answers say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from e2e.chat import QUESTION
from e2e.scenarios.kube import Manifest, path_of
from e2e.scenarios.scenario import Scenario, accepts

OWNED = "agentfleet.dev/agentroute"
"""Label on every child of an AgentRoute; its value is the AgentRoute's name."""
LOOKS = 16
"""Looks at a Service after which each of two gateways has been looked at."""
DECIDER_PORT = 8091
"""Of a gateway's page of demand."""
_CHAT = "/v1/chat/completions"
_SHORT = {"max_tokens": 2, "ignore_eos": True}
"""A model with random weights may end at any moment."""


@dataclass(frozen=True)
class Ask:
    """One request."""

    model: str = "auto"
    text: str = QUESTION
    headers: dict[str, str] = field(default_factory=dict)
    script: str = ""
    """How a scripted server answers it."""
    path: str = _CHAT
    body: dict[str, Any] = field(default_factory=dict)
    """More fields of the body, or others instead of the usual ones."""
    raw: bytes | None = None
    """The body, where it shall not be well formed."""
    after: float = 0.0
    """Seconds from the first of a burst."""
    leaves_after: float | None = None
    """Seconds after which the client has had enough."""

    @property
    def content(self) -> bytes:
        """The body."""
        if self.raw is not None:
            return self.raw
        chat = {"messages": [{"role": "user", "content": self.text}], **_SHORT} if self.path == _CHAT else {}
        return json.dumps({"model": self.model, **chat, **self.body}).encode()


@dataclass(frozen=True)
class Answer:
    """What came of it. Status 0: nothing, because the client has left or the connection broke."""

    ask: Ask
    status: int
    headers: httpx.Headers
    content: bytes
    began: float
    """time.monotonic()."""
    ended: float

    @property
    def seconds(self) -> float:
        """From the request to the last byte."""
        return self.ended - self.began

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.content)

    @property
    def decision(self) -> dict[str, str]:
        """The header x-agentroute-decision, by name."""
        pairs = (pair.partition("=") for pair in self.headers.get("x-agentroute-decision", "").split(";"))
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def target(self) -> str:
        """The target that answered."""
        return self.decision.get("target", "")

    @property
    def pod(self) -> str:
        """The scripted server that answered."""
        return str(self.headers.get("x-served-by", ""))

    @property
    def code(self) -> str:
        """OpenAI's code of an error."""
        return str(self.json["error"]["code"])

    def __str__(self) -> str:
        decision = self.headers.get("x-agentroute-decision")
        return f"{self.status} after {self.seconds:.2f} s, {decision}: {self.content[:300]!r}"


class Route:
    """One AgentRoute, for one caller."""

    def __init__(self, address: str, key: str | None = None) -> None:
        self.address = address
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def get(self, path: str) -> httpx.Response:
        """What a path answers."""
        return httpx.get(f"http://{self.address}{path}", headers=self._headers, trust_env=False, timeout=30)

    def ask(self, model: str = "auto", text: str = QUESTION, **more: Any) -> Answer:
        """One request."""
        return self.burst([Ask(model, text, **more)])[0]

    def burst(self, asks: Sequence[Ask]) -> list[Answer]:
        """Requests at once, or each in its time; a connection for each. Answers stand in the order of the requests."""
        return asyncio.run(self._burst(asks))

    async def _burst(self, asks: Sequence[Ask]) -> list[Answer]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        timeout = httpx.Timeout(120, connect=30)
        url = f"http://{self.address}"
        async with httpx.AsyncClient(
            base_url=url, headers=self._headers, limits=limits, timeout=timeout, trust_env=False
        ) as http:
            return await asyncio.gather(*(_send(http, ask) for ask in asks))


async def _send(http: httpx.AsyncClient, ask: Ask) -> Answer:
    await asyncio.sleep(ask.after)
    began = time.monotonic()
    headers = {"Content-Type": "application/json", **({"x-script": ask.script} if ask.script else {}), **ask.headers}
    status, told, content = 0, httpx.Headers(), b""
    try:
        async with asyncio.timeout(ask.leaves_after):
            response = await http.post(ask.path, content=ask.content, headers=headers)
            status, told, content = response.status_code, response.headers, response.content
    except (TimeoutError, httpx.HTTPError) as error:
        content = repr(error).encode()
    return Answer(ask, status, told, content, began, time.monotonic())


@contextmanager
def route(scenario: Scenario, name: str, key: str | None = None) -> Iterator[Route]:
    """The named AgentRoute, which is ready, for the caller with this API key; kube-proxy hears of its gateways last."""
    with scenario.kube.cluster.service(scenario.namespace, f"{name}-route", 80) as address:
        scenario.until(lambda: accepts(address), f"the Service of {name} lets connections through")
        yield Route(address, key)


def wait_ready(scenario: Scenario, *names: str, timeout: int = 90) -> None:
    """Wait until all gateways of the named AgentRoutes run what their specs say, and can answer."""
    which = [f"agentroute/{name}" for name in names]
    try:
        for condition in ("Programmed", "Ready"):
            wait = f"--for=condition={condition}"
            scenario.kubectl("wait", wait, f"--timeout={timeout}s", *which, timeout=timeout + 30)
    except Exception as error:
        raise AssertionError(f"{error}\n{scenario.report()}") from error


def status(scenario: Scenario, name: str) -> Manifest:
    """The status of an AgentRoute."""
    found = scenario.kube.get("AgentRoute", name, scenario.namespace)
    assert found is not None, f"there is no AgentRoute {name} in {scenario.namespace}"
    return dict(found.get("status", {}))


def condition(scenario: Scenario, name: str, kind: str) -> Manifest:
    """One condition of an AgentRoute; empty where it has none."""
    found = status(scenario, name).get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})


def gateways(scenario: Scenario, name: str) -> list[Manifest]:
    """The gateway pods, those on their way out left out."""
    found = scenario.kube.list("Pod", scenario.namespace, labels=f"{OWNED}={name}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def demand(scenario: Scenario, name: str, metric: str) -> float:
    """Sum over the gateways of agentfleet_demand_METRIC, as the scaling loop reads it."""
    total = 0.0
    for pod in gateways(scenario, name):
        path = path_of("Pod", scenario.namespace, f"{pod['metadata']['name']}:{DECIDER_PORT}")
        text = scenario.kube.text(f"{path}/proxy/metrics")
        families = text_string_to_metric_families(text)
        samples = (sample for family in families for sample in family.samples)
        total += sum(sample.value for sample in samples if sample.name == f"agentfleet_demand_{metric}")
    return total
