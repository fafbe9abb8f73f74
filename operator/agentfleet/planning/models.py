"""status.models and status.engineVersion: from what the sidecars say, kept while nobody is asked. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.planning.observed import Observed
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus, ServedModel

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
        return tuple(best[name] for name in sorted(best))
    if before.models and before.revision == revision:
        return before.models
    return (ServedModel(name=server.model_name, state="Pending"),)


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
    )
