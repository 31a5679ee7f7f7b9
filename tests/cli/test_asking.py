"""A verb writes exactly the annotation that the operator takes, or says why it would not take it."""

from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.api.status import CycleRecord, GateResult, Hold, Outcome, RetentionStatus, StageStatus
from rewriter_operator.cli.asking import ASKED_ANNOTATION, MAX_ASKED, Refusal, Wish, ask, asked
from rewriter_operator.cli.tree import lines, tree
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import intents
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import World
from tests.builders import NOW, make_cycle, make_spec, serving, stage
from tests.cli.release_objects import world

PAUSED = make_spec(
    **{"rollout.stages": [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]},
)

HOLDS = make_spec(**{"gate.onInconclusive": "Hold"})


def waiting(**changes: Any) -> World:
    """Revision 7 waits for approval at step 1 of finerank."""
    values: dict[str, Any] = {
        "spec": PAUSED,
        "state": State.ROLLING_OUT,
        "cycle": make_cycle(PAUSED, 7, candidate=serving(7)),
        "stages": [StageStatus(name="finerank", share=10, share_at=NOW, step=1, step_at=NOW)],
        "last_cycle_number": 7,
    }
    return world(**(values | changes))


def idle(outcome: Outcome | None = None, **changes: Any) -> World:
    """No cycle runs; the last one ended like this."""
    record = CycleRecord(number=6, outcome=outcome, started_at="x", finished_at="y") if outcome else None
    return world(history=[record] if record else [], last_cycle_number=6, **changes)


def with_answer(before: World, wish: Wish) -> World:
    """The world that the operator sees after the plugin wrote."""
    made = ask(before, wish)
    annotations = {**before.release.annotations, made.annotation: made.value}
    return replace(before, release=replace(before.release, annotations=annotations))


def test_approve_names_revision_stage_and_step_and_is_what_the_operator_awaits() -> None:
    made = ask(waiting(), Wish("approve"))
    assert (made.annotation, made.value) == (cycles.APPROVE_ANNOTATION, "r0007/finerank/1")
    assert made.value in intents.awaited_approvals(waiting())
    assert ask(waiting(), Wish("approve", "finerank")) == made


@pytest.mark.parametrize(
    "before, target, says",
    [
        (idle(), "", "nothing waits for approval; state Idle"),
        (waiting(), "recall", "r0007/finerank/1 is waited for"),
        (waiting(annotations={cycles.APPROVE_ANNOTATION: "r0007/finerank/1"}), "", "is approved already"),
    ],
)
def test_approve_is_refused_where_nothing_waits_for_it(before: World, target: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        ask(before, Wish("approve", target))


def held(**changes: Any) -> World:
    """The gate could not decide on revision 7."""
    gate = GateResult(verdict="Inconclusive", summary="numbers", report="x", report_sha256="1f" * 32, approvable=True)
    cycle = make_cycle(HOLDS, 7, candidate=serving(7), gate=gate, hold=Hold(token="r0007/gate/1f1f1f1f"))
    return world(**({"spec": HOLDS, "state": State.HOLDING, "cycle": cycle, "last_cycle_number": 7} | changes))


def test_approving_a_held_candidate_names_its_report_and_deploys_it_in_the_operators_own_planner() -> None:
    made = ask(held(), Wish("approve"))
    assert made == ask(held(), Wish("approve", "gate")) == ask(held(), Wish("approve", "r0007/gate/1f1f1f1f"))
    assert (made.annotation, made.value) == (cycles.APPROVE_ANNOTATION, "r0007/gate/1f1f1f1f")
    assert plan(replace(with_answer(held(), Wish("approve")), now=NOW)).status.state is State.DEPLOYING
    assert "kubectl rewriter approve shop gate -n search" in "\n".join(lines(tree(held())))


@pytest.mark.parametrize(
    "before, target, says",
    [
        (held(), "finerank", "got 'finerank'; r0007/gate/1f1f1f1f is waited for"),
        (held(annotations={cycles.APPROVE_ANNOTATION: "r0007/gate/1f1f1f1f"}), "gate", "is approved already"),
    ],
)
def test_a_held_candidate_is_approved_once_and_as_nothing_else(before: World, target: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        ask(before, Wish("approve", target))


def test_abort_ends_the_running_cycle_in_the_operators_own_planner() -> None:
    cycle = plan(with_answer(waiting(), Wish("abort"))).status.cycle
    assert cycle and cycle.outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    "before, target, says",
    [
        (idle(), "", "no cycle runs"),
        (waiting(), "6", "got '6'; cycle 7 runs"),
        (waiting(state=State.WITHDRAWING), "", "is ending already"),
    ],
)
def test_abort_is_refused_where_it_would_hit_nothing(before: World, target: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        ask(before, Wish("abort", target))


def test_run_and_retry_start_a_cycle_in_the_operators_own_planner() -> None:
    for before, verb in ((idle(Outcome.PROMOTED), "run"), (idle(Outcome.REJECTED), "retry")):
        decided = plan(with_answer(before, Wish(verb, token="new"))).status
        assert decided.cycle and (decided.cycle.number, decided.cycle.trigger) == (7, "Requested")


@pytest.mark.parametrize(
    "before, verb, says",
    [
        (idle(spec=make_spec(suspend=True)), "run", "spec.suspend is true"),
        (idle(annotations={cycles.RUN_ANNOTATION: "old"}), "run", "asked for already"),
        (idle(Outcome.PROMOTED), "retry", "cycle 6 was promoted"),
        (idle(), "retry", "no cycle has ended yet"),
        (waiting(), "retry", "nothing to retry yet; cycle 7 is RollingOut"),
        (world(state=State.BOOTSTRAPPING), "run", "takes no requests yet"),
    ],
)
def test_a_cycle_that_would_not_start_is_refused(before: World, verb: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        ask(before, Wish(verb, token="new"))


def served_by_six(**changes: Any) -> World:
    return idle(
        Outcome.PROMOTED,
        stages=[StageStatus(name="finerank", incumbent=serving(6))],
        promoted=[serving(6), serving(5), serving(4)],
        **({"revisions": (6, 5)} | changes),
    )


def test_rollback_to_a_kept_revision_returns_to_it_in_the_operators_own_planner() -> None:
    decided = plan(with_answer(served_by_six(), Wish("rollback-to", "r0005", "once"))).status
    assert decided.state is State.RETURNING
    assert decided.rollback and decided.rollback.to == serving(5)


@pytest.mark.parametrize(
    "target, says",
    [("r0006", "serves every stage already"), ("r0004", r"is kept \(r0006, r0005\)"), ("yesterday", "must name")],
)
def test_rollback_to_what_is_not_kept_is_refused(target: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        ask(served_by_six(), Wish("rollback-to", target, "once"))


def test_rollback_to_removed_weights_is_refused_with_the_reason() -> None:
    gone = served_by_six(revisions=(6, 5, 4), retention=RetentionStatus(cycle=6, kept=["r0005-p02"]))
    with pytest.raises(
        Refusal, match=r"r0004 was promoted, but its weights \(r0004-p02\) were removed .* r0006, r0005"
    ):
        ask(gone, Wish("rollback-to", "r0004", "once"))


def test_who_and_why_are_one_bounded_line() -> None:
    made = ask(waiting(), Wish("abort"))
    said = asked(Wish("abort"), made, "alice", "the relevance\nmodel is broken")
    assert said == "abort 7 by alice: the relevance model is broken"
    assert len(asked(Wish("abort"), made, "alice", "x" * 9000)) == MAX_ASKED
    assert ASKED_ANNOTATION not in vars(cycles).values(), "the operator decides nothing by it"
