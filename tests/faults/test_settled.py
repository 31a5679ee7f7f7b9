"""The end check finds what it is there to find, and nothing in what the planner itself says of whole stories."""

import copy
from typing import Any

import pytest

from rewriter_operator.api.states import State
from tests.builders import evidence, make_spec
from tests.core.simulator import Behaviour, Simulator
from tests.faults.monitor import Monitor, writes_in_silence
from tests.faults.settled import contradictions, settled


def stored(story: Simulator) -> dict[str, Any]:
    """The release as the API server has it."""
    generation = story.world().release.generation
    metadata = {"name": "shop", "uid": "shop", "generation": generation, "resourceVersion": "1"}
    return {"kind": "RewriterRelease", "metadata": metadata, "status": story.status.to_api()}


STORIES = {
    "promoted": Behaviour(),
    "refused by the gate": Behaviour(evidence=evidence(gold_gain=-0.2)),
    "rolled back": Behaviour(candidate_error_rate=0.5),
}


@pytest.mark.parametrize("behaviour", STORIES.values(), ids=STORIES)
def test_every_story_of_the_planner_ends_settled_and_contradicts_itself_at_no_moment(behaviour: Behaviour) -> None:
    story = Simulator(make_spec(), behaviour=behaviour)
    while not story.status.history:
        if not story.reconcile():
            story.pass_time(10.0)
        assert contradictions(stored(story)) == []
    assert State.TRAINING in story.states
    assert settled(stored(story.settle())) == []


def at_rest() -> dict[str, Any]:
    """A release that was promoted."""
    story = Simulator(make_spec())
    assert story.cycle_ends() == "Promoted"
    return stored(story.settle())


REST = at_rest()


def said(**conditions: str) -> dict[str, Any]:
    """The same with some conditions otherwise."""
    release = copy.deepcopy(REST)
    for item in release["status"]["conditions"]:
        item["status"] = conditions.get(item["type"], item["status"])
    return release


def test_a_cycle_that_was_to_start_and_did_not_is_found() -> None:
    release = copy.deepcopy(REST)
    (found,) = (item for item in release["status"]["conditions"] if item["type"] == "Reconciling")
    found |= {"status": "True", "reason": "CycleDue"}
    assert contradictions(release) == []
    assert settled(release) == ["I6: shop (Idle): a cycle was to start at once, and did not"]


def test_a_spec_that_was_not_seen_is_found() -> None:
    release = copy.deepcopy(REST)
    release["metadata"]["generation"] += 1
    assert any("observedGeneration is 1, the generation 2" in line for line in settled(release))
    release["status"]["observedGeneration"] = 2
    assert any("Ready is of generation 1, not of 2" in line for line in settled(release)), "each condition as well"


def test_what_neither_serves_nor_says_who_must_act_is_found() -> None:
    assert any("neither Ready nor Stalled" in line for line in settled(said(Ready="Unknown")))
    assert settled(said(Ready="False", Stalled="True")) == []
    nameless = said(Ready="False", Stalled="True")
    for item in nameless["status"]["conditions"]:
        item["message"] = ""
    assert any("Stalled without" in line for line in settled(nameless))


@pytest.mark.parametrize(
    "release",
    [
        said(Progressing="True"),
        said(Reconciling="True"),
        said(Accepted="False"),
        said(TrafficVerified="True"),
        said(WeightsSynced="True"),
        {**REST, "status": {**REST["status"], "state": "Training"}},
        {**REST, "status": {**REST["status"], "cycle": {"number": 2}}},
        {**REST, "status": {**REST["status"], "stages": [{"name": "finerank", "share": 10}]}},
    ],
    ids=["progress", "reconciling", "refused", "traffic", "weights", "no cycle", "a cycle", "a share"],
)
def test_what_contradicts_the_state_is_found_at_once_and_at_the_end(release: dict[str, Any]) -> None:
    assert settled(release)
    monitor = Monitor()
    monitor.see("MODIFIED", release)
    assert any(line.startswith("I6") for line in monitor.violations())


def test_a_condition_that_is_missing_is_found() -> None:
    release = copy.deepcopy(REST)
    release["status"]["conditions"] = [item for item in release["status"]["conditions"] if item["type"] != "GoldKept"]
    assert settled(release) == ["I6: shop (Idle): it has no condition GoldKept"]


def test_what_cannot_be_read_need_say_no_more_than_that() -> None:
    release = copy.deepcopy(REST)
    told = {"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": "spec.x: got 1; mend it"}
    release["status"] = {"state": "Training", "observedGeneration": 1, "conditions": [told | {"observedGeneration": 1}]}
    assert settled(release) == []


def test_the_monitor_asks_of_each_release_as_it_was_before_it_was_deleted() -> None:
    monitor = Monitor()
    unsettled, going = said(Ready="Unknown"), copy.deepcopy(REST)
    unsettled["metadata"] = unsettled["metadata"] | {"resourceVersion": "3"}
    going["metadata"] |= {"resourceVersion": "4", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    for item in (REST, unsettled, going):
        monitor.see("MODIFIED", item)
    assert len(monitor.settled()) == 1


def test_a_write_in_silence_is_found() -> None:
    monitor = Monitor()
    monitor.see("MODIFIED", REST)
    assert writes_in_silence(monitor.changes, 1) == []
    assert monitor.silent_since(0) == ["I10: RewriterRelease shop changed in a steady state (MODIFIED)"]
