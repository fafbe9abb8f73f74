"""The children of one AgentRoute between two plans; tests play the controllers."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime

from agentfleet.gateway.layout import Layout
from agentfleet.gateway.types import Policy
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.route_health import RouteAssessment, assess_route
from agentfleet.planning.route_observed import RouteObserved, gather_route
from agentfleet.planning.route_plan import RoutePlan, plan_route, route_services
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.agentroute_status import AgentRouteStatus
from tests.builders import NAMESPACE
from tests.routes import ROUTE_UID, SETTINGS, Held, resolved

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)


def render(policy: Policy, layout: Layout) -> Mapping[str, str]:
    """Stands for haproxy.render: only that files follow policy and layout counts here."""
    return {"haproxy.cfg": f"{layout}\n", "route.json": policy.to_json()}


def node(name: str, site: str, ready: bool = True) -> Manifest:
    """A node at a site."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    labels = {SETTINGS.site_label: site}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}}


class RouteFleet:
    """What there is of one route."""

    def __init__(self, held: Held | None = None) -> None:
        self.held = held or Held().server()
        self.children: dict[Key, Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        self._owners: dict[str, str] = {}
        self.nodes: list[Manifest] = []
        self.served = frozenset({"Agent", "HTTPRoute"})
        self.status = AgentRouteStatus()

    def observed(self) -> RouteObserved:
        def of(kind: str) -> list[Manifest]:
            return (
                list(self.pods.values()) if kind == "Pod" else [m for k, m in self.children.items() if k.kind == kind]
            )

        return gather_route(of, ROUTE_UID, self.served, self.nodes, SETTINGS.site_label)

    def step(self, asked: AgentRoute) -> RoutePlan:
        """Resolve, plan, and do what the plan says as reconcile does; the status is kept."""
        resolution = resolved(asked, self.held, tuple(self.served))
        for manifest in route_services(asked, resolution, self.observed(), SETTINGS):
            self._make(manifest)
        plan = plan_route(asked, resolution, self.observed(), SETTINGS, render)
        for manifest in plan.apply:
            self._make(manifest)
        for key, uid in plan.delete:
            assert self.children.pop(key)["metadata"]["uid"] == uid
        self.status = self.assess(asked, plan).status
        return plan

    def assess(self, asked: AgentRoute, plan: RoutePlan) -> RouteAssessment:
        resolution = resolved(asked, self.held, tuple(self.served))
        return assess_route(asked, self.status, resolution, plan, self.observed(), SETTINGS, NOW)

    def _make(self, manifest: Manifest) -> None:
        key, old = key_of(manifest), self.children.get(key_of(manifest), {})
        made = copy.deepcopy(manifest)
        made["metadata"] |= {"uid": f"uid of {key}", "generation": 1}
        if old:
            changed = old["metadata"]["annotations"] != manifest["metadata"]["annotations"]
            made["metadata"]["generation"] = old["metadata"]["generation"] + changed
            made["status"] = old.get("status", {})
        if key.kind == "Service":
            address = old["spec"]["clusterIP"] if old else f"10.96.0.{len(self.children)}"
            made["spec"].setdefault("clusterIP", address)
        self.children[key] = made

    def names(self, kind: str) -> list[str]:
        """Children of a kind."""
        return sorted(key.name for key in self.children if key.kind == kind)

    def workloads(self) -> list[str]:
        """StatefulSets and Deployments, as KIND/NAME."""
        return sorted(f"{key.kind}/{key.name}" for key in self.children if key.kind in ("StatefulSet", "Deployment"))

    def roll(self, *workloads: str, ready: bool = True) -> None:
        """The controllers have replaced the pods of these (KIND/NAME; of all, where none is named)."""
        for name in workloads or self.workloads():
            live = self.children[self.key(name)]
            replicas = live["spec"]["replicas"]
            live["status"] = {
                "observedGeneration": live["metadata"]["generation"],
                "readyReplicas": replicas if ready else 0,
                "updatedReplicas": replicas,
            }
            labels = live["spec"]["template"]["metadata"]["labels"]
            for pod in [pod for pod in self.pods if self._owners[pod] == name]:
                del self.pods[pod]
            for index in range(replicas):
                self._pod(name, index, labels, ready)
        for pod in list(self.pods):
            if self._owners[pod] not in self.workloads():
                del self.pods[pod]

    def surge(self, name: str) -> None:
        """A Deployment has its second pod, which is not ready yet."""
        live = self.children[self.key(name)]
        counts = {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 1}
        live["status"] = counts | {"observedGeneration": live["metadata"]["generation"]}
        self._pod(name, 1, live["spec"]["template"]["metadata"]["labels"], ready=False)

    @staticmethod
    def key(workload: str) -> Key:
        """Of a KIND/NAME."""
        kind, _, name = workload.partition("/")
        return Key(kind, NAMESPACE, name)

    def _pod(self, workload: str, index: int, labels: Mapping[str, str], ready: bool) -> None:
        kind, _, name = workload.partition("/")
        pod = f"{name}-{index}" if kind == "StatefulSet" else f"{name}-{labels[REVISION_LABEL]}-{index}"
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        metadata = {"name": pod, "namespace": NAMESPACE, "uid": pod, "labels": dict(labels)}
        self._owners[pod] = workload
        self.pods[pod] = {"kind": "Pod", "metadata": metadata, "spec": {}, "status": {"conditions": conditions}}

    def revisions(self) -> dict[str, str]:
        """By pod, the revision that it runs."""
        return {name: pod["metadata"]["labels"][REVISION_LABEL] for name, pod in sorted(self.pods.items())}

    def condition(self, kind: str) -> tuple[str, str] | None:
        """Status and reason of a condition."""
        return next(((c.status, c.reason) for c in self.status.conditions if c.type == kind), None)

    def message(self, kind: str) -> str:
        """Its message."""
        return next(c.message for c in self.status.conditions if c.type == kind)
