"""What reconcile has gathered about one AgentRoute before anything is decided. Pure data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Manifest
from agentfleet.planning.observed import is_owned


@dataclass(frozen=True)
class RouteObserved:
    """Live children of one AgentRoute."""

    stateful_sets: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    config_maps: tuple[Manifest, ...] = ()
    policies: tuple[Manifest, ...] = ()
    budgets: tuple[Manifest, ...] = ()
    http_routes: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    served: frozenset[str] = frozenset()
    """Optional kinds that the API server has."""
    sites: frozenset[str] | None = None
    """Sites that nodes have; None where nodes are not watched."""
    lost_sites: frozenset[str] = frozenset()
    """Those of them none of whose nodes is ready."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Pod name → last message about a volume that cannot be mounted."""

    def stateful_set(self, name: str) -> Manifest | None:
        """One StatefulSet by name."""
        return next((each for each in self.stateful_sets if each["metadata"]["name"] == name), None)

    def address(self, service: str) -> str | None:
        """The address of a Service; None while it has none."""
        for each in self.services:
            if each["metadata"]["name"] == service:
                address: str | None = each["spec"].get("clusterIP")
                return address if address != "None" else None
        return None


def gather_route(
    children: Callable[[str], Sequence[Manifest]],
    uid: str,
    served: frozenset[str],
    nodes: Sequence[Manifest] | None = None,
    site_label: str = "",
) -> RouteObserved:
    """What the cache holds of the AgentRoute with `uid`; `children` gives those of one kind (Cache.children).

    `nodes` are looked at with perSite only; None where they are not watched.
    """

    def owned(kind: str) -> tuple[Manifest, ...]:
        return tuple(child for child in children(kind) if is_owned(child, uid))

    ready = [(site_of(node, site_label), _is_node_ready(node)) for node in nodes or ()]
    sites = frozenset(site for site, _ in ready if site)
    return RouteObserved(
        stateful_sets=owned("StatefulSet"),
        services=owned("Service"),
        config_maps=owned("ConfigMap"),
        policies=owned("NetworkPolicy"),
        budgets=owned("PodDisruptionBudget"),
        http_routes=owned("HTTPRoute"),
        pods=tuple(children("Pod")),
        served=served,
        sites=None if nodes is None else sites,
        lost_sites=sites - {site for site, is_ready in ready if is_ready},
    )


def site_of(node: Manifest, site_label: str) -> str:
    """The site of a node; empty where it has none."""
    site: str = node["metadata"].get("labels", {}).get(site_label, "")
    return site


def is_rolled_out(stateful_set: Manifest | None, revision: str) -> bool:
    """Whether all pods of a StatefulSet are of `revision` and serve."""
    if stateful_set is None or not is_begun(stateful_set, revision):
        return False
    metadata, status = stateful_set["metadata"], stateful_set.get("status", {})
    wanted = stateful_set["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return bool(seen and status.get("updatedReplicas", 0) >= wanted and status.get("readyReplicas", 0) >= wanted)


def is_begun(stateful_set: Manifest, revision: str) -> bool:
    """Whether a StatefulSet is told to have `revision`."""
    told: str | None = stateful_set["metadata"].get("labels", {}).get(REVISION_LABEL)
    return told == revision


def serves(stateful_set: Manifest) -> bool:
    """Whether a StatefulSet has a pod that takes requests."""
    return bool(stateful_set.get("status", {}).get("readyReplicas", 0))


def _is_node_ready(node: Manifest) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
