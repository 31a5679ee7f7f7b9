"""Whoever waits for a release by kstatus' rules waits as long as there is something to wait for, and no longer."""

from typing import Any

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.core.cycle import ABORT_ANNOTATION, ROLLBACK_ANNOTATION
from tests.builders import make_spec, stage
from tests.core.simulator import Simulator
from tests.kstatus import computed

WAITS = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]


def live(story: Simulator) -> dict[str, Any]:
    """The release as the API server gives it to whoever waits."""
    return {"metadata": {"generation": story.world().release.generation}, "status": story.status.to_api()}


class Watched(Simulator):
    """A story that remembers what kstatus made of every state on the way."""

    def __init__(self, spec: RewriterReleaseSpec) -> None:
        super().__init__(spec)
        self.computed: dict[State, set[str]] = {}

    def check(self) -> None:
        super().check()
        found = live(self)
        kinds = {item["type"]: item["status"] for item in found["status"].get("conditions", [])}
        assert (kinds.get("Reconciling"), kinds.get("Stalled")) != ("True", "True"), "one of them answers"
        told = {item["type"]: item["observedGeneration"] for item in found["status"].get("conditions", [])}
        told.pop("Accepted", None)  # of the spec that was checked
        assert set(told.values()) <= {found["metadata"]["generation"]}
        if found["status"].get("conditions"):
            self.computed.setdefault(self.status.state, set()).add(computed(found))


def test_every_state_but_the_one_at_rest_is_waited_for() -> None:
    story = Watched(make_spec())
    assert story.cycle_ends() == "Promoted"
    story.settle()
    story.annotations["rewriter.dev/run"] = "again"
    story.until(State.ROLLING_OUT)
    story.annotations[ABORT_ANNOTATION] = "2"
    assert story.cycle_ends() == "Aborted"
    story.annotations["rewriter.dev/run"] = "and again"
    assert story.cycle_ends() == "Promoted"
    story.annotations[ROLLBACK_ANNOTATION] = "r0001"
    story.until(State.RETURNING).until(State.IDLE).settle()
    assert set(State) - set(story.computed) == {State.HOLDING}
    assert story.computed.pop(State.IDLE) == {"InProgress", "Current"}, "the first: before cycle 1, see below"
    assert set().union(*story.computed.values()) == {"InProgress"}


def test_a_release_that_is_only_passing_rest_is_waited_for() -> None:
    """Whoever waits would go on in the moment before the first cycle, or between two that follow at once."""
    story = Watched(make_spec())
    story.until(State.TRAINING)
    assert story.computed[State.IDLE] == {"InProgress"}
    story.spec = make_spec(**{"training.phases": 5})
    story.until(lambda it: it.status.last_cycle_number == 2)
    assert story.status.history[0].outcome == "Superseded"
    assert story.computed[State.IDLE] == {"InProgress"}


def test_a_release_that_is_suspended_is_at_rest_before_its_first_cycle() -> None:
    story = Watched(make_spec(suspend=True))
    story.until(State.IDLE).settle()
    assert story.computed[State.IDLE] == {"Current"}


def test_an_approval_that_is_missing_is_waited_for() -> None:
    story = Watched(make_spec(**{"rollout.stages": WAITS}))
    story.until(lambda it: it.status.stages[0].step == 1 if it.status.stages else False).wait(60)
    assert computed(live(story)) == "InProgress"


def test_what_a_person_must_mend_is_waited_for_no_longer() -> None:
    """Also in mid-cycle, and before anything serves: Stalled says so, and Reconciling must not hide it."""
    story = Watched(make_spec())
    story.claim = None
    story.wait(60)
    assert story.status.state is State.BOOTSTRAPPING
    assert computed(live(story)) == "Failed"
    assert story.condition("Reconciling") == ("False", story.condition("Stalled")[1])
    story.claim = Simulator(make_spec()).claim
    story.until(State.TRAINING)
    assert computed(live(story)) == "InProgress"


def test_a_rejected_candidate_is_no_failure_of_the_release() -> None:
    story = Watched(make_spec())
    assert story.cycle_ends() == "Promoted"
    story.behaviour.trainer_finishes = False
    story.annotations["rewriter.dev/run"] = "again"
    assert story.cycle_ends(limit=8 * 3600) == "Failed"
    assert computed(live(story.settle())) == "Current", "what serves is what served before"


def test_a_stage_without_a_pod_that_answers_is_waited_for() -> None:
    story = Watched(make_spec())
    story.cycle_ends()
    story.settle()
    for key, child in list(story.children.items()):
        if child.kind == "Deployment" and child.cycle == 1:
            story.children[key] = child.__class__(**(vars(child) | {"ready": 0}))
    story.settle()
    assert story.condition("Ready")[0] == "False"
    assert computed(live(story)) == "InProgress"


def test_a_release_that_is_only_created_is_waited_for() -> None:
    assert computed({"metadata": {"generation": 1}, "status": RewriterReleaseStatus().to_api()}) == "InProgress"


@pytest.mark.parametrize("seen, found", [(1, "Current"), (0, "InProgress"), (-1, "InProgress")])
def test_a_spec_that_the_operator_has_not_seen_is_waited_for(seen: int, found: str) -> None:
    story = Watched(make_spec())
    story.cycle_ends()
    told = live(story.settle())
    told["status"]["observedGeneration"] = seen
    assert computed(told) == found
