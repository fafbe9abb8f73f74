"""When a cron expression is due, in a time zone, summer time included. Pure: the time is an argument."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression of five fields. Where a clock is put forward, a time that is skipped comes right after, as
    Debian's cron has it."""

    expression: str
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        self.after(datetime.now(UTC))

    def after(self, moment: datetime) -> datetime:
        """The first slot after `moment`, both aware, in UTC. ValueError where the expression has none."""
        try:
            slots: Iterator[datetime] = CronSim(self.expression, moment.astimezone(self.zone))
            return next(slots).astimezone(UTC)
        except CronSimError as error:
            raise ValueError(
                f"{self.expression!r} is no cron expression ({error}): write minute, hour, day of month, month and day"
                " of week, for example '0 3 * * 0'"
            ) from error
        except StopIteration:
            raise ValueError(f"{self.expression!r} is never due: no such day comes") from None


def zone_of(name: str) -> tzinfo:
    """The time zone `name`; ValueError says that there is none."""
    if name == "UTC":
        return UTC  # needs no time zone data in the image
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone that this image knows: write UTC or, say, Europe/Berlin") from error
