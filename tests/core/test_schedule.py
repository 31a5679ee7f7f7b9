"""When cycles start by themselves: told from stored times only, and never twice for one time."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from rewriter_operator.api.release import Schedule
from rewriter_operator.core.schedule import ScheduleInvalid, check, due

HOUR = 3600.0
MONDAY_AT_3 = datetime(2025, 11, 24, 3, tzinfo=UTC).timestamp()
WEEK = 7 * 24 * HOUR
BERLIN = ZoneInfo("Europe/Berlin")


def weekly(**changes: str) -> Schedule:
    return Schedule(**({"cron": "0 3 * * 1"} | changes))


def test_nothing_is_due_before_the_time() -> None:
    found = due(weekly(), handled_at=MONDAY_AT_3 - WEEK, now=MONDAY_AT_3 - 1)
    assert found.start is None
    assert found.next_start == MONDAY_AT_3


def test_a_start_is_due_at_its_time_and_only_once() -> None:
    now = MONDAY_AT_3
    found = due(weekly(), handled_at=MONDAY_AT_3 - WEEK, now=now)
    assert found.start == MONDAY_AT_3
    again = due(weekly(), handled_at=found.start, now=now + 1)
    assert again.start is None
    assert again.next_start == MONDAY_AT_3 + WEEK


def test_a_start_that_was_missed_is_made_up_for_within_the_deadline() -> None:
    late = weekly(startingDeadline="2h")
    assert due(late, MONDAY_AT_3 - WEEK, MONDAY_AT_3 + 1.9 * HOUR).start == MONDAY_AT_3


def test_a_start_that_was_missed_for_longer_is_skipped() -> None:
    late = weekly(startingDeadline="2h")
    found = due(late, MONDAY_AT_3 - WEEK, MONDAY_AT_3 + 2.1 * HOUR)
    assert found.start is None
    assert found.next_start == MONDAY_AT_3 + WEEK


def test_of_several_missed_starts_only_the_newest_is_due() -> None:
    hourly = Schedule(cron="0 * * * *", startingDeadline="5h")
    assert due(hourly, MONDAY_AT_3, MONDAY_AT_3 + 4.5 * HOUR).start == MONDAY_AT_3 + 4 * HOUR


def test_weeks_of_missed_hourly_starts_are_no_reason_to_refuse() -> None:
    hourly = Schedule(cron="0 * * * *", startingDeadline="999h")
    assert due(hourly, MONDAY_AT_3 - 800 * HOUR, MONDAY_AT_3 + 1).start == MONDAY_AT_3


def test_cron_fields_are_of_the_time_zone() -> None:
    found = due(weekly(timeZone="Asia/Tokyo"), MONDAY_AT_3 - WEEK, MONDAY_AT_3 - 10 * HOUR)
    assert found.next_start == MONDAY_AT_3 - 9 * HOUR


@pytest.mark.parametrize(
    "cron, day",
    [
        pytest.param("30 2 * * *", datetime(2026, 3, 29, tzinfo=BERLIN), id="hour-left-out-in-spring"),
        pytest.param("30 2 * * *", datetime(2025, 10, 26, tzinfo=BERLIN), id="hour-twice-in-autumn"),
    ],
)
def test_a_daily_start_comes_once_when_clocks_change(cron: str, day: datetime) -> None:
    schedule = Schedule(cron=cron, timeZone="Europe/Berlin")
    handled = day.timestamp()
    end = handled + 25 * HOUR
    starts = []
    while (moment := due(schedule, handled, handled).next_start) < end:
        starts.append(moment)
        handled = moment
    dates = [datetime.fromtimestamp(moment, BERLIN).date() for moment in starts]
    assert dates.count(day.date()) == 1


@pytest.mark.parametrize(
    "schedule, says",
    [
        pytest.param({"cron": "0 3 30 2 *"}, "0 3 30 2", id="thirtieth-of-february"),
        pytest.param({"cron": "0 25 * * *"}, "0 25", id="hour-25"),
        pytest.param({"cron": "*/15 * * * *"}, "twice within an hour", id="every-quarter"),
        pytest.param({"cron": "0,30 3 * * *"}, "twice within an hour", id="twice-between-three-and-four"),
        pytest.param({"cron": "0 3 * * *", "timeZone": "Europe/Berlim"}, "Europe/Berlim", id="misspelt-zone"),
        pytest.param({"cron": "0 3 * * *", "timeZone": "Europe"}, "Europe", id="zone-that-is-a-directory"),
        pytest.param({"cron": "0 3 * * *", "timeZone": "../etc/passwd"}, "passwd", id="zone-that-is-a-path"),
    ],
)
@pytest.mark.parametrize("minutes", [0, 10, 40], ids=lambda minutes: f"{minutes}-minutes-past")
def test_a_schedule_that_cannot_be_carried_out_is_refused_at_any_time_of_day(
    schedule: dict[str, str], says: str, minutes: int
) -> None:
    with pytest.raises(ScheduleInvalid, match=r"spec\.schedule\.(cron|timeZone): .*e\.g\.|twice within") as refusal:
        check(
            Schedule.model_construct(**{"time_zone": "UTC", "starting_deadline": "1h", **_snake(schedule)}),
            MONDAY_AT_3 + 60 * minutes,
        )
    assert says in str(refusal.value)


def test_hourly_starts_are_the_most_that_is_accepted() -> None:
    check(Schedule(cron="17 * * * *"), MONDAY_AT_3)


def _snake(schedule: dict[str, str]) -> dict[str, str]:
    return {{"timeZone": "time_zone"}.get(key, key): value for key, value in schedule.items()}
