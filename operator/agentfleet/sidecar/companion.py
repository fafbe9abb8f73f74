"""What runs beside the look at the engine and may have a say in what is reported: warm-up, adapters, idle, updates."""

from collections.abc import Sequence

from agentfleet.sidecar.engines.base import Health
from agentfleet.sidecar.models import ModelStatus


class Companion:
    """Does nothing; subclasses override what they need. The supervisor calls all of it."""

    def tick(self, health: Health, models: Sequence[ModelStatus]) -> None:
        """Called on every round with the engine's health and its own models. Must not block."""

    def engine_restarted(self) -> None:
        """Another process serves now: whatever was told to the last one is forgotten."""

    def overlay(self, models: list[ModelStatus]) -> list[ModelStatus]:
        """The models as they are to be reported, given how the engine has them."""
        return models

    async def run(self) -> None:
        """Work of its own beside the rounds; may return at once."""
