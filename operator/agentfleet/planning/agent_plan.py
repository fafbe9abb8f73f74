"""Agent + what it uses + what there is → what to apply, scale and delete. Pure.

    configuration, pod template ─▶ revision ─▶ account, Services, claim, policy, budget, ConfigMap ─▶ Deployment

What is not wanted any more stays until every pod runs the new revision: until then somebody uses it.
"""

from dataclasses import dataclass, replace
from typing import Any

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent import (
    agent_budget,
    agent_config_map,
    agent_deployment,
    agent_services,
    service_account,
    sessions_claim,
)
from agentfleet.manifests.agent_names import agent_config_name, agent_name
from agentfleet.manifests.agent_pod import agent_template
from agentfleet.manifests.agent_policy import agent_policy
from agentfleet.manifests.agent_uses import Uses
from agentfleet.manifests.egress import DNS
from agentfleet.manifests.names import digest
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.agent_config import agent_config
from agentfleet.planning.agent_observed import AgentObserved
from agentfleet.planning.observed import not_in
from agentfleet.planning.route_observed import is_rolled_out
from agentfleet.resources.agent import Agent
from agentfleet.resources.compliance import privacy_in_force
from agentfleet.settings import Settings

_KEPT = ("PersistentVolumeClaim",)
"""Sessions go with the Agent only, never by a change of its spec."""


@dataclass(frozen=True)
class AgentPlan:
    """Everything that shall be so. Executing it twice changes nothing."""

    revision: str
    """Hash of what pods shall have."""
    replicas: int
    """Pods wanted."""
    workload: Key
    apply: tuple[Manifest, ...] = ()
    """Children as they shall be, in the order in which they are made."""
    delete: tuple[tuple[Key, str], ...] = ()
    """Children that are not wanted any more, with their uid."""


def plan_agent(
    agent: Agent,
    uses: Uses,
    observed: AgentObserved,
    replicas: int,
    settings: Settings,
    renewed: str | None = None,
) -> AgentPlan:
    """The plan for one Agent with so many replicas; InvalidSpec where its spec cannot become pods.

    `renewed` is agent_renewal.renewed of its Deployment.
    """
    _check(agent)
    config = agent_config(agent, uses, settings)
    revision = digest([config.to_json(), _template(agent, uses, settings, "", renewed)])
    workload = agent_deployment(agent, _template(agent, uses, settings, revision, renewed), replicas, settings)
    made = (
        service_account(agent),
        *agent_services(agent),
        sessions_claim(agent),
        agent_policy(agent, _with_former(agent, uses, observed, revision), settings),
        agent_budget(agent, replicas),
        agent_config_map(agent, revision, replace(config, revision=revision).to_json()),
        workload,
    )
    children = tuple(manifest for manifest in made if manifest is not None)
    return AgentPlan(
        revision=revision,
        replicas=replicas,
        workload=key_of(workload),
        apply=children,
        delete=_unwanted(children, observed) if _is_alone(agent, observed, revision) else (),
    )


def workload_key(agent: Agent) -> Key:
    """The Deployment of an Agent."""
    return Key("Deployment", agent.namespace, agent_name(agent.name))


def _template(agent: Agent, uses: Uses, settings: Settings, revision: str, renewed: str | None) -> dict[str, Any]:
    config_map = agent_config_name(agent, revision)
    return agent_template(agent, uses, settings, config_map=config_map, revision=revision, renewed=renewed)


def _check(agent: Agent) -> None:
    """What the API server lets through, and no pods could be made of."""
    placement = agent.spec.placement
    if placement and placement.mode == "PerNode":
        raise InvalidSpec("InvalidSpec", "placement.mode PerNode is for ModelServers; an Agent has Spread and Pack.")


def _with_former(agent: Agent, uses: Uses, observed: AgentObserved, revision: str) -> Uses:
    """While pods of the former revision serve, they reach what they use: a changed model must not cut them off. Not in
    privacy mode Offline, which holds from when it is said."""
    key = Key("NetworkPolicy", agent.namespace, agent_name(agent.name))
    live = observed.child(key)
    if live is None or _is_alone(agent, observed, revision) or privacy_in_force(agent.spec).mode == "Offline":
        return uses
    former = tuple(rule for rule in live["spec"].get("egress", ()) if rule not in (DNS, *uses.egress))
    return replace(uses, egress=(*uses.egress, *former))


def _is_alone(agent: Agent, observed: AgentObserved, revision: str) -> bool:
    """Whether all pods are of `revision`, those on their way out too."""
    return is_rolled_out(observed.child(workload_key(agent)), revision) and not observed.others(revision)


def _unwanted(children: tuple[Manifest, ...], observed: AgentObserved) -> tuple[tuple[Key, str], ...]:
    wanted = frozenset(key_of(child) for child in children)
    left = [child for child in not_in(observed.children, wanted) if child["kind"] not in _KEPT]
    return tuple((key_of(child), child["metadata"]["uid"]) for child in left)
