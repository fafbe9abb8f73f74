"""ModelServer + what there is → what to apply, scale and delete. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agentfleet.engines import ENGINES
from agentfleet.engines.base import Launch, gpu_count, node_count
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.inferencepool import KIND as POOL_KIND
from agentfleet.manifests.inferencepool import inference_pool, wants_pool
from agentfleet.manifests.kinds import DAEMON_SET, Extent, workload_key, workload_kind, workload_manifest
from agentfleet.manifests.names import REVISION_LABEL, SIDECAR_ANNOTATION
from agentfleet.manifests.policy import loader_network_policy, network_policy, pod_disruption_budget
from agentfleet.manifests.service import adapters_config_map, files_config_map, services
from agentfleet.manifests.workload import Workload, workload
from agentfleet.objects import KINDS, Key, Manifest, key_of
from agentfleet.planning.demands import demand_of
from agentfleet.planning.hardware import room
from agentfleet.planning.observed import Observed, ObservedWorkload, not_in
from agentfleet.planning.rollout import (
    Begun,
    Pace,
    daemon_set_may_go,
    pace,
    replicas_beside_daemon_set,
    replicas_by_workload,
)
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import RolloutPace
from agentfleet.settings import Settings

_MISSING_RETRY = 30.0
"""Seconds between looks whether an optional kind has come; its CRD is not watched."""


@dataclass(frozen=True)
class Plan:
    """Everything that shall be so. Executing it twice changes nothing."""

    revision: str
    apply: tuple[Manifest, ...]
    """Children as they shall be, in the order in which they are made."""
    scale: dict[Key, int] = field(default_factory=dict)
    """Workloads that exist and the replicas that they shall have now."""
    delete: tuple[tuple[Key, str], ...] = ()
    """Children that are not wanted any more, with their uid."""
    wanted: int | None = 0
    """Replicas that shall serve in the end; of PerNode one on each node that fits, None until these are known."""
    launch: Launch | None = None
    """How the engine is started; None for engines outside the cluster."""
    rollout: RolloutPace | None = None
    """How old pods are being replaced; None where there are none."""


def plan(server: ModelServer, observed: Observed, settings: Settings) -> Plan:
    """The plan for one ModelServer, resolved; InvalidSpec where its spec cannot become pods."""
    work = workload(server, settings)
    key = workload_key(server, work.revision)
    _check_served(key.kind, observed)
    current = next((seen for seen in observed.workloads if (seen.key, seen.revision) == (key, work.revision)), None)
    # The DaemonSet that is to be changed is no other workload: its controller replaces its pods.
    old = [seen for seen in observed.workloads if seen.key != key]
    rolling = any(seen.replicas or seen.pods for seen in old) or _is_changing(key, work.revision, observed)
    how, rollout = _pace(server, work, observed, current, settings)
    if key.kind == DAEMON_SET:
        daemon = next((seen for seen in observed.workloads if seen.key == key), None)
        targets = replicas_beside_daemon_set(current, old, how)
        extent = _daemon_extent(how, observed)
        # Where no node fits, the wish is not fulfilled by serving nobody.
        wanted = max(1, daemon.replicas) if daemon is not None and daemon.known else None
    else:
        numbered = [seen for seen in (current, *old) if seen is not None and seen.kind != DAEMON_SET]
        targets = replicas_by_workload(server.replicas, work.revision, numbered, how)
        extent = Extent(replicas=targets[work.revision])
        wanted = server.replicas
    strategy = rollout.strategy if rolling and _is_chosen(server) else None
    newest = workload_manifest(server, work, _sidecar_image(key, work, observed, settings), extent, strategy)
    children = [*_companions(server, work, observed, settings), newest, *_pool(server, work, observed)]
    leaving = [seen for seen in old if _may_go(seen, server.replicas, current, how)]
    return Plan(
        revision=work.revision,
        apply=tuple(children),
        scale={
            seen.key: targets.get(seen.revision, 0)
            for seen in (current, *old)
            if seen is not None and seen.kind != DAEMON_SET
        },
        delete=(*((seen.key, seen.uid) for seen in leaving), *_unwanted(children, observed, old, leaving)),
        wanted=wanted,
        launch=work.launch,
        rollout=rollout if rolling else None,
    )


def scaled_meanwhile(observed: Observed, replicas: int) -> dict[Key, int]:
    """Workloads and the replicas that they shall have while their successor cannot be made yet; none in the middle of
    an earlier rollout."""
    serving = [seen for seen in observed.workloads if seen.replicas or seen.pods]
    if len(serving) != 1 or serving[0].kind == DAEMON_SET:
        return {}
    return {serving[0].key: replicas}


def asks_for_nodes(server: ModelServer, observed: Observed, settings: Settings) -> bool:
    """Whether the plan depends on Observed.nodes: a rollout whose pace follows free GPUs, or pods on every node."""
    if workload_kind(server) == DAEMON_SET:
        return True
    if not _is_chosen(server):
        return False
    key = workload_key(server, workload(server, settings).revision)
    return any(seen.key != key and (seen.replicas or seen.pods) for seen in observed.workloads)


def _check_served(kind: str, observed: Observed) -> None:
    if KINDS[kind].optional and kind not in observed.served:
        name = f"{KINDS[kind].plural}.{KINDS[kind].group}"
        raise InvalidSpec(
            "LeaderWorkerSetMissing",
            f"parallelism.nodes is above 1, and the API server does not serve {name} ({KINDS[kind].version}).",
            after=_MISSING_RETRY,
        )


def _gpus(server: ModelServer) -> int:
    return 0 if server.is_external else gpu_count(ENGINES[server.spec.engine], server)


def _needs_gpus(server: ModelServer) -> bool:
    return bool(_gpus(server) or (server.spec.gpu and server.spec.gpu.claims))


def _is_chosen(server: ModelServer) -> bool:
    """True where the pace of a rollout is chosen by what is free."""
    strategy = server.spec.rollout.strategy if server.spec.rollout else None
    return _needs_gpus(server) and strategy in (None, "Auto")


def _is_changing(key: Key, revision: str, observed: Observed) -> bool:
    """True while the one DaemonSet still has pods of a former revision."""
    pods = (pod["metadata"].get("labels", {}).get(REVISION_LABEL) for pod in observed.pods)
    return key.kind == DAEMON_SET and any(other != revision for other in pods)


def _pace(
    server: ModelServer, work: Workload, observed: Observed, current: ObservedWorkload | None, settings: Settings
) -> tuple[Pace, RolloutPace]:
    key = workload_key(server, work.revision)
    strategy = (server.spec.rollout.strategy if server.spec.rollout else None) or "Auto"
    wanted, on_gpus = server.replicas, _needs_gpus(server)
    if key.kind == DAEMON_SET:
        daemon = next((seen for seen in observed.workloads if seen.key == key), None)
        wanted = daemon.replicas if daemon else 1
        if on_gpus and strategy == "Auto":
            reason = "A node's GPUs are those of its one pod, which has to leave before its successor can start."
            return Pace(surge=0, unavailable=1), RolloutPace(strategy="NoSurge", reason=reason)
    begun = None
    if current is not None and current.strategy in ("Surge", "NoSurge"):
        begun = Begun("Surge" if current.strategy == "Surge" else "NoSurge", _is_stuck(work.revision, observed))
    how, chosen, reason = pace(wanted, strategy, _room(server, observed, settings), begun, on_gpus=on_gpus)
    return how, RolloutPace(strategy=chosen, reason=reason)


def _room(server: ModelServer, observed: Observed, settings: Settings) -> int | None:
    """Further replicas that the nodes could run now; None where that is not known, as with claims (DRA)."""
    gpus, pods = _gpus(server), node_count(server)
    if not gpus or (server.spec.gpu and server.spec.gpu.claims):
        return None
    free = room(observed.nodes, demand_of(server, settings.site_label, gpus=gpus // pods, pods=pods))
    return None if free is None else free // pods


def _is_stuck(revision: str, observed: Observed) -> bool:
    """The scheduler finds no node for a new pod, and no pod of ours is on its way off a node that is alive."""
    alive = {node.name for node in observed.nodes or () if node.ready}
    pods = (*observed.pods, *observed.workers)
    if any("deletionTimestamp" in pod["metadata"] and pod["spec"].get("nodeName") in alive for pod in pods):
        return False
    return any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
        for pod in pods
        if pod["metadata"].get("labels", {}).get(REVISION_LABEL) == revision
        for condition in pod.get("status", {}).get("conditions", ())
    )


def _daemon_extent(how: Pace, observed: Observed) -> Extent:
    """Pods on nodes that are cut off count as unavailable with a DaemonSet: without these it would wait for them."""
    lost = {node.name for node in observed.nodes or () if not node.ready}
    cut_off = len({pod["spec"].get("nodeName") for pod in observed.pods} & lost)
    if how.surge:
        return Extent(surge=how.surge + cut_off, unavailable=0)
    return Extent(surge=0, unavailable=how.unavailable + cut_off)


def _sidecar_image(key: Key, work: Workload, observed: Observed, settings: Settings) -> str:
    """The image that this revision was made with: an upgrade of the operator alone restarts no engine."""
    for live in observed.workload_manifests:
        if key_of(live) == key and live["metadata"].get("labels", {}).get(REVISION_LABEL) == work.revision:
            made_with: str = live["metadata"].get("annotations", {}).get(SIDECAR_ANNOTATION, settings.sidecar_image)
            return made_with
    return settings.sidecar_image


def _companions(server: ModelServer, work: Workload, observed: Observed, settings: Settings) -> Iterable[Manifest]:
    """Everything beside the workload, in the order in which it is needed."""
    port = work.launch.port if work.launch else 0
    if work.launch:
        yield from services(server, port)
    jobs = loader_network_policy(server, settings) if observed.jobs else None
    configs = (files_config_map(server), adapters_config_map(server))
    for manifest in (*configs, network_policy(server, port, settings), jobs, pod_disruption_budget(server)):
        if manifest is not None:
            yield manifest


def _pool(server: ModelServer, work: Workload, observed: Observed) -> Iterable[Manifest]:
    """The InferencePool; last, since an older CRD refuses it, and the pods shall be there nevertheless."""
    if wants_pool(server) and POOL_KIND in observed.served and work.launch:
        yield inference_pool(server, work.launch.port)


def _may_go(seen: ObservedWorkload, wanted: int, current: ObservedWorkload | None, how: Pace) -> bool:
    if seen.kind == DAEMON_SET:
        return daemon_set_may_go(wanted, current, how)
    return not seen.replicas and not seen.pods


def _unwanted(
    children: Sequence[Manifest],
    observed: Observed,
    old: Sequence[ObservedWorkload],
    leaving: Sequence[ObservedWorkload],
) -> tuple[tuple[Key, str], ...]:
    """Services, policies, budgets and ConfigMaps that no spec asks for."""
    kept = frozenset(key_of(manifest) for manifest in children)
    gone = not_in((*observed.services, *observed.policies, *observed.budgets, *observed.inference_pools), kept)
    if len(leaving) == len(old):  # else pods of an old revision may still mount theirs
        gone += not_in(observed.config_maps, kept)
    return tuple((key_of(manifest), manifest["metadata"]["uid"]) for manifest in gone)
