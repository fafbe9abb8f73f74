"""The shop: its route as several callers see it, and the scripted cloud, which tells what has reached it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from e2e.scenarios.routes import Route
from e2e.scenarios.scenario import Scenario

ALICE, BOB, GREEDY = "sk-alice", "sk-bob", "sk-greedy"


@dataclass(frozen=True)
class Shop:
    """What the checks of this scenario work on."""

    scenario: Scenario
    address: str
    cloud: httpx.Client
    """The scripted cloud, past the route."""

    @property
    def route(self) -> Route:
        """For a caller without groups."""
        return Route(self.address, ALICE)

    def route_for(self, key: str | None) -> Route:
        """For another caller."""
        return Route(self.address, key)

    @property
    def received(self) -> int:
        """Requests that have reached the cloud."""
        return int(self.cloud.get("/stats").json()["received"])

    @property
    def last(self) -> dict[str, Any]:
        """The last of them."""
        found: dict[str, Any] = self.cloud.get("/requests").json()[-1]
        return found
