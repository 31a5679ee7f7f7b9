"""Only times count that came while the schedule was in force: stories around the moment of its time."""

from typing import Any

import pytest

from rewriter_operator.api.states import State
from tests.builders import NOW, make_spec, make_status, serving, stage_status
from tests.core.simulator import Simulator

AT_16 = {"cron": "0 16 * * *"}
AT_16_05 = {"cron": "5 16 * * *"}


def idle(schedule: dict[str, str] | None, **changes: Any) -> Simulator:
    """It is 16:00:30, and r0001 serves."""
    spec = make_spec(schedule=schedule, **changes)
    status = make_status(spec, stages=[stage_status(incumbent=serving(1))], last_cycle_number=1)
    return Simulator(spec, status, now=NOW + 30).settle()


def test_a_schedule_that_is_added_just_after_its_time_waits_for_the_next() -> None:
    story = idle(None)
    story.spec = make_spec(schedule=AT_16)
    story.wait(600)
    assert (story.status.state, story.status.last_cycle_number) == (State.IDLE, 1)
    assert story.status.next_cycle_at == "2025-11-25T16:00:00Z"


def test_a_new_release_does_not_make_up_for_times_before_it() -> None:
    assert idle(AT_16).wait(600).status.last_cycle_number == 1


def test_a_schedule_that_is_moved_to_a_time_that_just_passed_waits_for_the_next() -> None:
    story = idle({"cron": "0 3 * * 1"})
    story.spec = make_spec(schedule=AT_16)
    assert story.wait(600).status.last_cycle_number == 1


@pytest.mark.parametrize("resumed_after", [60, 600])
def test_a_time_that_passed_while_suspended_is_not_made_up_for(resumed_after: int) -> None:
    story = idle(AT_16_05, suspend=True).wait(270 + resumed_after)
    story.spec = make_spec(schedule=AT_16_05)
    story.wait(600)
    assert story.status.last_cycle_number == 1
    assert story.status.next_cycle_at == "2025-11-25T16:05:00Z"


def test_a_start_that_the_operator_slept_through_is_made_up_for() -> None:
    story = idle(AT_16_05)
    story.pass_time(900)
    story.settle()
    assert story.status.cycle and story.status.cycle.trigger == "Scheduled"


def test_a_schedule_that_is_changed_while_a_cycle_runs_counts_from_the_change() -> None:
    story = idle(None, **{"training.phases": 1})
    story.annotations["rewriter.dev/run"] = "now"
    story.until(State.TRAINING)
    story.spec = make_spec(schedule=AT_16_05, **{"training.phases": 1})
    story.settle()
    story.until(lambda it: it.status.last_cycle_number == 3, limit=3000)
    assert story.status.cycle and story.status.cycle.trigger == "Scheduled"


def test_a_longer_deadline_does_not_bring_back_what_was_skipped() -> None:
    story = idle(None)
    story.spec = make_spec(schedule=AT_16)
    story.settle()
    story.spec = make_spec(schedule={**AT_16, "startingDeadline": "48h"})
    assert story.wait(600).status.last_cycle_number == 1
