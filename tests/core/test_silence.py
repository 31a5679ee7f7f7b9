"""A candidate that falls silent where nothing has a deadline is told of: once, and not of a hiccup."""

from typing import Any

import pytest

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import APPROVE_ANNOTATION
from tests.builders import make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed

APPROVED = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]
TIMED = [stage("finerank", {"setShare": 10}, {"pause": {"duration": "2h"}}, {"setShare": 100})]
SILENT = "pod shop-r0002-0 tells no counters, since "


def pausing(steps: list[dict[str, Any]] = APPROVED, **changes: Any) -> Simulator:
    """The first share is verified, and the stage has come to its pause."""
    story = passed(make_spec(**{"rollout.stages": steps, **changes}))
    return story.until(lambda it: it.status.stages[0].step == 1).wait(60)


def told(story: Simulator, reason: str) -> list[str]:
    return [note.message for note in story.notes if note.reason == reason]


def silent(story: Simulator) -> Simulator:
    story.behaviour.silent_pods = frozenset({"shop-r0002-0"})
    return story


def test_a_candidate_that_falls_silent_while_a_person_is_waited_for_is_told_of_once() -> None:
    story = silent(pausing())
    began = story.now
    story.wait(180)
    (message,) = told(story, "CountersSilent")
    assert message.startswith(f"finerank: {SILENT}")
    (since,) = {rfc3339(began + late) for late in range(40)} & {message.split("since ")[1].split(";")[0]}
    assert "waits for approval: kubectl annotate" in story.status.stages[0].message
    assert story.status.stages[0].message.endswith(f"; {SILENT}{since}")
    assert story.condition("TrafficVerified") == ("Unknown", "CountersSilent")
    story.wait(3600)
    assert len(told(story, "CountersSilent")) == 1, "not on each look"
    assert story.status.state is State.ROLLING_OUT, "unknown does not condemn"


def test_counters_that_come_back_are_told_of_once_and_the_pause_goes_on() -> None:
    story = silent(pausing()).wait(180)
    story.behaviour.silent_pods = frozenset()
    story.settle()
    assert told(story, "CountersRead") == ["finerank: all pods tell their counters again"]
    assert "tells no counters" not in story.status.stages[0].message
    assert story.status.stages[0].silence is None
    assert story.condition("TrafficVerified") == ("True", "Verified")
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    assert story.cycle_ends() == "Promoted"


def test_a_hiccup_is_not_told_of() -> None:
    story = silent(pausing()).wait(40)
    assert story.status.stages[0].silence is not None, "it is remembered"
    story.behaviour.silent_pods = frozenset()
    story.wait(600)
    assert told(story, "CountersSilent") == told(story, "CountersRead") == []
    assert story.condition("TrafficVerified") == ("True", "Verified")


def test_counters_that_are_missed_now_and_then_write_no_more_than_a_pause_does() -> None:
    def writes(flaps: bool) -> int:
        story = pausing()
        written = len(story.writes)
        for look in range(120):
            story.behaviour.silent_pods = frozenset({"shop-r0002-0"} if flaps and look % 7 in (0, 3) else ())
            story.pass_time(5)
            story.settle()
        assert told(story, "CountersSilent") == []
        return len(story.writes) - written

    assert writes(flaps=True) <= 2 * writes(flaps=False)


@pytest.mark.parametrize("steps, bake", [(TIMED, "30s"), ([stage("finerank", {"setShare": 100})], "2h")])
def test_it_is_told_of_in_a_timed_pause_and_in_the_bake(steps: list[dict[str, Any]], bake: str) -> None:
    story = silent(pausing(steps, **{"rollout.bake": bake})).wait(300)
    assert len(told(story, "CountersSilent")) == 1
    assert story.status.message.split(SILENT)[0].endswith(("pauses for 2h; ", "baking for 2h; "))


def test_it_is_told_of_while_the_promotion_waits_for_a_person() -> None:
    story = passed(make_spec(**{"rollout.autoPromote": False})).until(
        lambda it: bool(it.status.cycle and it.status.cycle.promotion)
    )
    silent(story).wait(300)
    assert len(told(story, "CountersSilent")) == 1
    assert SILENT in story.status.message


def test_one_event_tells_it_for_all_stages() -> None:
    steps = ({"setShare": 10}, {"pause": {}}, {"setShare": 100})
    story = passed(make_spec(**{"rollout.stages": [stage(name, *steps) for name in ("finerank", "recall")]}))
    story.until(lambda it: all(item.step == 1 for item in it.status.stages)).wait(60)
    silent(story).wait(300)
    (message,) = told(story, "CountersSilent")
    assert message.startswith(f"finerank, recall: {SILENT}")


def test_pods_of_the_incumbent_count_as_well() -> None:
    story = pausing()
    story.behaviour.silent_pods = frozenset({"shop-r0001-0"})
    story.wait(180)
    assert "pod shop-r0001-0 tells no counters" in told(story, "CountersSilent")[0]


def test_an_approval_of_what_is_silent_waits_and_ends_at_its_deadline_as_before() -> None:
    story = silent(pausing()).wait(180)
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    story.wait(60)
    assert "approved, but pod shop-r0002-0 tells no counters" in story.status.message
    assert story.cycle_ends() == "RolledBack"
    assert story.status.history[0].reason == "NotVerified"
