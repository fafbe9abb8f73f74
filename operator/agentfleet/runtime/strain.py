"""What the monitor has seen and runs heed: memory near its limit, alerts whose actions are on. Plain data."""

from dataclasses import dataclass


@dataclass
class Strain:
    """Set by monitor.py, read at each admission."""

    memory: bool = False
    """Above the soft limit: no run is begun, so that the kernel ends none that is under way."""
    shed: bool = False
    """An alert with the action Shed lasts."""
    smaller_tier: bool = False
    """An alert with the action SmallerTier lasts."""

    def tier(self) -> str | None:
        """Value of x-agentroute-tier for the calls of the model."""
        return "lightweight" if self.smaller_tier else None
