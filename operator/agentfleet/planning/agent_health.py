"""What an Agent's status says, from what was planned and seen. Pure.

Ready is about requests: does a pod take them? A pod does so when its model and its tools answer it, which it says by
its readiness, once both have; a model that goes away later leaves pods that serve their fallback reply, which
ModelReady tells and Ready does not. Reconciling is about a changed spec that not all pods have yet, Stalled about what
only a human can remove.
"""

from dataclasses import dataclass
from datetime import datetime

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent_names import agent_address
from agentfleet.manifests.agent_pod import AGENT
from agentfleet.manifests.agent_uses import ModelUse, Uses
from agentfleet.planning.agent_answers import Said, is_running
from agentfleet.planning.agent_observed import AgentObserved, revision_of
from agentfleet.planning.agent_plan import AgentPlan
from agentfleet.planning.coldstart import cold_start
from agentfleet.planning.failures import Failure, PodView, failure, is_ready, workload_failure
from agentfleet.planning.route_observed import is_rolled_out
from agentfleet.planning.scaling_types import Advice, Wanted
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_status import AgentStatus
from agentfleet.resources.compliance import privacy_in_force
from agentfleet.resources.conditions import (
    ALERTING,
    MODEL_READY,
    OF_THE_LOOP,
    READY,
    RECONCILING,
    STALLED,
    TOOLS_READY,
    ConditionStatus,
    explain,
    merge_conditions,
)
from agentfleet.settings import Settings

Words = tuple[ConditionStatus, str, str]
"""Status, reason and message of a condition."""

_ASLEEP: Words = ("Unknown", "ScaledToZero", "No pods are wanted.")


@dataclass(frozen=True)
class _Numbers:
    wanted: int
    ready: int
    updated: int
    """Ready pods of the newest revision."""
    running: int
    """Pods whose process is up, whatever it says of model and tools."""
    converged: bool
    """All pods have the newest configuration, whether or not one has been lost since."""


def assess_agent(
    agent: Agent,
    before: AgentStatus,
    uses: Uses,
    plan: AgentPlan,
    observed: AgentObserved,
    settings: Settings,
    now: datetime,
    beside: Wanted | None = None,
) -> AgentStatus:
    """The status of an Agent whose plan has been carried out; `beside` are conditions of other parts. Watches tell of
    everything that it depends on."""
    numbers = _count(before, plan, observed)
    cause = _cause(plan, observed)
    said = observed.said
    is_waking = numbers.converged and _is_waking(before, said)
    wanted: Wanted = (beside or {}) | {READY: _ready(agent, uses, numbers, cause, said, is_waking=is_waking)}
    if uses.model:
        wanted[MODEL_READY] = _model_ready(uses.model, numbers, said)
    if agent.spec.tools or agent.spec.orchestration:
        wanted[TOOLS_READY] = _tools_ready(numbers, said)
    if cause and not cause.transient and not numbers.converged:
        wanted[STALLED] = ("True", cause.reason, explain(cause.reason, cause.message))
    elif not numbers.converged:
        wanted[RECONCILING] = ("True", "RollingOut", f"{numbers.updated} of {numbers.wanted} new pods serve.")
    address = agent_address(agent.name, agent.namespace, settings.cluster_domain, tls=bool(agent.spec.tls))
    speaks_a2a = agent.spec.protocols is None or agent.spec.protocols.a2a is not False
    return before.model_copy(
        update={
            "observed_generation": agent.generation,
            "url": f"{address}/v1",
            "a2a_url": f"{address}/a2a" if speaks_a2a else None,
            "replicas": plan.replicas,
            "ready_replicas": numbers.ready,
            "revision": plan.revision,
            "model": uses.model.id if uses.model else None,
            "privacy": privacy_in_force(agent.spec).mode,
            "tools": said.functions if said.functions is not None else before.tools,
            "cold_start": cold_start(before.cold_start, observed.pods, AGENT),
            "conditions": merge_conditions(before.conditions, wanted, agent.generation, now),
        }
    )


def alerting(agent: Agent, before: AgentStatus, advice: Advice | None) -> Wanted:
    """The condition Alerting, of an Agent that has alerts: before the loop has seen its pods, what was said of it."""
    if not (agent.spec.monitoring and agent.spec.monitoring.alerts):
        return {}
    if advice is None:
        former = next((c for c in before.conditions if c.type == ALERTING), None)
        return {ALERTING: (former.status, former.reason, former.message)} if former else {}
    if not advice.alerts:
        return {ALERTING: ("False", "NoAlert", "No pod tells of an alert.")}
    known: dict[str, str | None] = {alert.metric: alert.action for alert in agent.spec.monitoring.alerts}
    told = (f"{name} ({known[name]})" if known.get(name) else name for name in advice.alerts)
    message = f"Out of bounds by what pods say: {', '.join(told)}."
    return {ALERTING: ("True", "AlertRaised", explain("AlertRaised", message))}


