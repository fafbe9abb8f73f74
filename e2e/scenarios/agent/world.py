"""What the checks of this scenario work on: the agents, the scripted model behind some of them, and who asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from e2e.cluster import EmbeddedCluster
from e2e.scenarios import agents
from e2e.scenarios.scenario import Scenario

ALICE, MALLORY = "sk-alice", "sk-mallory"
QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "Where is my order?"}


@dataclass(frozen=True)
class World:
    """The agents, for one caller: a pod with the token of its service account."""

    scenario: Scenario
    cluster: EmbeddedCluster
    model: httpx.Client
    """The scripted model, past the agents."""
    token: str = field(repr=False)

    @contextmanager
    def client(self, agent: str) -> Iterator[OpenAI]:
        """OpenAI's client of an agent, past any route."""
        with agents.address(self.scenario, agent) as address, agents.client(address, self.token) as found:
            yield found

    @contextmanager
    def through_route(self, key: str) -> Iterator[OpenAI]:
        """The same client of the route, for whoever has this key."""
        with (
            self.scenario.kube.cluster.service(self.scenario.namespace, "front-route", 80) as address,
            agents.client(address, key) as found,
        ):
            yield found

    def says(self, *replies: dict[str, Any]) -> None:
        """What the scripted model answers next, one after the other."""
        self.model.put("/replies", json=list(replies)).raise_for_status()

    def plays(self, script: str) -> None:
        """How it answers from now on."""
        self.model.put("/script", content=script).raise_for_status()

    def heard(self) -> dict[str, Any]:
        """The last request that reached it."""
        found: dict[str, Any] = json.loads(self.model.get("/body").content)
        return found

    def stats(self) -> dict[str, Any]:
        """What it has counted."""
        found: dict[str, Any] = self.model.get("/stats").json()
        return found

    def replicas(self, agent: str) -> list[str]:
        """host:port of each of an agent's pods."""
        found = agents.children(self.scenario, "Pod", agent)
        return [f"{pod['status']['podIP']}:{agents.PORT}" for pod in found]
