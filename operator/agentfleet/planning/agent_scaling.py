"""How many replicas of an Agent there shall be, by the scaling loop that ModelServers have. Pure.

    spec.scaling, status.scaling, Advice, other autoscalers ─▶ settle_agent ─▶ replicas, status, conditions

Signals, forecast, windows and what is never done are the loop's (autoscale/). Here is what differs: an Agent says
itself what a replica shall carry (targetConcurrency), so nothing is learnt; and nobody but the loop decides, for there
is no spec.replicas to follow, and no mode. Where minReplicas and maxReplicas are one number there is nothing to decide.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from agentfleet.autoscale.decision import Goal
from agentfleet.durations import parse_duration
from agentfleet.planning.agent_observed import AgentObserved
from agentfleet.planning.agent_plan import AgentPlan
from agentfleet.planning.autoscalers import autoscaler_of
from agentfleet.planning.failures import workload_failure
from agentfleet.planning.scaling_conditions import Scene, scaling_conditions
from agentfleet.planning.scaling_decisions import OPEN, Rules, advance
from agentfleet.planning.scaling_goal import Approval
from agentfleet.planning.scaling_types import Advice, Standing, Wanted
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_runtime import AgentConcurrency, AgentScaling
from agentfleet.resources.agent_status import AgentStatus
from agentfleet.resources.external import External
from agentfleet.resources.modelserver import AllowedNamespaces
from agentfleet.resources.scaling import Pause, Scaling, ScalingMode, Stabilization
from agentfleet.resources.scaling_status import ScalingStatus

ENGINE = "Agent"
"""Its name among monitor/engines.ENGINES."""

_RUNS = 10
_SHARE = 0.8
"""Of concurrency.max: what is more may come while another replica starts."""


@dataclass(frozen=True, slots=True)
class AgentSubject:
    """What the loop reads of an Agent's spec (scaling_types.Subject)."""

    scaling: Scaling | None
    allowed_namespaces: AllowedNamespaces | None
    engine: str = ENGINE
    external: External | None = None


@dataclass(frozen=True, slots=True)
class SettledAgent:
    """What has been decided."""

    replicas: int
    goal: Goal
    mode: ScalingMode | None
    """None where there is nothing to decide."""
    scaling: ScalingStatus | None
    conditions: Wanted = field(default_factory=dict)

    @property
    def decided_at(self) -> str | None:
        """When the decision was taken that is in force; None where it is no decision of the loop's."""
        decision = self.scaling.decision if self.scaling else None
        return decision.time if decision and decision.state == "Applied" else None


def target_concurrency(agent: Agent) -> float:
    """Runs in flight that one replica shall have."""
    said = agent.spec.scaling and agent.spec.scaling.target_concurrency
    most = (agent.spec.concurrency or AgentConcurrency()).max or _RUNS
    return float(said or max(1, int(_SHARE * most)))


def agent_goal(agent: Agent) -> Goal:
    """What the loop is to reach."""
    scaling = agent.spec.scaling or AgentScaling()
    window, pause = scaling.stabilization or Stabilization(), scaling.pause or Pause()
    minimum = 1 if scaling.min_replicas is None else scaling.min_replicas
    return Goal(
        minimum=minimum,
        maximum=scaling.max_replicas or max(1, minimum),
        # targetConcurrency has its reserve in it.
        load_factor=1.0,
        to_zero_after=parse_duration(scaling.scale_to_zero_after or "15m"),
        stabilization_out=parse_duration(window.out or "0s"),
        stabilization_in=parse_duration(window.in_) if window.in_ else None,
        pause_out=bool(pause.out),
        pause_in=bool(pause.in_),
        concurrency=target_concurrency(agent),
    )


def settle_agent(
    agent: Agent, before: AgentStatus, observed: AgentObserved, advice: Advice | None, now: datetime
) -> SettledAgent:
    """One look."""
    goal = agent_goal(agent)
    if goal.minimum == goal.maximum:
        return SettledAgent(goal.minimum, goal, None, None)
    if advice is not None and advice.scaling != subject(agent).scaling:
        # It was reckoned within other bounds; the next tick knows these.
        advice = replace(advice, decision=None)
    conflict = autoscaler_of(observed.autoscalers, observed.workloads, "Agent")
    mode: ScalingMode = "Recommend" if conflict else "Apply"
    was = before.scaling or ScalingStatus()
    replicas = was.desired if was.desired is not None else _beginning(goal, observed)
    rules = Rules(agent.uid, mode, vertical="Manual", approval=Approval(), replicas=replicas, tensor=1)
    outcome = advance(was, rules, advice, now)
    suggested = advice.decision.suggested_minimum if advice and advice.decision else was.suggested_min_replicas
    scaling = ScalingStatus(
        desired=outcome.replicas,
        mode=mode,
        decision=outcome.decision,
        history=outcome.history,
        suggested_min_replicas=suggested,
    )
    scene = Scene(
        uid=agent.uid,
        minimum=goal.minimum,
        mode=mode,
        conflict=conflict,
        before=before.conditions,
        mode_before=before.scaling.mode if before.scaling else None,
        workloads=tuple(each for each in observed.children if each["kind"] == "Deployment"),
        pods=observed.pods,
        scaling=scaling,
    )
    return SettledAgent(outcome.replicas, goal, mode, scaling, scaling_conditions(scene, advice))


def agent_standing(
    agent: Agent, settled: SettledAgent, plan: AgentPlan, observed: AgentObserved, status: AgentStatus
) -> Standing:
    """What the loop has to know after a reconcile; `status` is what came of it."""
    decision = settled.scaling.decision if settled.scaling else None
    cold_start = status.cold_start.total if status.cold_start else None
    failures = (workload_failure(each) for each in observed.children if each["kind"] == "Deployment")
    return Standing(
        uid=agent.uid,
        spec=subject(agent),
        mode=settled.mode,
        wanted=settled.replicas,
        revision=plan.revision,
        goal=settled.goal,
        open=decision.to if decision and decision.state in OPEN else None,
        rolling=observed.others(plan.revision),
        cold_start=None if cold_start is None else float(cold_start),
        not_created=next((failure.reason for failure in failures if failure), None),
    )


def subject(agent: Agent) -> AgentSubject:
    """The spec as the loop reads it."""
    asked, goal = agent.spec.scaling or AgentScaling(), agent_goal(agent)
    scaling = Scaling(
        mode="Apply",
        min_replicas=goal.minimum,
        max_replicas=goal.maximum,
        scale_to_zero_after=asked.scale_to_zero_after,
        stabilization=asked.stabilization,
        pause=asked.pause,
    )
    return AgentSubject(scaling, agent.spec.allowed_namespaces)


def _beginning(goal: Goal, observed: AgentObserved) -> int:
    """Where status does not tell: what runs, else one at least, which shows that it can."""
    running = [workload.replicas for workload in observed.workloads]
    return max(running) if running else max(1, goal.minimum)
