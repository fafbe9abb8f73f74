"""model.update: when a source is to be looked at again. Pure.

An hf:// or oci:// source is looked at by an inspect Job, and a revision that has moved becomes a new revision of the
pods. Ollama's tags are pulled again by the sidecars, on the same schedule.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from agentfleet.engines.sources import parse_source
from agentfleet.errors import InvalidSpec
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.model import Update
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import SourceFacts

FIRST = ""
"""The occasion of the look before anything was known."""


def check_schedule(server: ModelServer) -> None:
    """InvalidSpec where the schedule or its time zone cannot be read."""
    update = server.model.update
    if update is None:
        return
    check_zone("model.update.timeZone", update.time_zone)
    check_cron("model.update.schedule", update.schedule, "0 3 * * *")


def check_zone(field: str, zone: str | None) -> None:
    """InvalidSpec where `zone` is no time zone; none is UTC."""
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = f"{field}: {zone!r} is no time zone; write for example Europe/Berlin."
        raise InvalidSpec("InvalidSpec", message) from error


def check_cron(field: str, expression: str, example: str) -> None:
    """InvalidSpec where `expression` is no cron expression."""
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        message = f"{field}: {expression!r} is no cron expression ({error}); write '{example}'."
        raise InvalidSpec("InvalidSpec", message) from error


def occasion(server: ModelServer, source: SourceFacts | None, now: datetime) -> str | None:
    """The look that is due: FIRST, or the time of the schedule that it is for; None where none is."""
    update = server.model.update
    if update is None or parse_source(server.model.uri).scheme == "ollama":
        return None
    if source is None or source.checked_at is None:
        return FIRST
    slot = _neighbour(update, now, reverse=True)
    return timestamp(slot) if slot > datetime.fromisoformat(source.checked_at) else None


def next_look(server: ModelServer, now: datetime) -> float | None:
    """Seconds to the next time of the schedule; None without one."""
    update = server.model.update
    if update is None or parse_source(server.model.uri).scheme == "ollama":
        return None
    return (_neighbour(update, now, reverse=False) - now).total_seconds() + 1


def _neighbour(update: Update, now: datetime, *, reverse: bool) -> datetime:
    zone = ZoneInfo(update.time_zone or "UTC")
    return next(CronSim(update.schedule, now.astimezone(zone), reverse=reverse)).astimezone(now.tzinfo)
