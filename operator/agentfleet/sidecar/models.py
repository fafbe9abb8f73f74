"""What the sidecar reports about a model, and the next step that brings an Ollama model into place. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from agentfleet.sidecar.failures import ModelFailed


class ModelState(StrEnum):
    """How far a model is. Only Ready serves."""

    PENDING = "Pending"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying"
    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One entry of /status `models`. The operator copies it into `status.models` of the ModelServer."""

    name: str
    state: ModelState = ModelState.PENDING
    progress_percent: int | None = None
    reason: str | None = None
    message: str | None = None
    digest: str | None = None
    size: int | None = None
    category: str | None = None
    """As `--serve` gave it."""
    updated_at: str | None = None
    """When a scheduled update brought the digest; RFC 3339."""
    settled: bool = False
    """True once it has been Ready or Failed: whether it can be had is known. Not told to anybody."""

    def to(
        self,
        state: ModelState,
        *,
        progress_percent: int | None = None,
        reason: str | None = None,
        message: str | None = None,
    ) -> "ModelStatus":
        """The same model in `state`. What described the earlier state does not outlive it; identity does."""
        return replace(
            self,
            state=state,
            progress_percent=progress_percent,
            reason=reason,
            message=message,
            settled=self.settled or state in (ModelState.READY, ModelState.FAILED),
        )

    def failed(self, failure: ModelFailed) -> "ModelStatus":
        """The same model, failed; the progress stays, because the bytes do."""
        return self.to(
            ModelState.FAILED, progress_percent=self.progress_percent, reason=failure.reason, message=failure.message
        )

    def as_json(self) -> dict[str, Any]:
        """The contract of /status."""
        return {
            "name": self.name,
            "state": str(self.state),
            "progressPercent": self.progress_percent,
            "reason": self.reason,
            "message": self.message,
            "digest": self.digest,
            "size": self.size,
            "category": self.category,
            "updatedAt": self.updated_at,
        }


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model in memory: bytes in all, and bytes of them on GPUs."""

    name: str
    size: int
    size_vram: int
    expires_at: str = ""
    """As Ollama writes it. It moves whenever a request ends, and all the time while the first one runs."""


class Step(StrEnum):
    """What an Ollama model needs next."""

    PULL = "Pull"
    COPY = "Copy"
    PRELOAD = "Preload"
    NOTHING = "Nothing"


def next_step(
    digests: Mapping[str, str], *, source: str, alias: str, verified: str | None, preload: bool, preloaded: bool
) -> Step:
    """The step that is missing, told from what Ollama has and not from what was done: steps may be undone behind us.

    `digests` maps full names to digests (/api/tags); `source` and `alias` are full names; `verified` is the digest that
    was once seen under `source` by this process. An alias with that digest serves even where `source` was deleted; an
    alias found at start may stem from an earlier source and proves nothing.
    """
    wanted = digests.get(source, verified)
    if wanted is None or (source not in digests and digests.get(alias) != wanted):
        return Step.PULL
    if digests.get(alias) != wanted:
        return Step.COPY
    return Step.PRELOAD if preload and not preloaded else Step.NOTHING


def full_name(name: str) -> str:
    """How /api/tags writes a model's name: without scheme and default registry, with a tag.

    `smollm2` → `smollm2:latest`; `http://registry:5000/library/tiny:1` → `registry:5000/library/tiny:1`.
    """
    host_and_path = name.partition("://")[2] or name
    short = host_and_path.removeprefix("registry.ollama.ai/")
    if short.count("/") == 1:
        short = short.removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else short + ":latest"
