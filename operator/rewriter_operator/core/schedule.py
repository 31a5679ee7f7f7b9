"""When a cycle starts by itself: cron and time zone, from stored times only.

A restart never starts anything: a start is due when a cron time lies between the last handled one and now, and not
further back than the starting deadline.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import Schedule


class ScheduleInvalid(ValueError):
    """The schedule cannot be carried out; the message names field, value and remedy."""


@dataclass(frozen=True)
class Due:
    """The newest start that is due and not yet handled (None: nothing), and the next one."""

    start: float | None
    next_start: float


def due(schedule: Schedule, handled_at: float, now: float) -> Due:
    """What the schedule says at `now`, when starts up to `handled_at` (Unix seconds) are done with.

    Raises:
        ScheduleInvalid: for cron fields or a time zone that do not exist, or a schedule that never fires.
    """
    zone = _zone(schedule.time_zone)
    earliest = max(handled_at, now - seconds(schedule.starting_deadline))
    times = _times(schedule.cron, datetime.fromtimestamp(earliest, zone))
    newest: float | None = None
    for moment in times:
        if moment > now:
            return Due(newest, moment)
        newest = moment
    raise ScheduleInvalid(f"spec.schedule.cron: {schedule.cron!r} never fires; e.g. '0 3 * * 1' for Mondays at three")


def check(schedule: Schedule, now: float) -> None:
    """Refuse a schedule that cannot be carried out, or that fires more than once an hour.

    Raises:
        ScheduleInvalid: saying why.
    """
    first = due(schedule, now, now).next_start
    second = due(schedule, first, first).next_start
    if second - first < timedelta(hours=1).total_seconds():
        raise ScheduleInvalid(
            f"spec.schedule.cron: {schedule.cron!r} fires twice within an hour; leave an hour between starts"
        )


def _zone(name: str) -> ZoneInfo:
    if name not in available_timezones():
        raise ScheduleInvalid(f"spec.schedule.timeZone: got {name!r}; must be an IANA time zone, e.g. Europe/Berlin")
    return ZoneInfo(name)


def _times(cron: str, after: datetime) -> "list[float]":
    """Cron times after `after`: at most a day's worth of hourly starts, which bounds every loop over them."""
    try:
        simulation = CronSim(cron, after)
        moments = []
        for _ in range(200):
            moment = next(simulation, None)
            if moment is None:
                break
            moments.append(moment.astimezone(UTC).timestamp())
        return moments
    except CronSimError as error:
        raise ScheduleInvalid(
            f"spec.schedule.cron: {cron!r}: {error}; e.g. '0 3 * * 1' for Mondays at three"
        ) from error
