"""The one model of an engine that reads weights from disk (vLLM, llama-server): what the loader and the engine say."""

import logging
from dataclasses import replace
from pathlib import Path

from agentfleet.sidecar import progress
from agentfleet.sidecar.engines.base import Health
from agentfleet.sidecar.models import LoadedModel, ModelState, ModelStatus

log = logging.getLogger(__name__)

ENGINE_STARTING = "EngineStarting"

NOT_STARTED = progress.Progress("Pending", message="waiting for the loader to start")
"""What a loader that is to come has said so far."""


class Weights:
    """Follows one model from the loader's first byte to the engine's first healthy answer."""

    def __init__(self, name: str, state_dir: Path | None, *, expects_loader: bool = False) -> None:
        self._status = ModelStatus(name)
        self._state_dir = state_dir
        self._expects_loader = expects_loader

    def statuses(self) -> list[ModelStatus]:
        """The model as it was at the last tick."""
        return [self._status]

    async def tick(self, health: Health) -> None:
        """Takes a new look."""
        loading = self._read()
        if loading is None and self._expects_loader:
            loading = NOT_STARTED
        self._status = status_of(self._status, loading, health)

    def engine_restarted(self) -> None:
        """Nothing to forget: the engine reads its weights anew by itself."""

    async def run(self) -> None:
        """Nothing to do between ticks: the engine loads its model itself."""

    async def loaded(self) -> list[LoadedModel] | None:
        """Neither engine lists what it holds: it is the one model."""
        return None

    def _read(self) -> progress.Progress | None:
        if self._state_dir is None:
            return None
        try:
            return progress.read(self._state_dir)
        except (OSError, ValueError) as error:
            log.warning("progress of the loader is unreadable: %s", error)
            return None


def status_of(status: ModelStatus, loading: progress.Progress | None, health: Health) -> ModelStatus:
    """What is known of the model. Pure. A serving engine has its weights, whatever a file of an earlier pod says."""
    if loading is not None:
        status = replace(status, digest=loading.digest, size=loading.total)
    if health is Health.SERVING:
        return status.to(ModelState.READY)
    if loading is None or loading.state == "Complete" or health is Health.LOADING:
        return status.to(ModelState.LOADING, reason=ENGINE_STARTING, message="waiting for the engine to load the model")
    return status.to(
        ModelState(loading.state),
        progress_percent=loading.percent,
        reason=loading.reason,
        message=loading.message,
    )
