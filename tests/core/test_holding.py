"""What the gate could not decide: rejected, or held for a person, and never served before that person said so."""

from dataclasses import replace
from typing import Any

import pytest

from rewriter_contract.messages import EvidenceRows
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Hold
from rewriter_operator.core.begun_spec import spec_digest
from rewriter_operator.core.cycle import ABORT_ANNOTATION, APPROVE_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.states import CANDIDATE_STATES
from rewriter_operator.core.world import Role
from tests.builders import evidence, make_spec
from tests.core.simulator import Behaviour, Simulator

Sides = dict[str, tuple[EvidenceRows, ...]]


def undecided() -> Sides:
    """Whole evidence in which a gain cannot be told from none."""
    return evidence(gain=0.0)


def story_of(sides: Sides, **spec: Any) -> Simulator:
    return Simulator(make_spec(**({"gate.onInconclusive": "Hold"} | spec)), behaviour=Behaviour(evidence=sides))


def held(**spec: Any) -> Simulator:
    """Cycle 1 waits for a person."""
    story = story_of(undecided(), **spec).until(State.HOLDING).settle()
    assert story.status.state is State.HOLDING
    return story


def token(story: Simulator) -> str:
    assert story.status.cycle and story.status.cycle.hold
    return story.status.cycle.hold.token


def was_rejected(story: Simulator) -> None:
    assert story.cycle_ends(limit=60) == "Rejected"
    story.wait(60)
    assert not set(story.states) & CANDIDATE_STATES
    assert not story.has("Deployment", "shop-r0001")
    assert story.status.serves == "passthrough"


def test_a_verdict_that_is_unknown_rejects_unless_the_spec_says_otherwise() -> None:
    story = Simulator(make_spec(), behaviour=Behaviour(evidence=undecided()))
    was_rejected(story)
    assert story.status.history[0].reason == "GateInconclusive"
    assert State.HOLDING not in story.states


def test_a_held_candidate_shows_its_numbers_and_what_would_approve_it() -> None:
    story = held()
    assert "waits for approval until 2025-11-27T" in story.status.message, "72 h after the verdict"
    assert f"{APPROVE_ANNOTATION}={token(story)}" in story.status.message
    assert "Inconclusive: RewardGain" in story.status.message
    assert story.condition("GatePassed") == ("Unknown", "GateInconclusive")
    assert story.condition("Progressing") == ("True", "CycleRunning")
    assert ("GateHeld", True) in [(note.reason, note.warning) for note in story.notes]
    assert story.has("RewriterRevision", "shop-r0001"), "the evidence is there to be read"


def test_a_hold_costs_no_pod_and_gives_no_share() -> None:
    story = held()
    story.wait(3600)
    assert story.status.state is State.HOLDING
    pods = {child.role for child in story.children.values() if child.kind == "Pod"}
    assert pods == {Role.PASSTHROUGH}
    assert not story.has("Deployment", "shop-r0001")
    written = len(story.writes)
    story.wait(3600)
    assert story.writes[written:] == [], "a wait writes nothing"


def test_an_approved_candidate_goes_through_the_whole_rollout_and_the_verdict_stays_unknown() -> None:
    story = held()
    story.annotations[APPROVE_ANNOTATION] = token(story)
    story.until(lambda it: it.share() == 10)
    assert story.condition("GatePassed") == ("Unknown", "GateApproved")
    assert story.cycle_ends() == "Promoted"
    story.settle()
    assert story.status.serves == "r0001"
    assert "Inconclusive: RewardGain" in story.status.history[0].message
    assert story.condition("GatePassed")[0] == "Unknown"
    assert "GateApproved" in [note.reason for note in story.notes]
    assert story.status.notice == ""


@pytest.mark.parametrize(
    "given", ["r0001", "r0001/gate", "r0002/gate/{digits}", "r0001/gate/00000000", "r0001/finerank/1", "yes"]
)
def test_no_other_word_than_the_token_of_this_report_approves(given: str) -> None:
    story = held()
    story.annotations[APPROVE_ANNOTATION] = given.format(digits=token(story).rsplit("/", 1)[1])
    story.wait(120)
    assert story.status.state is State.HOLDING
    assert f"{token(story)} is waited for" in story.status.notice


def test_what_approved_one_candidate_approves_no_later_one() -> None:
    story = held()
    story.annotations[APPROVE_ANNOTATION] = first = token(story)
    assert story.cycle_ends() == "Promoted"
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(State.HOLDING).wait(600)
    assert (story.status.state, token(story) != first) == (State.HOLDING, True)
    assert story.status.serves == "r0001"


def test_nobody_approves_in_time_and_it_is_rejected() -> None:
    story = held(**{"gate.holdTimeout": "2h"})
    story.wait(7000)
    assert story.status.state is State.HOLDING
    story.wait(300)
    assert (story.status.history[0].outcome, story.status.history[0].reason) == ("Rejected", "GateInconclusive")
    assert "nobody approved it within spec.gate.holdTimeout 2h" in story.status.history[0].message
    assert not set(story.states) & CANDIDATE_STATES


