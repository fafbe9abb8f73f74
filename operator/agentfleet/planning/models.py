"""status.models and status.engineVersion: from what the sidecars say, kept while nobody is asked. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.planning.loading import source_found
from agentfleet.planning.observed import Observed
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus, ServedModel, SourceFacts

MOST_MODELS = 64
"""Models that status names; as many as its schema takes."""

_ORDER = ("Failed", "Pending", "Downloading", "Verifying", "Loading", "Ready")


def served_models(
    server: ModelServer, before: ModelServerStatus, observed: Observed, revision: str
) -> tuple[ServedModel, ...]:
    """Each model once, in the best state that any pod of the newest revision is in."""
    best: dict[str, ServedModel] = {}
    for answer in _answers(observed, revision):
        for model in _models(answer):
            held = best.get(model.name)
            if held is None or _ORDER.index(model.state) > _ORDER.index(held.state):
                best[model.name] = model
    if best:
        # An endpoint may list hundreds; the model that is asked for is always among those that are shown.
        shown = sorted(best, key=lambda name: (name != server.model_name, name))[:MOST_MODELS]
        return tuple(best[name] for name in sorted(shown))
    if before.models and before.revision == revision:
        return before.models
    return (ServedModel(name=server.model_name, state="Pending"),)


def loader_models(server: ModelServer, observed: Observed) -> tuple[ServedModel, ...]:
    """The model as the Jobs that load it say; the one that is least far speaks for all. Empty while none answers."""
    names = [pod["metadata"]["name"] for pod in observed.loader_pods]
    told = [model for name in names if name in observed.sidecars for model in _models(observed.sidecars[name])]
    if not told:
        return ()
    least = min(told, key=lambda model: (_ORDER.index(model.state), model.progress_percent or 0))
    return (least.model_copy(update={"name": server.model_name}),)


def sources_told(
    server: ModelServer, before: ModelServerStatus, observed: Observed, revision: str, now: datetime
) -> tuple[SourceFacts, ...]:
    """What is known of sources, with what the loaders in the pods of this revision found beside the download."""
    known = {source.uri: source for source in before.sources}
    if server.is_external or server.model.update or server.model.uri in known:
        return before.sources
    for pod in observed.pods:
        if pod["metadata"].get("labels", {}).get(REVISION_LABEL) != revision:
            continue
        source = source_found(server, pod.get("status", {}).get("initContainerStatuses", ()), now)
        if source:
            known[source.uri] = source
            break
    return tuple(known[uri] for uri in sorted(known))


def engine_version(before: ModelServerStatus, observed: Observed, revision: str) -> str | None:
    """What the engine of the newest revision says it is."""
    for answer in _answers(observed, revision):
        if answer.get("engineVersion"):
            return str(answer["engineVersion"])[:128]
    return before.engine_version


def _answers(observed: Observed, revision: str) -> list[Mapping[str, Any]]:
    names = [
        pod["metadata"]["name"]
        for pod in observed.pods
        if pod["metadata"].get("labels", {}).get(REVISION_LABEL) == revision
    ]
    return [observed.sidecars[name] for name in names if name in observed.sidecars]


def _models(answer: Mapping[str, Any]) -> list[ServedModel]:
    """What can be read of an answer: sidecars are of several versions, and anybody may listen on a pod's port."""
    try:
        return [_model(item) for item in answer.get("models", ())]
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError):
        return []


def _model(item: Mapping[str, Any]) -> ServedModel:
    percent = item.get("progressPercent")
    return ServedModel(
        name=str(item["name"])[:512],
        state=item["state"],
        # Steps of ten: a download must not write status every second.
        progress_percent=int(percent) // 10 * 10 if percent is not None and item["state"] == "Downloading" else None,
        reason=item.get("reason"),
        message=item["message"][:1024] if item.get("message") else None,
        digest=item.get("digest"),
        size=item.get("size"),
        updated_at=item.get("updatedAt"),
    )
