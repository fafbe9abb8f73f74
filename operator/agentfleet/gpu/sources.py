"""Which source is read: DCGM exporter where it is named and answers, else NVML."""

from dataclasses import replace

from agentfleet.gpu.readings import GpuSource, Look


class FirstThatAnswers:
    """Prefers one source; the other is asked only while it does not answer, and let go of once it does."""

    def __init__(self, preferred: GpuSource, other: GpuSource) -> None:
        self._preferred = preferred
        self._other = other
        self._on_other = False

    async def look(self) -> Look:
        """A look of the preferred source, or of the other with both's problems."""
        look = await self._preferred.look()
        if look.answered:
            if self._on_other:
                await self._other.close()
                self._on_other = False
            return look
        self._on_other = True
        other = await self._other.look()
        return replace(
            other,
            problems=(*look.problems, *other.problems),
            failures=(*look.failures, *other.failures),
            needs_new_container=False,  # the preferred source may come back
        )

    async def close(self) -> None:
        """Close both."""
        await self._preferred.close()
        await self._other.close()
