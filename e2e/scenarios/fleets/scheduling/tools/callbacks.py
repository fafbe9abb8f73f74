"""Callbacks, and what time it is."""

import hashlib
from datetime import UTC, datetime


def schedule_callback(phone: str, when: datetime, topic: str = "general") -> dict[str, str]:
    """Arranges that somebody calls back.

    Args:
        phone: The number to call.
        when: Day and time, as 2026-11-24T15:00.
        topic: What it is about.
    """
    number = hashlib.sha256(f"{phone} {when}".encode()).hexdigest()[:6]
    return {"callback": f"CB-{number}", "when": when.isoformat(timespec="minutes"), "topic": topic}


def get_current_time() -> str:
    """Tells day and time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="minutes")
