"""A world whose scaling loop decides by a script, and specs that tests share."""

import copy
from typing import Any

from tests.scripted import Script
from tests.world import KEY, World

APPLY = {"mode": "Apply", "maxReplicas": 8}
APPROVED = APPLY | {"approval": {"required": True, "expiresAfter": "10m"}}


class ScalingWorld(World):
    """A World whose loop decides by a script."""

    def __init__(self, **settings: Any) -> None:
        self.script = Script()
        super().__init__(**settings)

    def start(self) -> None:
        self.make_controller = self.script
        super().start()

    async def run(self, engine: str = "LlamaCpp", **spec: Any) -> None:
        """Applied, serving, and looked at once by the loop."""
        self.apply(engine, **spec)
        await self.settle()
        await self.tick()
        await self.settle()

    async def decide(self, target: int, *, ticks: int = 1, binding: str = "Demand") -> None:
        self.script.target, self.script.binding = target, binding
        for _ in range(ticks):
            await self.tick()
            self.run_pods()

    def annotate(self, name: str, value: str) -> None:
        live = copy.deepcopy(self.cluster.objects[KEY])
        live["metadata"]["annotations"] = {name: value}
        self.cluster.put(live)

    @property
    def replicas(self) -> int:
        [count] = self.deployments().values()
        return count

    @property
    def scaling(self) -> dict[str, Any]:
        scaling: dict[str, Any] = self.status["scaling"]
        return scaling

    @property
    def decision(self) -> dict[str, Any]:
        decision: dict[str, Any] = self.scaling["decision"]
        return decision

    def events(self) -> list[tuple[str, str]]:
        return [(event["type"], event["reason"]) for event in self.cluster.posted_events]