def test_an_approval_that_is_seen_after_the_deadline_comes_too_late() -> None:
    story = held(**{"gate.holdTimeout": "2h"})
    story.annotations[APPROVE_ANNOTATION] = token(story)
    story.pass_time(7300)  # the operator was down meanwhile
    was_rejected(story)


def test_more_time_is_given_without_another_cycle() -> None:
    story = held(**{"gate.holdTimeout": "2h"})
    longer = make_spec(**{"gate.onInconclusive": "Hold", "gate.holdTimeout": "24h"})
    assert spec_digest(longer) == spec_digest(story.spec) == spec_digest(make_spec())
    story.spec = longer
    story.wait(20_000)
    assert (story.status.state, story.status.last_cycle_number) == (State.HOLDING, 1)


def test_a_spec_that_no_longer_holds_rejects_at_once() -> None:
    story = held()
    story.spec = make_spec()
    was_rejected(story)
    assert "no longer says Hold" in story.status.history[0].message


def test_a_held_candidate_is_aborted_or_superseded_like_any_other() -> None:
    story = held()
    story.annotations[ABORT_ANNOTATION] = "1"
    assert story.cycle_ends(limit=60) == "Aborted"
    other = held()
    other.spec = make_spec(**{"gate.onInconclusive": "Hold", "gate.alpha": 0.1})
    assert other.cycle_ends(limit=60) == "Superseded"


def _without(sides: Sides, share: float) -> Sides:
    """The candidate's rewards are missing for this share of the queries."""
    (rows,) = sides["candidate"]
    lost = round(share * len(rows.rows))
    gone = tuple(replace(row, reward=None) for row in rows.rows[:lost]) + rows.rows[lost:]
    return sides | {"candidate": (replace(rows, rows=gone),)}


def _without_gold(sides: Sides) -> Sides:
    """The search finds nothing, so that no hack can be told from an honest rewriter."""
    return {
        side: tuple(
            replace(item, rows=tuple(replace(row, ndcg10=0.0, recall100=0.0) for row in item.rows)) for item in shards
        )
        for side, shards in sides.items()
    }


@pytest.mark.parametrize(
    "sides, reason",
    [
        pytest.param(evidence(gold_gain=-0.3), "GateFailed", id="a-fail"),
        pytest.param(evidence(queries=10), "GateInconclusive", id="too-few-queries"),
        pytest.param(_without(undecided(), 0.5), "GateInconclusive", id="missing-rewards"),
        pytest.param(_without_gold(evidence()), "GateInconclusive", id="a-gate-that-failed-its-self-test"),
    ],
)
def test_what_no_person_can_judge_by_is_never_held(sides: Sides, reason: str) -> None:
    story = story_of(sides)
    was_rejected(story)
    assert story.status.history[0].reason == reason
    assert State.HOLDING not in story.states


def test_a_passing_candidate_waits_for_nobody() -> None:
    story = story_of(evidence())
    assert story.cycle_ends() == "Promoted"
    assert State.HOLDING not in story.states


@pytest.mark.parametrize("verdict", ["Fail", "Pass", "", "None"])
def test_a_hold_whose_verdict_is_another_word_is_left_at_once(verdict: str) -> None:
    """A status that somebody wrote by hand must not make an approval out of a failure."""
    story = held()
    cycle = story.status.cycle
    assert cycle and cycle.gate
    forged = cycle.model_copy(update={"gate": cycle.gate.model_copy(update={"verdict": verdict})})
    story.annotations[APPROVE_ANNOTATION] = token(story)
    story.status = story.status.model_copy(update={"cycle": forged})
    was_rejected(story)


@pytest.mark.parametrize("lost", range(4))
def test_a_hold_survives_a_crash_before_any_status_write(lost: int) -> None:
    story = held()
    story.annotations[APPROVE_ANNOTATION] = token(story)
    for _ in range(lost):
        story.reconcile()
    story.lose_status_writes = 1
    assert story.cycle_ends() == "Promoted"


def test_an_operator_from_before_left_no_digest_and_its_verdict_is_not_held() -> None:
    story = story_of(undecided()).until(lambda it: bool(it.status.cycle and it.status.cycle.gate))
    cycle = story.status.cycle
    assert cycle and cycle.gate and cycle.hold is None
    old = cycle.gate.model_copy(update={"report_sha256": "", "approvable": False})
    story.status = story.status.model_copy(update={"cycle": cycle.model_copy(update={"gate": old})})
    was_rejected(story)


def test_the_token_has_revision_and_report() -> None:
    story = held()
    cycle = story.status.cycle
    assert cycle and cycle.gate
    assert cycle.hold == Hold(token=f"r0001/gate/{cycle.gate.report_sha256[:8]}")
    assert len(cycle.gate.report_sha256) == 64
