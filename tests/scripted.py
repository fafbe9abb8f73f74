"""A controller that decides as tests say, to try everything around decisions apart from how they are reached."""

from typing import Any

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.decision import Action, Decision, Goal, Health, Learnt, Situation
from agentfleet.autoscale.samples import Tick


class Script:
    """What all controllers that it makes decide: `target` replicas, or `tensor` as size."""

    def __init__(self) -> None:
        self.target: int | None = None
        self.tensor: int | None = None
        self.binding: Any = "Demand"
        self.unconstrained: int | None = None
        self.suggested: int | None = None
        self.health = Health("Fresh", 1.0)
        self.learnt: Learnt | None = None
        self.says: str | None = None
        self.situations: list[Situation] = []
        self.made: list[Scripted] = []

    def __call__(self, goal: Goal, learnt: Learnt | None) -> "Scripted":
        self.made.append(Scripted(self, goal, learnt))
        return self.made[-1]

    @property
    def last(self) -> "Scripted":
        return self.made[-1]


class Scripted(Controller):
    """One of them."""

    def __init__(self, script: Script, goal: Goal, learnt: Learnt | None) -> None:
        super().__init__(goal, learnt)
        self.script, self.goal, self.begun_with = script, goal, learnt
        self.ticks: list[Tick] = []
        self.forgotten = 0

    def set_goal(self, goal: Goal) -> None:
        self.goal = goal

    def forget_capacity(self) -> None:
        self.forgotten += 1

    def observe(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def decide(self, situation: Situation, now: float) -> Decision:
        self.script.situations.append(situation)
        wanted = situation.wanted
        target = self.script.target if self.script.target is not None else wanted
        if situation.affordable is not None:
            target = min(target, max(wanted, situation.affordable))
        target = max(situation.minimum, min(target, situation.maximum))
        action: Action = "scale_out" if target > wanted else "scale_in" if target < wanted else "hold"
        return Decision(
            time=now,
            action=action,
            start=wanted,
            target=target,
            binding=self.script.binding,
            reason=f"{target} replicas will do.",
            inputs={"demand": 3.21},
            unconstrained=self.script.unconstrained,
            suggested_minimum=self.script.suggested,
        )

    def vertical(self, situation: Situation, now: float) -> Decision | None:
        size = self.script.tensor
        if size is None or size == situation.tensor:
            return None
        return Decision(
            now, "scale_up" if size > situation.tensor else "scale_down", situation.tensor, size, "Latency", "Slow."
        )

    def verdict(self, decision: Decision, now: float) -> str | None:
        return self.script.says

    @property
    def learnt(self) -> Learnt | None:
        return self.script.learnt

    @property
    def health(self) -> Health:
        return self.script.health
