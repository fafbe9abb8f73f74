"""The pods of a ModelServer as one spec makes them: the finished template, and the revision it is called by. Pure.

A revision is a digest of the finished pod template: a changed spec is a new revision. Which kind of workload runs it is
said in manifests/kinds.py.
"""

from dataclasses import dataclass
from typing import Any

from agentfleet.engines import ENGINES
from agentfleet.engines.base import Launch, node_count
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.affinity import affinity_problems
from agentfleet.manifests.canonical import finish
from agentfleet.manifests.group import check_group
from agentfleet.manifests.limits import violations
from agentfleet.manifests.loader import LOADER, model_path
from agentfleet.manifests.merge import overlay, shape_problems
from agentfleet.manifests.names import child_labels, digest
from agentfleet.manifests.pod import ENGINE, SIDECAR, pod_template
from agentfleet.manifests.prober import prober_template
from agentfleet.manifests.topology import placement_mode
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.pods import PodTemplate
from agentfleet.settings import Settings


@dataclass(frozen=True)
class Workload:
    """What one spec becomes: the pod template and the revision that it is called by."""

    revision: str
    template: dict[str, Any]
    launch: Launch | None
    """How the engine is started; None for engines outside the cluster, whose pod only watches them."""


def workload(server: ModelServer, settings: Settings) -> Workload:
    """The finished template of a spec; InvalidSpec where flags or limits forbid it.

    The sidecar's image is left out of the revision: an upgrade of the operator alone must not restart engines.
    """
    launch = None if server.is_external else _launch(server, settings)
    _check_shapes(server)
    if launch is None:
        template = prober_template(server, settings, sidecar_image="")
    else:
        engine = ENGINES[server.spec.engine]
        template = _merged(server, pod_template(server, engine, launch, settings, sidecar_image=""))
    finish(template)
    forbidden = list(violations(template, settings))
    if forbidden:
        raise InvalidSpec("NotAllowed", "; ".join(forbidden) + ".")
    return Workload(revision=digest(_identity(server, template), 8), template=template, launch=launch)


def _identity(server: ModelServer, template: dict[str, Any]) -> dict[str, Any]:
    """All that makes other pods of a template, so that no two kinds of workload ever have the same revision."""
    if server.is_external or (node_count(server) == 1 and placement_mode(server) != "PerNode"):
        return template
    return {"mode": placement_mode(server), "nodes": node_count(server), "template": template}


def _launch(server: ModelServer, settings: Settings) -> Launch:
    engine = ENGINES[server.spec.engine]
    launch = engine.launch(server, model_path(server), settings)
    problems = list(engine.problems(server, launch.image))
    if problems:
        raise InvalidSpec("BadFlag", "; ".join(problems) + ".")
    if node_count(server) > 1:
        check_group(server)
    return launch


def wish(over: PodTemplate) -> dict[str, Any]:
    """A podTemplate as plain data. Nulls inside are kept: they take something away."""
    return {name: value for name, value in over.model_dump(by_alias=True).items() if value is not None}


def _check_shapes(server: ModelServer) -> None:
    """Free-form fields are kept by the API server as they are, so this is the first look that anybody takes at them."""
    problems = list(shape_problems(wish(server.spec.pod_template))) if server.spec.pod_template else []
    if server.spec.placement and server.spec.placement.affinity:
        problems += affinity_problems(dict(server.spec.placement.affinity))
    if problems:
        raise InvalidSpec("InvalidSpec", "; ".join(problems) + ".")


def _merged(server: ModelServer, template: dict[str, Any]) -> dict[str, Any]:
    over = server.spec.pod_template
    if over is None:
        return template
    merged: dict[str, Any] = overlay(template, wish(over))
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
