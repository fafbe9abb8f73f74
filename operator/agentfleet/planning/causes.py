"""Why a ModelServer does not serve as wanted: the first cause of its first troubled pod, or of a model. Pure."""

from datetime import datetime, timedelta

from agentfleet.engines import ENGINES
from agentfleet.engines.base import startup_seconds
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.manifests.pod import ENGINE
from agentfleet.objects import Manifest
from agentfleet.planning.failures import Failure, PodView, failure, is_ready, workload_failure
from agentfleet.planning.observed import Observed
from agentfleet.resources.conditions import HINTS
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ServedModel
from agentfleet.settings import Settings


def cause_of(
    server: ModelServer, observed: Observed, revision: str, settings: Settings, now: datetime
) -> Failure | None:
    """Why the newest revision does not serve as wanted: the first cause of its first troubled pod."""
    engine = ENGINES.get(server.spec.engine)
    for manifest in observed.workload_manifests:
        if manifest["metadata"].get("labels", {}).get(REVISION_LABEL) == revision:
            found = workload_failure(manifest)
            if found:
                return found
    for pod in (*observed.pods, *observed.workers):
        if pod["metadata"].get("labels", {}).get(REVISION_LABEL) != revision or "deletionTimestamp" in pod["metadata"]:
            continue
        found = failure(PodView(pod, engine, observed.mount_failures.get(pod["metadata"]["name"])))
        late = _late(server, pod, now)
        if found and found.reason == "Unschedulable":
            found = _no_such_site(server, observed, settings) or found
        if found and found.transient and late:
            return Failure(found.reason, found.message)
        if found or late:
            return found or late
    return None


def model_failed(models: tuple[ServedModel, ...]) -> Failure | None:
    failed = next((model for model in models if model.state == "Failed"), None)
    if failed is None:
        return None
    return Failure(known_reason(failed.reason), f"{failed.name}: {failed.message or 'failed.'}")


def known_reason(reason: str | None) -> str:
    return reason if reason in HINTS else "EngineDied"


def _late(server: ModelServer, pod: Manifest, now: datetime) -> Failure | None:
    if is_ready(pod) or has_started(pod):
        return None
    started = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    budget = startup_seconds(server)
    if now - started < timedelta(seconds=budget):
        return None
    return Failure("ProbeTimeout", f"Pod {pod['metadata']['name']} has not answered within {budget} s.")


def has_started(pod: Manifest) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    mine = [status for status in statuses if status["name"] == ENGINE]
    return any(status.get("started") or status.get("restartCount") for status in mine)


def _no_such_site(server: ModelServer, observed: Observed, settings: Settings) -> Failure | None:
    sites = server.spec.placement.sites if server.spec.placement else ()
    if not sites or observed.sites is None or observed.sites & set(sites):
        return None
    known = ", ".join(sorted(observed.sites)) or "none"
    return Failure(
        "Unschedulable",
        f"No node has {settings.site_label} = {' or '.join(sites)}; sites that there are: {known}.",
        transient=True,
    )
