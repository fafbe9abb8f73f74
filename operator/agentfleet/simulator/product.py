"""The operator's own loop in the simulator: autoscale.Controller, fed with scraped samples, obeyed at once.

Every 5 s each replica is looked at, at a moment of its own within the second before the tick. The controller is told
what the operator knows from Kubernetes (pods, their readiness and problems, cold starts seen so far) and nothing more:
neither the trace nor the profile.
"""

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.decision import Decision, Goal, Learnt, Situation
from agentfleet.autoscale.samples import DemandSample, EngineSample, Replica, Tick
from agentfleet.simulator.faults import Faults, holds
from agentfleet.simulator.fleet import Fleet, Pod
from agentfleet.simulator.score import percentile
from agentfleet.simulator.telemetry import Telemetry
from agentfleet.simulator.traces import stream

TICK = 5.0
OLDEST = 1.0
"""Seconds before the tick within which replicas are looked at."""

COLD_STARTS = 20
"""Cold starts that the operator remembers."""


class Product:
    """Runs one controller over one fleet. `changes` has every decision that changed the number, `last` the last one."""

    def __init__(
        self, fleet: Fleet, faults: Faults, goal: Goal, *, gateway: bool = False, learnt: Learnt | None = None
    ) -> None:
        self.controller = Controller(goal, learnt)
        self.changes: list[Decision] = []
        self.last: Decision | None = None
        self._fleet, self._faults, self._goal, self._gateway = fleet, faults, goal, gateway
        self._telemetry = Telemetry(fleet, faults)
        self._draw = stream(fleet.seed, "looks")
        self._gateway_draw = stream(fleet.seed, "looks at the gateway")
        self._engines: dict[str, EngineSample] = {}
        self._demand: DemandSample | None = None
        fleet.every(TICK, self._look, first=TICK - OLDEST)
        fleet.every(TICK, self._tick)

    def _look(self) -> None:
        for pod in self._fleet.pods:
            self._fleet.at(self._fleet.now + self._draw.uniform(0, OLDEST * 0.99), lambda pod=pod: self._scrape(pod))  # type: ignore[misc]
        if self._gateway:
            self._fleet.at(self._fleet.now + self._gateway_draw.uniform(0, OLDEST * 0.99), self._scrape_gateway)

    def _scrape(self, pod: Pod) -> None:
        sample = None if pod.gone is not None else self._telemetry.sample(pod)
        if sample is not None:
            self._engines[pod.name] = sample

    def _tick(self) -> None:
        fleet = self._fleet
        self.controller.observe(
            Tick(
                now=fleet.now,
                replicas=tuple(
                    Replica(pod.name, pod.created, pod.ready, pod.leaving, pod.problem) for pod in fleet.pods
                ),
                engines=self._engines,
                demand=self._demand,
                demand_sources=int(self._gateway),
            )
        )
        self._engines, self._demand = {}, None
        decision = self.controller.decide(self._situation(), fleet.now)
        self.last = decision
        if decision.target != fleet.wanted:
            self.changes.append(decision)
            fleet.scale(decision.target)

    def _scrape_gateway(self) -> None:
        fleet = self._fleet
        if holds(self._faults.outage, fleet.now):
            return
        for pod in fleet.pods:
            fleet.refresh(pod)
        self._demand = DemandSample(
            at=fleet.now,
            arrived=float(fleet.arrived),
            waiting=float(len(fleet.held)),
            sources=1,
            answered=1,
            in_flight=float(fleet.in_flight),
        )

    def _situation(self) -> Situation:
        recent = sorted(self._fleet.cold_starts[-COLD_STARTS:])
        return Situation(
            wanted=self._fleet.wanted,
            minimum=self._goal.minimum,
            maximum=self._goal.maximum,
            cold_start=percentile(recent, 0.9) if recent else None,
        )