def agent_stalled(
    before: AgentStatus, observed: AgentObserved, error: InvalidSpec, generation: int, now: datetime
) -> AgentStatus:
    """The status of an Agent whose spec cannot be acted on; pods of the former one go on serving."""
    ready = sum(is_ready(pod) for pod in observed.pods)
    message = explain(error.reason, error.message)
    kept: Wanted = {
        c.type: (c.status, c.reason, c.message)
        for c in before.conditions
        if ready and c.type in (MODEL_READY, TOOLS_READY, ALERTING, *OF_THE_LOOP)
    }
    wanted: Wanted = kept | {
        STALLED: ("True", error.reason, message),
        READY: ("True", "Serving", f"{ready} pods of the previous spec serve.")
        if ready
        else ("False", error.reason, message),
    }
    conditions = merge_conditions(before.conditions, wanted, generation, now)
    return before.model_copy(
        update={"observed_generation": generation, "conditions": conditions, "ready_replicas": ready}
    )


def _count(before: AgentStatus, plan: AgentPlan, observed: AgentObserved) -> _Numbers:
    ready = [pod for pod in observed.pods if is_ready(pod)]
    new = [pod for pod in ready if revision_of(pod) == plan.revision]
    settled = before.revision == plan.revision and not any(c.type in (RECONCILING, STALLED) for c in before.conditions)
    return _Numbers(
        wanted=plan.replicas,
        # A successor may serve beside the pod that it replaces.
        ready=min(len(ready), plan.replicas),
        updated=min(len(new), plan.replicas),
        running=sum(is_running(pod) for pod in observed.pods),
        converged=settled or is_rolled_out(observed.child(plan.workload), plan.revision),
    )


def _cause(plan: AgentPlan, observed: AgentObserved) -> Failure | None:
    """Why pods of the newest revision do not serve: the first that no time will heal, else the first."""
    live = observed.child(plan.workload)
    found = [workload_failure(live) if live else None]
    for pod in observed.pods:
        if revision_of(pod) == plan.revision:
            view = PodView(pod, mount_failure=observed.mount_failures.get(pod["metadata"]["name"]))
            found.append(failure(view))
    causes = [cause for cause in found if cause]
    return next((cause for cause in causes if not cause.transient), causes[0] if causes else None)


def _is_waking(before: AgentStatus, said: Said) -> bool:
    """Whether it slept until a moment ago, and no pod of it says anything against itself."""
    ready = next((c.reason for c in before.conditions if c.type == READY), "")
    return ready in ("ScaledToZero", "WaitingForPods") and not said.problems


def _ready(agent: Agent, uses: Uses, numbers: _Numbers, cause: Failure | None, said: Said, *, is_waking: bool) -> Words:
    if numbers.wanted == 0:
        return "True", "ScaledToZero", "No pods are wanted: a request that comes by a route starts one."
    if numbers.ready:
        return "True", "Serving", f"{numbers.ready} of {numbers.wanted} pods serve.{_away(said)}{_unheard(agent, uses)}"
    return _not_ready(uses, numbers, cause, said, is_waking=is_waking)


def _not_ready(uses: Uses, numbers: _Numbers, cause: Failure | None, said: Said, *, is_waking: bool) -> Words:
    waits: Words = ("Unknown", "WaitingForPods", f"0 of {numbers.wanted} pods serve.")
    if cause:
        return ("Unknown" if cause.transient else "False"), cause.reason, explain(cause.reason, cause.message)
    if uses.model and uses.model.ready == "False":
        return "False", "ModelNotReady", f"Pods wait for the model: {uses.model.message}"
    if is_waking:
        return waits
    if numbers.running:
        status: ConditionStatus = "False" if numbers.converged else "Unknown"
        message = f"Pods run and are not ready{f': {said.problems}' if said.problems else '.'}"
        return status, "NotAnswering", explain("NotAnswering", message)
    if numbers.converged:
        return "False", "ReplicasUnavailable", explain("ReplicasUnavailable", "No pod serves.")
    return waits


def _away(said: Said) -> str:
    """What has gone since they were ready."""
    return f" Callers get the fallback reply where it is needed: {said.problems}" if said.problems else ""


def _unheard(agent: Agent, uses: Uses) -> str:
    """Callers that access names and nobody can judge."""
    named = agent.spec.access and any(grant.service_accounts for grant in agent.spec.access.allow)
    if not named or uses.judges_tokens:
        return ""
    return (
        " Service accounts that access.allow names are heard through routes alone: the operator's settings let no pod"
        " of this Agent ask the API server about tokens (agents.directCallers; for Offline agents.apiServerCIDRs)."
    )


def _model_ready(model: ModelUse, numbers: _Numbers, said: Said) -> Words:
    if numbers.wanted == 0:
        return _ASLEEP
    if said.model:
        return "False", "ModelNotReady", said.model
    if numbers.ready:
        return "True", "Loaded", "The model answers the pods."
    if model.ready == "False":
        return "False", "ModelNotReady", model.message
    return "Unknown", "WaitingForPods", "Pods tell whether it answers."


def _tools_ready(numbers: _Numbers, said: Said) -> Words:
    if numbers.wanted == 0:
        return _ASLEEP
    if said.notes:
        return "False", "ToolsIncomplete", explain("ToolsIncomplete", f"{'; '.join(said.notes)}.")
    if said.tools:
        return "False", "ToolsNotReady", said.tools
    if numbers.ready:
        return "True", "ToolsFound", "Tools and other agents answer the pods."
    return "Unknown", "WaitingForPods", "Pods tell whether they answer."
