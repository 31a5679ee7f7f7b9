"""The last step: the candidate is watched while promoted.json is written, and there is a way back until it counts."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rewriter_contract.messages import PASSTHROUGH, PromotionRecord
from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import ABORT_ANNOTATION
from tests.builders import make_spec, weights_ref
from tests.core.simulator import Behaviour, Simulator, healthy_prepare
from tests.core.test_rollout import passed, rolled_back, three_stages

OLD = PromotionRecord(release="shop", revision=1, stages={"finerank": weights_ref("r0001-p02")})


def promoting(**behaviour: object) -> Simulator:
    """The record pod of r0002 runs; promoted.json names r0001."""
    story = passed(record_ends=False, **behaviour)
    story.promoted = OLD
    return story.until(lambda it: it.has("Pod", "shop-c0002-record-1"))


def errs(story: Simulator) -> None:
    story.behaviour.candidate_error_rate = 0.5


def loses_its_pods(story: Simulator) -> None:
    key = ("Deployment", "shop-r0002")
    story.children[key] = replace(story.children[key], ready=0)  # type: ignore[call-arg]


def falls_silent(story: Simulator) -> None:
    story.behaviour.stats_readable = False


def ends(story: Simulator) -> None:
    story.behaviour.record_ends = True
    story.record_is_done()


def restored(story: Simulator) -> bool:
    assert story.promoted is not None
    return story.promoted.stages == OLD.stages and story.promoted.revision == OLD.revision


@pytest.mark.parametrize("written", [False, True], ids=["before-the-record", "after-the-record"])
@pytest.mark.parametrize(
    "trouble, reason",
    [pytest.param(errs, "LimitCrossed", id="errs"), pytest.param(loses_its_pods, "CandidateNotServing", id="no-pod")],
)
def test_a_candidate_that_degrades_while_its_promotion_is_recorded_is_taken_back(
    trouble: Callable[[Simulator], None], reason: str, written: bool
) -> None:
    story = promoting()
    trouble(story)
    story.pass_time(60)
    if written:
        story.record_is_done()
    story.until(State.WITHDRAWING)
    story.behaviour.record_ends = True
    rolled_back(story, reason)
    assert restored(story)
    story.settle()
    assert story.children[("RewriterRevision", "shop-r0002")].outcome == "RolledBack"  # type: ignore[attr-defined]


def test_the_route_is_taken_back_before_the_record() -> None:
    story = promoting()
    errs(story)
    story.pass_time(60)
    story.until(State.WITHDRAWING)
    assert story.share() == 0
    story.behaviour.record_ends = True
    story.cycle_ends()
    withdrawn = max(index for index, write in enumerate(story.writes) if write.startswith("apply HTTPRoute"))
    assert withdrawn < story.writes.index("apply Pod shop-c0002-record-2")


def test_a_volume_that_takes_no_record_holds_up_the_cycle_but_never_the_traffic() -> None:
    story = promoting()
    errs(story)
    story.pass_time(60)
    story.behaviour.record_ends, story.behaviour.record_succeeds = True, False
    story.until(State.WITHDRAWING).wait(120)
    assert story.status.state is State.WITHDRAWING
    assert story.share() == 0
    assert "no space left" in story.status.message
    story.behaviour.record_succeeds = True
    assert story.cycle_ends() == "RolledBack"
    assert restored(story)


def test_a_record_pod_that_writes_while_it_is_deleted_is_waited_for() -> None:
    story = promoting(record_lingers=True)
    errs(story)
    story.pass_time(60)
    story.until(State.WITHDRAWING).wait(60)
    assert story.children[("Pod", "shop-c0002-record-1")].deleting
    assert not story.has("Pod", "shop-c0002-record-2"), "one writer at a time"
    ends(story)
    assert not restored(story)
    story.wait(30)
    assert not story.has("Pod", "shop-c0002-record-2")
    story.behaviour.record_lingers = False
    story.pods_are_gone()
    assert story.cycle_ends() == "RolledBack"
    assert restored(story)


@pytest.mark.parametrize("lost", range(6))
def test_a_crash_before_any_status_write_on_the_way_back_changes_nothing(lost: int) -> None:
    story = promoting()
    errs(story)
    ends(story)
    story.pass_time(60)
    for _ in range(lost):
        story.reconcile()
    story.lose_status_writes = 1
    assert story.cycle_ends() == "RolledBack"
    assert story.wait(60).status.serves == "r0001"
    assert restored(story)


def test_a_crash_between_route_and_status_is_understood_afterwards() -> None:
    story = promoting()
    errs(story)
    story.pass_time(60)
    story.lose_status_writes = 1
    story.reconcile()
    assert (story.share(), story.status.state) == (0, State.PROMOTING)
    story.behaviour.record_ends = True
    rolled_back(story, "LimitCrossed")
    assert restored(story)


def test_nobody_could_watch_so_the_promotion_does_not_count() -> None:
    story = promoting()
    falls_silent(story)
    ends(story)
    story.wait(60)
    assert story.status.state is State.PROMOTING
    assert "tells no counters" in story.status.message
    rolled_back(story, "NotVerified")
    assert restored(story)


def test_a_moment_of_silence_only_delays_the_promotion() -> None:
    story = promoting()
    falls_silent(story)
    ends(story)
    story.wait(60)
    story.behaviour.stats_readable = True
    assert story.cycle_ends() == "Promoted"
    assert story.promoted and story.promoted.revision == 2


def test_an_abort_while_the_promotion_is_recorded_takes_it_back() -> None:
    story = promoting()
    story.annotations[ABORT_ANNOTATION] = "2"
    story.behaviour.record_ends = True
    assert story.cycle_ends() == "Aborted"
    assert story.wait(60).status.serves == "r0001"
    assert restored(story)


def test_a_changed_spec_waits_for_a_promotion_that_is_being_recorded() -> None:
    story = promoting()
    story.spec = make_spec(**{"training.seed": 7})
    ends(story)
    assert story.cycle_ends() == "Promoted"
    story.until(State.PREPARING)
    assert story.status.cycle and story.status.cycle.trigger == "SpecChanged"


def test_a_promotion_is_recorded_again_when_recording_failed() -> None:
    story = passed(record_succeeds=False).until(State.PROMOTING).wait(60)
    assert "no space left" in story.status.message
    assert story.share() == 100
    tries = [write for write in story.writes if write.startswith("apply Pod shop-c0002-record")]
    assert len(tries) <= 4, "a volume that is full is not asked every second"
    story.behaviour.record_succeeds = True
    assert story.cycle_ends() == "Promoted"
    assert story.promoted and story.promoted.stages == {"finerank": weights_ref("r0002-p02")}


def first_promotion() -> Simulator:
    """Nothing was promoted before: the passthrough serves, and the first candidate errs while it is recorded."""
    story = Simulator(make_spec(), behaviour=Behaviour(record_ends=False))
    story.until(State.PROMOTING).until(lambda it: it.has("Pod", "shop-c0001-record-1"))
    ends(story)
    errs(story)
    story.pass_time(60)
    return story


def test_where_nothing_was_promoted_before_the_record_says_so() -> None:
    story = first_promotion()
    assert story.cycle_ends() == "RolledBack"
    assert story.status.serves == "passthrough"
    assert story.promoted and story.promoted.revision == 0
    assert {ref.version for ref in story.promoted.stages.values()} == {PASSTHROUGH}


def test_a_release_that_is_created_again_over_such_a_record_starts_as_a_new_one() -> None:
    nothing = PromotionRecord(release="shop", revision=0, stages={"finerank": weights_ref(PASSTHROUGH)})
    story = Simulator(
        make_spec(), behaviour=Behaviour(prepare=replace(healthy_prepare(), promoted=nothing, last_cycle=1))
    )
    story.until(State.TRAINING)
    assert story.status.serves == "passthrough"
    assert story.status.cycle and story.status.cycle.number == 2


def test_a_stage_that_had_no_incumbent_gets_none_from_the_record() -> None:
    stages = {"finerank": weights_ref("r0007-p02"), "rawrank": weights_ref(PASSTHROUGH)}
    record = PromotionRecord(release="shop", revision=7, stages=stages)
    spec = three_stages()
    found = replace(healthy_prepare(), promoted=record, last_cycle=7)
    story = Simulator(spec, behaviour=Behaviour(prepare=found)).until(State.IDLE)
    assert story.status.serves == "finerank=r0007,rawrank=passthrough,recall=r0007"
