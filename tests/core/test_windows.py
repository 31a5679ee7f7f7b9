"""Windows and freezes: no share rises and nothing is promoted outside of them; taking back needs no window."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_operator.api.release import RewriterReleaseSpec, Rollout
from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import ABORT_ANNOTATION
from rewriter_operator.core.schedule import ScheduleInvalid
from rewriter_operator.core.windows import check, closed
from tests.builders import NOW, make_spec
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back, with_share
from tests.examples import examples

DAY = 86400.0
WORK = {"days": ["Mon", "Tue", "Wed", "Thu"], "from": "09:00", "to": "16:00", "timeZone": "Europe/Berlin"}


def rollout(windows: Any = (), freezes: Any = ()) -> Rollout:
    return make_spec(**{"rollout.windows": list(windows), "rollout.freezes": list(freezes)}).rollout


def at(text: str) -> float:
    """2026-11-23 is a Monday."""
    return datetime.fromisoformat(text).timestamp()


def shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def frozen(start: float, end: float) -> dict[str, str]:
    return {"from": shown(start), "to": shown(end)}


def test_without_windows_and_freezes_it_is_always_open() -> None:
    assert closed(rollout(), NOW) is None


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-23T08:59:59+01:00", False),
        ("2026-11-23T09:00:00+01:00", True),
        ("2026-11-23T15:59:59+01:00", True),
        ("2026-11-23T16:00:00+01:00", False),
        ("2026-11-27T12:00:00+01:00", False),
        ("2026-07-06T09:30:00+02:00", True),
    ],
)
def test_hours_are_of_the_windows_own_time_zone_summer_and_winter(moment: str, is_open: bool) -> None:
    assert (closed(rollout([WORK]), at(moment)) is None) == is_open


def test_a_closed_window_says_when_the_next_one_opens() -> None:
    friday = at("2026-11-27T12:00:00+01:00")
    assert closed(rollout([WORK]), friday) == "the next window opens at 2026-11-30T08:00:00Z (spec.rollout.windows)"


def test_a_window_that_closes_at_or_before_its_opening_closes_on_the_next_day() -> None:
    night = rollout([{"days": ["Sun"], "from": "22:00", "to": "04:00"}])
    assert closed(night, at("2026-11-23T03:59:00+00:00")) is None, "Monday morning, opened on Sunday"
    assert closed(night, at("2026-11-23T04:00:00+00:00")) is not None
    assert closed(rollout([{"from": "00:00", "to": "00:00"}]), NOW) is None, "every day, all day"


def test_a_freeze_wins_over_an_open_window_and_ends_when_it_says() -> None:
    monday = at("2026-11-23T12:00:00+01:00")
    both = rollout([WORK], [frozen(monday - DAY, monday + 1)])
    assert closed(both, monday) == f"frozen until {shown(monday + 1)} (spec.rollout.freezes)"
    assert closed(both, monday + 1) is None


def test_freezes_that_follow_each_other_are_told_as_one() -> None:
    following = rollout((), [frozen(NOW + DAY, NOW + 2 * DAY), frozen(NOW - 5, NOW + DAY), frozen(NOW + 1, NOW + 9)])
    assert closed(following, NOW) == f"frozen until {shown(NOW + 2 * DAY)} (spec.rollout.freezes)"


@pytest.mark.parametrize(
    ("given_rollout", "sentence"),
    [
        (rollout([WORK | {"timeZone": "Europe/Atlantis"}]), "spec.rollout.windows[0].timeZone: got 'Europe/Atlantis'"),
        (rollout((), [{"from": "2026-02-30T00:00:00Z", "to": "2026-03-02T00:00:00Z"}]), "spec.rollout.freezes[0].from"),
    ],
)
def test_what_cannot_be_read_is_closed_and_refused_with_its_field(given_rollout: Rollout, sentence: str) -> None:
    assert sentence in (closed(given_rollout, NOW) or "")
    with pytest.raises(ScheduleInvalid) as refusal:
        check(given_rollout, NOW)
    assert sentence in str(refusal.value)


@examples(40)
@given(
    offset=st.integers(0, 14 * 86400),
    days=st.sets(st.sampled_from(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]), min_size=1),
    hours=st.tuples(st.integers(0, 23), st.integers(0, 23)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
)
def test_it_is_open_exactly_at_the_times_that_the_closed_ones_promise(
    offset: int, days: set[str], hours: tuple[int, int], zone: str
) -> None:
    window = {"days": sorted(days), "from": f"{hours[0]:02d}:00", "to": f"{hours[1]:02d}:00", "timeZone": zone}
    why = closed(rollout([window]), NOW + offset)
    if why is not None:
        opens = at(why.split(" at ")[1].split(" ")[0])
        assert NOW + offset < opens <= NOW + offset + 7 * DAY + 7200
        assert closed(rollout([window]), opens) is None
        assert closed(rollout([window]), opens - 1) is not None


def frozen_for(seconds: float) -> RewriterReleaseSpec:
    """A freeze that began an hour ago."""
    return make_spec(**{"rollout.freezes": [frozen(NOW - 3600, NOW + seconds)]})


def held(spec: RewriterReleaseSpec) -> Simulator:
    """The candidate's pods are ready, and the first share waits."""
    return passed(spec).until(lambda story: story.status.stages[0].held)


