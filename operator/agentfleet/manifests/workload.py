"""The workload of a ModelServer: one Deployment for each revision. Pure.

A revision is a digest of the finished pod template, so a Deployment's template never changes: a changed spec is a new
Deployment, and planning/rollout.py moves the pods over.
"""

from dataclasses import dataclass
from typing import Any

from agentfleet.engines import ENGINES
from agentfleet.engines.base import Launch, startup_seconds
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.affinity import affinity_problems
from agentfleet.manifests.canonical import finish
from agentfleet.manifests.limits import violations
from agentfleet.manifests.loader import LOADER
from agentfleet.manifests.merge import overlay, shape_problems
from agentfleet.manifests.names import (
    REVISION_LABEL,
    SIDECAR_ANNOTATION,
    child,
    child_labels,
    digest,
    workload_name,
)
from agentfleet.manifests.pod import ENGINE, SIDECAR, model_path, pod_template
from agentfleet.objects import MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.pods import PodTemplate
from agentfleet.settings import Settings


@dataclass(frozen=True)
class Workload:
    """What one spec becomes: the pod template and the revision that it is called by."""

    revision: str
    template: dict[str, Any]
    launch: Launch


def workload(server: ModelServer, settings: Settings) -> Workload:
    """The finished template of a spec; InvalidSpec where flags or limits forbid it.

    The sidecar's image is left out of the revision: an upgrade of the operator alone must not restart engines.
    """
    engine = ENGINES[server.spec.engine]
    launch = engine.launch(server, model_path(server), settings)
    problems = list(engine.problems(server, launch.image))
    if problems:
        raise InvalidSpec("BadFlag", "; ".join(problems) + ".")
    _check_shapes(server)
    template = _merged(server, pod_template(server, engine, launch, settings, sidecar_image=""))
    finish(template)
    forbidden = list(violations(template, settings))
    if forbidden:
        raise InvalidSpec("NotAllowed", "; ".join(forbidden) + ".")
    return Workload(revision=digest(template, 8), template=template, launch=launch)


def deployment(server: ModelServer, work: Workload, sidecar_image: str) -> Manifest:
    """The Deployment of one revision, without replicas: those are written through /scale."""
    labels = {MODEL_SERVER_LABEL: server.name, REVISION_LABEL: work.revision}
    template = overlay(work.template, {"metadata": {"labels": labels}})
    template["spec"] = template["spec"] | {
        "initContainers": [
            container if container.get("image") else container | {"image": sidecar_image}
            for container in template["spec"]["initContainers"]
        ]
    }
    manifest = child(
        server,
        "apps/v1",
        "Deployment",
        workload_name(server, work.revision),
        spec={
            "progressDeadlineSeconds": startup_seconds(server) + 60,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    )
    manifest["metadata"]["labels"] |= {REVISION_LABEL: work.revision}
    manifest["metadata"]["annotations"][SIDECAR_ANNOTATION] = sidecar_image
    return manifest


def _wish(over: PodTemplate) -> dict[str, Any]:
    # Nulls inside are kept: they take something away.
    return {name: value for name, value in over.model_dump(by_alias=True).items() if value is not None}


def _check_shapes(server: ModelServer) -> None:
    """Free-form fields are kept by the API server as they are, so this is the first look that anybody takes at them."""
    problems = list(shape_problems(_wish(server.spec.pod_template))) if server.spec.pod_template else []
    if server.spec.placement and server.spec.placement.affinity:
        problems += affinity_problems(dict(server.spec.placement.affinity))
    if problems:
        raise InvalidSpec("InvalidSpec", "; ".join(problems) + ".")


def _merged(server: ModelServer, template: dict[str, Any]) -> dict[str, Any]:
    over = server.spec.pod_template
    if over is None:
        return template
    merged: dict[str, Any] = overlay(template, _wish(over))
    # What Services, drains and this operator rely on is put back.
    merged["metadata"]["labels"] |= template["metadata"]["labels"] | child_labels(server)
    built = {item["name"]: item for item in (*template["spec"]["initContainers"], *template["spec"]["containers"])}
    merged["spec"]["initContainers"] = [
        built[item["name"]] if item["name"] in (SIDECAR, LOADER) and item["name"] in built else item
        for item in merged["spec"]["initContainers"]
    ]
    for container in merged["spec"]["containers"]:
        if container["name"] == ENGINE:
            container["ports"] = built[ENGINE]["ports"]
            container["lifecycle"] = built[ENGINE]["lifecycle"]
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                if "httpGet" in container.get(probe, {}):
                    container[probe]["httpGet"]["port"] = built[ENGINE][probe]["httpGet"]["port"]
    return merged
