"""ModelServer + what there is → what to apply, scale and delete. Pure."""

from dataclasses import dataclass, field

from agentfleet.engines import ENGINES
from agentfleet.engines.base import gpu_count
from agentfleet.manifests.names import SIDECAR_ANNOTATION
from agentfleet.manifests.service import files_config_map, services
from agentfleet.manifests.workload import Workload, deployment, workload
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.observed import Observed
from agentfleet.planning.rollout import pace, replicas_by_workload
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings


@dataclass(frozen=True)
class Plan:
    """Everything that shall be so. Executing it twice changes nothing."""

    revision: str
    apply: tuple[Manifest, ...]
    """Children as they shall be, in the order in which they are made."""
    scale: dict[Key, int] = field(default_factory=dict)
    """Workloads that exist and the pods that they shall have now."""
    delete: tuple[tuple[Key, str], ...] = ()
    """Children that are not wanted any more, with their uid."""


def plan(server: ModelServer, observed: Observed, settings: Settings) -> Plan:
    """The plan for one ModelServer; InvalidSpec where its spec cannot become pods."""
    work = workload(server, settings)
    targets = _targets(server, work, observed)
    live = {manifest["metadata"]["name"]: manifest for manifest in observed.deployments}
    newest = _newest_deployment(server, work, live, settings)
    # Always there, so that no apply of the template can ever reset the number; changes of it alone go through /scale.
    newest["spec"]["replicas"] = targets[work.revision]
    files = files_config_map(server)
    wanted = [*services(server, work.launch.port), *([files] if files else []), newest]
    return Plan(
        revision=work.revision,
        apply=tuple(wanted),
        scale={
            Key("Deployment", server.namespace, seen.name): targets.get(seen.revision, 0) for seen in observed.workloads
        },
        delete=_unwanted(wanted, observed),
    )


def _targets(server: ModelServer, work: Workload, observed: Observed) -> dict[str, int]:
    gpus = gpu_count(ENGINES[server.spec.engine], server)
    return replicas_by_workload(server.replicas, work.revision, observed.workloads, pace(server.replicas, gpus))


def _newest_deployment(server: ModelServer, work: Workload, live: dict[str, Manifest], settings: Settings) -> Manifest:
    manifest = deployment(server, work, settings.sidecar_image)
    existing = live.get(manifest["metadata"]["name"])
    if existing is None:
        return manifest
    made_with = existing["metadata"].get("annotations", {}).get(SIDECAR_ANNOTATION, settings.sidecar_image)
    return deployment(server, work, made_with)


def _unwanted(wanted: list[Manifest], observed: Observed) -> tuple[tuple[Key, str], ...]:
    """Old workloads once they are empty, and Services and ConfigMaps that no spec asks for."""
    kept = {key_of(manifest) for manifest in wanted}
    empty = {seen.name for seen in observed.workloads if not seen.replicas and not seen.pods}
    old = [manifest for manifest in observed.deployments if key_of(manifest) not in kept]
    gone = [manifest for manifest in old if manifest["metadata"]["name"] in empty]
    gone += [manifest for manifest in observed.services if key_of(manifest) not in kept]
    if all(manifest in gone for manifest in old):  # else pods of an old revision may still mount theirs
        gone += [manifest for manifest in observed.config_maps if key_of(manifest) not in kept]
    return tuple((key_of(manifest), manifest["metadata"]["uid"]) for manifest in gone)
