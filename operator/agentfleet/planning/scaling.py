"""How many replicas there shall be, by whoever decides, and what status says about it. Pure.

    spec.scaling, status.scaling, Advice, other autoscalers ─▶ settle ─▶ the server to plan for, status, conditions

In Manual and Recommend spec.replicas is followed, in Apply status.scaling.desired. Whoever takes over starts with what
there is: neither entering Apply nor leaving it changes a replica. What an advice proposes becomes a decision in
scaling_decisions.py; this module adds who decides, and what may not be followed. It reads no metrics.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from agentfleet.autoscale.decision import Goal
from agentfleet.durations import parse_duration
from agentfleet.objects import APPROVE_ANNOTATION, REJECT_ANNOTATION
from agentfleet.planning.autoscalers import Conflict, conflict_of
from agentfleet.planning.learnt import capacity_status
from agentfleet.planning.observed import Observed
from agentfleet.planning.scaling_conditions import Scene, scaling_conditions
from agentfleet.planning.scaling_decisions import OPEN, PATIENCE, Rules, advance
from agentfleet.planning.scaling_goal import (
    APPROVAL_EXPIRES,
    Approval,
    asked_mode,
    check_schedule,
    goal_of,
    scales,
    vertical_mode,
)
from agentfleet.planning.scaling_types import Advice, Wanted
from agentfleet.planning.vertical import spec_tensor, with_tensor
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.resources.scaling import ScalingMode
from agentfleet.resources.scaling_status import HandBack, ScalingStatus

HELD_AFTER_APPLY = timedelta(minutes=10)
"""How long replicas stay as they are after Apply was left while nobody sets spec.replicas anew: an HPA that takes over
needs a few minutes to see the load."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Who decides now, and what has been decided."""

    server: ModelServer
    """As it is to be planned: with the replicas, and the tensor parallel size, that there shall be."""
    goal: Goal
    mode: ScalingMode | None
    """Mode in force; None where replicas are not scaled."""
    scaling: ScalingStatus | None
    conditions: Wanted = field(default_factory=dict)
    after: float | None = None
    """Seconds after which to look again without an event."""

    @property
    def decided_at(self) -> str | None:
        """When the decision was taken that is in force; None where it is no decision of the loop's."""
        decision = self.scaling.decision if self.scaling else None
        return decision.time if decision and decision.state == "Applied" else None


def settle(
    asked: ModelServer, before: ModelServerStatus, observed: Observed, advice: Advice | None, now: datetime
) -> Settled:
    """One look; InvalidSpec where the schedule cannot be read."""
    if not scales(asked):
        # What has no pods is not seen, and what runs on every node is not counted.
        scene = _scene(asked, before, observed, None, None, None)
        conditions = {} if asked.is_external else scaling_conditions(scene, advice)
        return Settled(asked, goal_of(asked), None, None, conditions)
    check_schedule(asked)
    if advice is not None and advice.scaling != asked.spec.scaling:
        # It was reckoned within other bounds; the next tick knows these.
        advice = replace(advice, decision=None, vertical=None)
    conflict = conflict_of(asked, observed)
    mode: ScalingMode = "Recommend" if conflict and asked_mode(asked) == "Apply" else asked_mode(asked)
    was = before.scaling or ScalingStatus()
    replicas, back = _followed(asked, was, mode, observed, now)
    tensor, since = _chosen_tensor(asked, was)
    rules = Rules(
        uid=asked.uid,
        mode=mode,
        vertical=_vertical(asked, was, mode, now),
        approval=_approval(asked),
        replicas=replicas,
        tensor=tensor or (before.plan.tensor if before.plan and before.plan.tensor else 1),
    )
    outcome = advance(was, rules, advice, now)
    if outcome.tensor is not None:
        tensor, since = outcome.tensor, timestamp(now)
    suggested = advice.decision.suggested_minimum if advice and advice.decision else was.suggested_min_replicas
    scaling = ScalingStatus(
        desired=outcome.replicas,
        mode=mode,
        tensor=tensor,
        tensor_since=since,
        tensor_instead_of=spec_tensor(asked) if tensor is not None else None,
        decision=outcome.decision,
        history=outcome.history,
        unheeded_replicas=asked.replicas if mode == "Apply" else None,
        handed_back=back,
        suggested_min_replicas=suggested if mode != "Manual" else None,
    )
    return Settled(
        server=with_tensor(_with_replicas(asked, outcome.replicas), tensor),
        goal=goal_of(asked),
        mode=mode,
        scaling=scaling,
        conditions=scaling_conditions(_scene(asked, before, observed, mode, conflict, scaling), advice),
        after=_next_look(scaling, now),
    )


