"""What reconcile has gathered about one AgentRoute before anything is decided. Pure data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.observed import is_owned


@dataclass(frozen=True)
class RouteObserved:
    """Live children of one AgentRoute."""

    workloads: tuple[Manifest, ...] = ()
    """StatefulSets and Deployments."""
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
    public_keys: str | None = None
    """Digest of the public keys of tokens that gateways have to be replaced for; None where nothing has been seen."""
    lacking_secrets: frozenset[str] | None = None
    """Secrets in which gateways of the newest revision find no usable key (route_secrets.py); None where they have not
    been asked yet."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Pod name → last message about a volume that cannot be mounted."""

    def workload(self, key: Key) -> Manifest | None:
        """One workload."""
        return next((each for each in self.workloads if key_of(each) == key), None)

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
        workloads=(*owned("StatefulSet"), *owned("Deployment")),
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


def is_rolled_out(workload: Manifest | None, revision: str) -> bool:
    """Whether all pods of a workload are of `revision` and serve."""
    if workload is None or not is_begun(workload, revision):
        return False
    metadata, status = workload["metadata"], workload.get("status", {})
    wanted = workload["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    # While a Deployment has a pod too many, the one that is ready may be of the former revision.
    settled = status.get("replicas", updated) <= updated
    return bool(seen and settled and updated >= wanted and status.get("readyReplicas", 0) >= wanted)


def is_begun(workload: Manifest, revision: str) -> bool:
    """Whether a workload is told to have `revision`."""
    told: str | None = workload["metadata"].get("labels", {}).get(REVISION_LABEL)
    return told == revision


def serves(workload: Manifest) -> bool:
    """Whether a workload has a pod that takes requests."""
    return bool(workload.get("status", {}).get("readyReplicas", 0))


def _is_node_ready(node: Manifest) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
