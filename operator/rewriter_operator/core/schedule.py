"""When a cycle starts by itself: cron and time zone, from stored times only.

A restart never starts anything: a start is due when a cron time lies between the last handled one and now, and not
further back than the starting deadline.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import RewriterReleaseSpec, Schedule
from rewriter_operator.api.status import RewriterReleaseStatus

WRONG_CLOCK_SECONDS = 8 * 86400
"""A start that was handled further ahead of now was handled under a clock that was wrong, and is taken for one of now.

Nearer ones keep their word: a clock that was set back by a week starts no week's cycle twice.
"""


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
    zone = zone_of(schedule.time_zone, "spec.schedule.timeZone")
    earliest = max(handled_at, now - seconds(schedule.starting_deadline))
    newest: float | None = None
    for moment in _times(schedule.cron, datetime.fromtimestamp(earliest, zone)):
        if moment > now:
            return Due(newest, moment)
        newest = moment
    raise ScheduleInvalid(f"spec.schedule.cron: {schedule.cron!r} never fires; e.g. '0 3 * * 1' for Mondays at three")


def noticed(spec: RewriterReleaseSpec, status: RewriterReleaseStatus, now: float) -> RewriterReleaseStatus:
    """The status that knows since when this schedule is in force.

    Times from before it was first seen, changed or resumed are nobody's: unlike a CronJob, whose missed start would
    begin at once inside the starting deadline, which is the last thing that is wanted of a week's GPU work.
    """
    if handled_at(status) > now + WRONG_CLOCK_SECONDS:
        status = evolve(status, last_scheduled_at=now, schedule_since=now)
    in_force = "" if spec.schedule is None or spec.suspend else f"{spec.schedule.cron} {spec.schedule.time_zone}"
    if in_force == status.schedule_in_force:
        return status
    return evolve(status, schedule_in_force=in_force, schedule_since=now if in_force else 0)


def handled_at(status: RewriterReleaseStatus) -> float:
    """Starts up to this time are done with."""
    return max(status.last_scheduled_at, status.schedule_since)


def check(schedule: Schedule, now: float) -> None:
    """Refuse a schedule that cannot be carried out, or that fires more than once an hour.

    Raises:
        ScheduleInvalid: saying why.
    """
    due(schedule, now, now)
    if len(_parsed(schedule.cron, datetime.fromtimestamp(now, UTC)).minutes) > 1:
        # Told from the fields, not from the next two starts: a refusal must not depend on the time of day.
        raise ScheduleInvalid(
            f"spec.schedule.cron: {schedule.cron!r} fires twice within an hour; leave an hour between starts"
        )


def zone_of(name: str, field: str) -> ZoneInfo:
    """
    Raises:
        ScheduleInvalid: naming the field, when there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:  # unknown; not a key; a directory of zones, e.g. Europe
        raise ScheduleInvalid(f"{field}: got {name!r}; must be an IANA time zone, e.g. Europe/Berlin") from error


def _times(cron: str, after: datetime) -> Iterator[float]:
    """Cron times after `after`, oldest first, found as they are asked for."""
    return (moment.astimezone(UTC).timestamp() for moment in _parsed(cron, after))


def _parsed(cron: str, after: datetime) -> CronSim:
    try:
        return CronSim(cron, after)
    except CronSimError as error:
        raise ScheduleInvalid(
            f"spec.schedule.cron: {cron!r}: {error}; e.g. '0 3 * * 1' for Mondays at three"
        ) from error