def _scene(
    asked: ModelServer,
    before: ModelServerStatus,
    observed: Observed,
    mode: ScalingMode | None,
    conflict: Conflict | None,
    scaling: ScalingStatus | None,
) -> Scene:
    return Scene(
        uid=asked.uid,
        minimum=asked.spec.scaling.min_replicas if asked.spec.scaling else None,
        mode=mode,
        conflict=conflict,
        before=before.conditions,
        mode_before=before.scaling.mode if before.scaling else None,
        workloads=observed.workload_manifests,
        pods=(*observed.pods, *observed.workers),
        annotations=asked.annotations,
        scaling=scaling,
    )


def with_scaling(before: ModelServerStatus, settled: Settled, advice: Advice | None) -> ModelServerStatus:
    """The status with what was decided, and with the capacity that was learnt."""
    learnt = advice.learnt if advice else None
    capacity = capacity_status(advice.capacity_key if advice else "", learnt, before.capacity)
    return before.model_copy(update={"scaling": settled.scaling, "capacity": capacity})


def _followed(
    server: ModelServer, was: ScalingStatus, mode: ScalingMode, observed: Observed, now: datetime
) -> tuple[int, HandBack | None]:
    """Replicas by whoever decides, before anything new is decided."""
    asked = server.replicas
    if mode == "Apply":
        return (was.desired if was.desired is not None else _beginning(server, observed)), None
    left = was.mode == "Apply" and was.desired is not None and was.unheeded_replicas in (None, asked)
    back = was.handed_back
    if left and was.desired is not None and was.desired != asked:
        until = timestamp(now + HELD_AFTER_APPLY)
        back = HandBack(replicas=was.desired, spec_replicas=asked, until=until)
    if back is None or back.spec_replicas != asked or now >= datetime.fromisoformat(back.until):
        return asked, None
    return back.replicas, back


def _beginning(server: ModelServer, observed: Observed) -> int:
    """Replicas that Apply begins with where status does not tell: what runs, else what the spec names."""
    running = [workload.replicas for workload in observed.workloads]
    goal = goal_of(server)
    return max(running) if running else min(max(server.replicas, goal.minimum), goal.maximum)


def _chosen_tensor(server: ModelServer, was: ScalingStatus) -> tuple[int | None, str | None]:
    """The size that was chosen before, while the spec leaves it to be chosen and says nothing else since."""
    if vertical_mode(server) != "Apply" or was.tensor_instead_of != spec_tensor(server):
        return None, None
    return was.tensor, was.tensor_since


_BETWEEN_SIZES = timedelta(minutes=30)
"""Every change of size replaces all pods."""


def _vertical(server: ModelServer, was: ScalingStatus, mode: ScalingMode, now: datetime) -> ScalingMode:
    """Who decides about sizes now: nobody soon after the last change, and nobody gives advice in mode Manual."""
    said = server.spec.scaling.vertical if server.spec.scaling else None
    if mode == "Manual" and (said is None or said.mode is None):
        return "Manual"
    resting = was.tensor_since and now - datetime.fromisoformat(was.tensor_since) < _BETWEEN_SIZES
    return "Manual" if resting else vertical_mode(server)


def _approval(server: ModelServer) -> Approval:
    asked = server.spec.scaling.approval if server.spec.scaling else None
    return Approval(
        required=bool(asked and asked.required),
        expires_after=parse_duration((asked and asked.expires_after) or APPROVAL_EXPIRES),
        approved=server.annotations.get(APPROVE_ANNOTATION),
        rejected=server.annotations.get(REJECT_ANNOTATION),
    )


def _with_replicas(server: ModelServer, replicas: int) -> ModelServer:
    if server.replicas == replicas:
        return server
    return server.model_copy(update={"spec": server.spec.model_copy(update={"replicas": replicas})})


def _next_look(scaling: ScalingStatus, now: datetime) -> float | None:
    decision = scaling.decision if scaling.decision and scaling.decision.state in OPEN else None
    rested = datetime.fromisoformat(scaling.tensor_since) + _BETWEEN_SIZES if scaling.tensor_since else None
    times = [scaling.handed_back.until if scaling.handed_back else None, decision.expires if decision else None]
    moments = [datetime.fromisoformat(time) for time in times if time] + ([rested] if rested else [])
    waits = [(moment - now).total_seconds() for moment in moments]
    if decision:
        waits.append(PATIENCE - (now - datetime.fromisoformat(decision.time)).total_seconds())
    return min((wait for wait in waits if wait > 0), default=None)
