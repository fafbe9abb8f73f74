"""What technical support does to devices."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field


@dataclass
class Reading:
    device: str
    check: str
    healthy: bool
    detail: str


async def run_diagnostics(
    device: Annotated[str, Field(pattern="^[a-z]+-[0-9]+$", description="The device, such as till-4.")],
    checks: list[Literal["power", "network", "storage"]],
) -> list[Reading]:
    """Runs checks on a device, side by side."""

    async def run(check: str) -> Reading:
        await asyncio.sleep(0)
        broken = check == "storage" and device == "till-4"
        return Reading(device, check, not broken, "disk 98 % full" if broken else "fine")

    return list(await asyncio.gather(*map(run, checks)))


def create_incident_report(device: str, summary: str, severity: Literal["minor", "major", "critical"] = "minor") -> str:
    """Writes an incident down for the engineers.

    Args:
        device: The device that is broken.
        summary: What is broken, in one line.
        severity: How bad it is.
    """
    return f"INC-{device}: {summary} ({severity})"


def get_current_time() -> str:
    """Tells the time."""
    return datetime.now(UTC).isoformat(timespec="seconds")