def test_no_share_is_given_in_a_freeze_and_it_says_why_and_how_long() -> None:
    story = held(frozen_for(2 * DAY)).wait(DAY)
    assert story.status.state is State.ROLLING_OUT
    assert story.share() == 0
    assert f"finerank 0 %: share 10 % waits: frozen until {shown(NOW + 2 * DAY)}" in story.status.message
    writes = len(story.writes)
    assert len(story.wait(3600).writes) == writes, "waiting writes nothing"


def test_it_goes_on_by_itself_when_the_freeze_is_over() -> None:
    story = held(frozen_for(3 * 3600))
    assert story.cycle_ends(limit=DAY) == "Promoted"
    assert story.now > NOW + 3 * 3600


def test_deadlines_count_from_the_end_of_the_freeze() -> None:
    story = held(frozen_for(2 * DAY)).wait(2 * DAY - 600)
    story.behaviour.stats_readable = False
    story.wait(660)
    assert story.status.state is State.ROLLING_OUT, "a minute of doubt after two days of freeze is no failure"
    assert story.share() == 0
    story.behaviour.stats_readable = True
    assert story.cycle_ends() == "Promoted"


def test_a_share_that_was_there_before_the_freeze_stays_and_is_watched_on() -> None:
    story = with_share()
    story.spec = make_spec(**{"rollout.freezes": [frozen(NOW - 3600, NOW + 3 * DAY)]})
    story.until(lambda story: story.status.stages[0].held).wait(DAY)
    assert story.share() == 10
    story.behaviour.candidate_error_rate = 0.5
    assert "error rate" in rolled_back(story, "LimitCrossed")


def test_an_abort_needs_no_window() -> None:
    story = held(frozen_for(DAY))
    story.annotations[ABORT_ANNOTATION] = "2"
    assert story.cycle_ends() == "Aborted"


def test_nothing_is_promoted_in_a_freeze() -> None:
    story = passed().until(State.BAKING)
    thaw = story.now + DAY
    story.spec = make_spec(**{"rollout.freezes": [frozen(NOW - 3600, thaw)]})
    story.wait(DAY - 3600)
    assert story.status.state is State.BAKING
    assert "the promotion waits: frozen until" in story.status.message
    assert story.cycle_ends() == "Promoted"
    assert story.now >= thaw


def test_an_invalid_window_holds_a_running_rollout_and_refuses_the_next_cycle() -> None:
    story = with_share()
    story.spec = make_spec(**{"rollout.windows": [WORK | {"timeZone": "Europe/Atlantis"}]})
    story.wait(3600)
    assert story.share() == 10
    assert "spec.rollout.windows[0].timeZone" in story.status.message
