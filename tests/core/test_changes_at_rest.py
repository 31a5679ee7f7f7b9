"""A spec that changes while no cycle runs: only what is learnt from, or judged by, is worth a cycle of its own."""

from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.begun_spec import learnt_digest, spec_digest
from rewriter_operator.core.cycle import ABORT_ANNOTATION, RUN_ANNOTATION
from tests.builders import make_spec, make_status, stage
from tests.core.simulator import Simulator

STEPS = {"rollout.stages": [stage("finerank", {"setShare": 5}, {"setShare": 50}, {"setShare": 100})]}
GONE_BY: dict[str, dict[str, Any]] = {
    "steps": STEPS,
    "where the trainer runs": {"training.trainer": {"nodeSelector": {"pool": "new"}}},
    "what samplers may take": {"training.samplers": {"resources": {"limits": {"memory": "8Gi"}}}},
    "how long a phase may take": {"training.phaseDeadline": "7h", "training.stallTimeout": "20m"},
}
LEARNT = {
    "data": {"data.train": "data/new.jsonl"},
    "reward": {"reward.lambda": 0.25},
    "training": {"training.seed": 7},
    "the program": {"training.trainer": {"image": "registry.test/trainer:2"}},
    "gate": {"gate.alpha": 0.1},
    "one of each": {"training.seed": 7, **STEPS},
}


def promoted() -> Simulator:
    """Cycle 1 was promoted, and nothing else is to be done."""
    story = Simulator(make_spec())
    assert story.cycle_ends() == "Promoted"
    return story.settle()


def cycles(story: Simulator) -> int:
    return story.status.last_cycle_number


def noted(story: Simulator) -> list[str]:
    return [note.message for note in story.notes if note.reason == "ChangeNoted"]


@pytest.mark.parametrize("change", GONE_BY.values(), ids=GONE_BY.keys())
def test_where_nothing_is_to_be_learnt_no_cycle_starts_and_the_next_one_goes_by_it(change: dict[str, Any]) -> None:
    story = promoted()
    story.spec = make_spec(**change)
    story.wait(600)
    assert cycles(story) == 1
    (told,) = noted(story)
    assert told.endswith("to start one now: kubectl rewriter run shop")
    story.annotations[RUN_ANNOTATION] = "now"
    assert story.cycle_ends() == "Promoted"
    assert [row.name for row in story.status.stages] == [plan.name.value for plan in story.spec.rollout.stages]
    assert story.status.last_spec_digest == spec_digest(story.spec)
    story.wait(600)
    assert cycles(story) == 2


@pytest.mark.parametrize("change", LEARNT.values(), ids=LEARNT.keys())
def test_what_is_learnt_from_or_judged_by_starts_one(change: dict[str, Any]) -> None:
    story = promoted()
    story.spec = make_spec(**change)
    story.until(State.PREPARING)
    assert story.status.cycle and (story.status.cycle.number, story.status.cycle.trigger) == (2, "SpecChanged")
    assert noted(story) == []


@pytest.mark.parametrize("others", [STEPS["rollout.stages"], []], ids=["beside others", "in their place"])
def test_a_stage_that_comes_later_gets_its_first_revision(others: list[dict[str, Any]]) -> None:
    story = promoted()
    story.spec = make_spec(**{"rollout.stages": [*others, stage("recall", {"setShare": 100})]})
    assert story.cycle_ends() == "Promoted"
    assert {row.incumbent and row.incumbent.revision for row in story.status.stages} == {2}


def test_a_stage_less_is_none_that_waits_for_a_revision() -> None:
    both = [*STEPS["rollout.stages"], stage("recall", {"setShare": 100})]
    story = Simulator(make_spec(**{"rollout.stages": both}))
    story.cycle_ends()
    story.spec = make_spec(**STEPS)
    assert cycles(story.wait(600)) == 1


def test_changes_of_both_kinds_one_after_the_other_start_one() -> None:
    story = promoted()
    story.spec = make_spec(**STEPS)
    story.settle()
    story.spec = make_spec(**STEPS, **{"training.seed": 7})
    story.until(State.PREPARING)
    assert cycles(story) == 2


def test_stages_changed_while_suspended_start_none_afterwards() -> None:
    story = promoted()
    story.spec = make_spec(suspend=True, **STEPS)
    story.wait(60)
    assert noted(story) == []
    story.spec = make_spec(**STEPS)
    story.wait(60)
    assert cycles(story) == 1 and len(noted(story)) == 1


def test_after_a_failed_cycle_every_change_may_be_what_mends_it() -> None:
    story = Simulator(make_spec())
    story.behaviour.volume_full = True
    assert story.cycle_ends() == "Failed"
    story.behaviour.volume_full = False
    story.spec = make_spec(**GONE_BY["where the trainer runs"])
    story.until(State.PREPARING)
    assert cycles(story) == 2


def test_after_an_aborted_cycle_too() -> None:
    story = Simulator(make_spec()).until(State.TRAINING)
    story.annotations[ABORT_ANNOTATION] = "1"
    assert story.cycle_ends() == "Aborted"
    assert cycles(story.wait(600)) == 1
    story.spec = make_spec(**STEPS)
    story.until(State.PREPARING)
    assert cycles(story) == 2


def test_stages_that_ended_a_rollout_are_rolled_out_by_the_cycle_that_follows() -> None:
    story = Simulator(make_spec()).until(State.ROLLING_OUT)
    story.spec = make_spec(**{"rollout.stages": [stage("recall", {"setShare": 100})]})
    assert story.cycle_ends() == "Superseded"
    assert story.cycle_ends() == "Promoted"
    assert [row.name for row in story.status.stages] == ["recall"]


# --- across versions -------------------------------------------------------------------------------------------------


def test_an_upgrade_starts_nothing_and_is_known_from_then_on() -> None:
    """Status as versions wrote it that knew no digest of what is learnt; the digest of the spec is what it was."""
    spec = make_spec()
    before = make_status(spec, last_cycle_number=1)
    assert before.last_learnt_digest == ""
    story = Simulator(spec, before).wait(600)
    assert cycles(story) == 1
    assert story.status.last_learnt_digest == learnt_digest(spec)
    assert story.status.last_spec_digest == before.last_spec_digest
    story.spec = make_spec(**STEPS)
    assert cycles(story.wait(600)) == 1


def test_a_change_that_comes_with_the_upgrade_starts_one_as_it_would_have_before() -> None:
    story = Simulator(make_spec(**STEPS), make_status(make_spec(), last_cycle_number=1))
    story.until(State.PREPARING)
    assert cycles(story) == 2


def test_an_older_operator_finds_nothing_to_start_after_a_change_that_was_noted() -> None:
    story = promoted()
    story.spec = make_spec(**STEPS)
    story.settle()
    assert story.status.last_spec_digest == spec_digest(story.spec), "all that it looks at"


def test_the_digest_of_what_is_learnt_stays_what_it_is() -> None:
    """Another one would start a cycle of every release whose spec changes in nothing but its stages."""
    other = make_spec(**LEARNT["one of each"], **{"training.samplers": {"replicas": 2, "priorityClassName": "low"}})
    assert learnt_digest(make_spec()) == "fd27180b33efeef85d0b642f19c31f2a58bf1a0bbaaab3151eb92e73da12303c"
    assert learnt_digest(other) == "d1450c52038772fc10bd48c0c3bae8c369071366b69492071a18cd3590567834"
