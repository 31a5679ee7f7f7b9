"""Every state times everything that a person can ask for: what happens, as one table.

A new state without a row, or a new intent without a column, fails the first test.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import (
    ABORT_ANNOTATION,
    APPROVE_ANNOTATION,
    ROLLBACK_ANNOTATION,
    RUN_ANNOTATION,
)
from rewriter_operator.core.intents import ASKED_ANNOTATION
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Deployment, Revision, Role
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, evidence, make_cycle, make_spec, make_status, serving, stage, stage_status
from tests.core.simulator import Behaviour, Simulator
from tests.core.test_rollout import PASSED, three_stages

WAITS = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]
SPEC = make_spec(**{"rollout.stages": WAITS})


def served(spec: Any = SPEC, state: State = State.IDLE, **changes: Any) -> Simulator:
    """r0005 serves; r0003 served before; cycle 6 was rejected; cycle 7 runs in every state that has one."""
    values: dict[str, Any] = {
        "state": state,
        "stages": [stage_status(incumbent=serving(5))],
        "promoted": [serving(5), serving(3)],
        "last_cycle_number": 6,
    }
    story = Simulator(spec, make_status(spec, **(values | changes)), Behaviour(record_ends=False))
    for number in (3, 5, 6):
        name = f"shop-r{number:04d}"
        child = Revision("RewriterRevision", name, f"uid-{name}", Role.REVISION, number, 0, "")
        story.children[("RewriterRevision", name)] = child
    story.promoted = None
    return story


def in_cycle(state: State) -> Simulator:
    """Cycle 7 has come to DEPLOYING, and goes on to `state`."""
    cycle = make_cycle(SPEC, 7, candidate=serving(7), compared_with=serving(5), gate=PASSED)
    story = served(state=State.DEPLOYING, cycle=cycle, last_cycle_number=7)
    if state is State.DEPLOYING:
        story.behaviour.serving_ready = False
        story.settle()
        story.behaviour.serving_ready = True
        return story
    if state is not State.ROLLING_OUT:
        story.annotations[APPROVE_ANNOTATION] = "r0007/finerank/1"
    if state is State.WITHDRAWING:
        story.until(lambda it: it.share() == 100)
        story.behaviour.gateway_accepts = None
        story.behaviour.candidate_error_rate = 1.0
    story.until(lambda it: it.status.state is state)
    if state is State.ROLLING_OUT:
        story.until(lambda it: it.status.stages[0].step == 1)
    return story


def trained(state: State) -> Simulator:
    """Cycle 7 was asked for and has come to a state before any candidate."""
    story = served()
    story.annotations[RUN_ANNOTATION] = "first"
    story.until(lambda it: it.status.state is state)
    del story.annotations[RUN_ANNOTATION]
    return story


def holding(_: State) -> Simulator:
    """Cycle 7 was asked for, and its gate could not decide."""
    story = served(make_spec(**{"rollout.stages": WAITS, "gate.onInconclusive": "Hold"}))
    story.behaviour.evidence = evidence(gain=0.0)
    story.annotations[RUN_ANNOTATION] = "first"
    story.until(lambda it: it.status.state is State.HOLDING)
    del story.annotations[RUN_ANNOTATION]
    return story


def returning(_: State) -> Simulator:
    story = served().settle()
    story.behaviour.serving_ready = False
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    return story.until(lambda it: it.status.state is State.RETURNING)


WAYS: dict[State, Callable[[State], Simulator]] = {
    State.BOOTSTRAPPING: lambda _: Simulator(SPEC, behaviour=Behaviour(serving_ready=False)),
    State.IDLE: lambda _: served().settle(),
    State.PREPARING: trained,
    State.TRAINING: trained,
    State.GATING: trained,
    State.HOLDING: holding,
    State.DEPLOYING: in_cycle,
    State.ROLLING_OUT: in_cycle,
    State.BAKING: in_cycle,
    State.PROMOTING: in_cycle,
    State.WITHDRAWING: in_cycle,
    State.RETURNING: returning,
}


def at(state: State) -> Simulator:
    story = WAYS[state](state)
    assert story.status.state is state
    return story


def goes_on(story: Simulator, state: State) -> None:
    """Nothing of what runs is changed."""
    number = story.status.last_cycle_number
    share = story.share()
    for _ in range(6):
        story.reconcile()
    assert story.status.last_cycle_number == number or state in (State.BOOTSTRAPPING, State.IDLE)
    assert story.share() >= share
    assert not [record for record in story.status.history if record.outcome.value == "Aborted"]


def suspend(story: Simulator, state: State) -> None:
    gate = {"gate.onInconclusive": story.spec.gate.on_inconclusive}
    story.spec = make_spec(suspend=True, **({"rollout.stages": WAITS} | gate))


def run(story: Simulator, state: State) -> None:
    story.annotations[RUN_ANNOTATION] = "second"


def abort(story: Simulator, state: State) -> None:
    story.annotations[ABORT_ANNOTATION] = "7"


def abort_twice(story: Simulator, state: State) -> None:
    """The same annotation again, and once more on its way back: an impatient person, or a retry of a script."""
    story.behaviour.record_ends = True
    for _ in range(3):
        story.annotations.pop(ABORT_ANNOTATION, None)
        story.reconcile()
        story.annotations[ABORT_ANNOTATION] = "7"
        story.reconcile()


def abort_another(story: Simulator, state: State) -> None:
    story.annotations[ABORT_ANNOTATION] = "soon"


def approve_another(story: Simulator, state: State) -> None:
    story.annotations[APPROVE_ANNOTATION] = "r0006/finerank/1"


def roll_back(story: Simulator, state: State) -> None:
    story.annotations[ROLLBACK_ANNOTATION] = "r0003/please"


def roll_back_to_nothing(story: Simulator, state: State) -> None:
    story.annotations[ROLLBACK_ANNOTATION] = "r0099"


def starts_nothing(story: Simulator, state: State) -> None:
    goes_on(story, state)
    assert story.status.last_cycle_number in (0, 6, 7)
    assert (state in (State.BOOTSTRAPPING, State.IDLE, State.RETURNING)) == (
        story.status.cycle is None or not story.status.cycle.number
    )


def starts_a_cycle(story: Simulator, state: State) -> None:
    story.reconcile()
    assert (story.status.state, story.status.cycle and story.status.cycle.trigger) == (State.PREPARING, "Requested")


def waits_for_the_end(story: Simulator, state: State) -> None:
    """The request stays and starts a cycle when what runs has ended."""
    goes_on(story, state)
    assert story.status.last_run_token != "second"


def aborts(story: Simulator, state: State) -> None:
    story.behaviour.record_ends = True
    assert story.cycle_ends() == "Aborted"
    assert story.wait(60).status.serves == "r0005"
    assert story.share() == 0


def aborts_once(story: Simulator, state: State) -> None:
    """One outcome, no share that comes back, and the next cycle is not hit."""
    if not story.status.history:
        aborts(story, state)
    assert [record.number for record in story.status.history] == [7]
    assert sum(note.reason == "Aborted" for note in story.notes) == 1
    story.behaviour.record_ends = story.behaviour.serving_ready = True
    story.annotations[RUN_ANNOTATION] = "next"
    story.until(lambda it: bool(it.status.cycle and it.status.cycle.number == 8))
    story.wait(30)
    assert story.status.history[0].number == 7 and story.status.cycle and story.status.cycle.outcome is None


def ignored_and_told(story: Simulator, state: State) -> None:
    goes_on(story, state)
    told = [note.message for note in story.notes if note.reason == "IntentIgnored"]
    assert len(told) == 1
    assert "annotation rewriter.dev/" in told[0] and "got '" in told[0]
    assert story.status.notice == told[0]
    story.annotations.clear()
    story.reconcile()
    assert story.status.notice == ""


def ignored(story: Simulator, state: State) -> None:
    goes_on(story, state)
    assert story.status.notice == ""


def serves_r0003(story: Simulator, state: State) -> None:
    story.behaviour.record_ends = story.behaviour.serving_ready = True
    story.behaviour.gateway_accepts = True
    if story.world().route:
        story.gateway_answers()
    story.until(lambda it: it.status.serves == "r0003" and it.status.state is State.IDLE, limit=600)
    story.wait(120)
    assert (story.status.state, story.status.serves, story.share()) == (State.IDLE, "r0003", 0)
    assert story.promoted and story.promoted.revision == 3
    assert not story.has("Deployment", "shop-r0005") and story.has("RewriterRevision", "shop-r0005")
    assert story.condition("Ready") == ("True", "Serving")
    if state not in (State.IDLE, State.RETURNING, State.WITHDRAWING):
        assert (story.status.history[0].outcome, story.status.history[0].reason) == ("Aborted", "RollbackRequested")


def refused_with_what_is_known(story: Simulator, state: State) -> None:
    goes_on(story, state)
    assert "got 'r0099'; must name a revision that was promoted" in story.status.notice
    if state is not State.BOOTSTRAPPING:
        assert "(r0005, r0003)" in story.status.notice


def counts_as_seen(story: Simulator, state: State) -> None:
    """A new object's annotations are left over from one that was here before."""
    story.behaviour.serving_ready = True
    story.reconcile()
    assert story.status.rollback is None or story.status.rollback.to is None
    assert story.status.last_run_token == story.annotations.get(RUN_ANNOTATION, "")
    assert story.status.last_approval == story.annotations.get(APPROVE_ANNOTATION, "")


CYCLE = (State.PREPARING, State.TRAINING, State.GATING, State.HOLDING, State.DEPLOYING, State.ROLLING_OUT, State.BAKING)
Intent = Callable[[Simulator, State], None]

TABLE: dict[Intent, dict[State, Intent]] = {
    suspend: dict.fromkeys(State, starts_nothing),
    run: dict.fromkeys(State, waits_for_the_end) | {State.IDLE: starts_a_cycle, State.BOOTSTRAPPING: counts_as_seen},
    abort: dict.fromkeys((*CYCLE, State.PROMOTING), aborts)
    | {State.WITHDRAWING: ignored}
    | dict.fromkeys((State.BOOTSTRAPPING, State.IDLE, State.RETURNING), ignored_and_told),
    abort_twice: dict.fromkeys((*CYCLE, State.PROMOTING), aborts_once)
    | {State.WITHDRAWING: ignored}
    | dict.fromkeys((State.BOOTSTRAPPING, State.IDLE, State.RETURNING), goes_on),
    abort_another: dict.fromkeys(State, ignored_and_told),
    approve_another: dict.fromkeys(State, ignored_and_told) | {State.BOOTSTRAPPING: counts_as_seen},
    roll_back: dict.fromkeys(State, serves_r0003) | {State.BOOTSTRAPPING: counts_as_seen},
    roll_back_to_nothing: dict.fromkeys(State, refused_with_what_is_known) | {State.BOOTSTRAPPING: counts_as_seen},
}


def test_the_table_has_every_state() -> None:
    assert set(WAYS) == set(State)
    assert all(set(row) == set(State) for row in TABLE.values())


CASES = [
    pytest.param(state, intent, row[state], id=f"{state}-{intent.__name__}")
    for intent, row in TABLE.items()
    for state in State
]


@pytest.mark.parametrize("state, intent, happens", CASES)
def test_what_people_ask_for_in_every_state(state: State, intent: Intent, happens: Intent) -> None:
    story = at(state)
    intent(story, state)
    happens(story, state)


@pytest.mark.parametrize("state", State)
def test_a_deleted_release_takes_all_its_children_along_in_every_state(state: State) -> None:
    """The operator plans nothing for a deleted object: the API server's garbage collection goes by the owner."""
    story = at(state)
    world = story.world()
    manifests = render(world.release, plan(world).wanted, INSTALLATION)
    assert manifests
    for manifest in manifests:
        (owner,) = manifest.body["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("uid-shop", True, True)
        assert "finalizers" not in manifest.body["metadata"]


def test_a_rollback_acts_once_and_never_hits_a_later_cycle() -> None:
    story = served(make_spec())
    story.behaviour.record_ends = True
    roll_back(story, State.IDLE)
    story.until(lambda it: it.status.serves == "r0003").wait(60)
    story.annotations[RUN_ANNOTATION] = "next"
    assert story.cycle_ends() == "Promoted"
    story.wait(120)
    assert story.status.serves == "r0007"
    del story.annotations[ROLLBACK_ANNOTATION]
    story.wait(60)
    roll_back(story, State.IDLE)
    story.wait(120)
    assert story.status.serves == "r0007", "taken away and put back, as Argo CD may, it is the same wish"
    story.annotations[ROLLBACK_ANNOTATION] = "r0003/again"
    story.until(lambda it: it.status.serves == "r0003")


def test_a_refused_rollback_does_not_come_true_once_such_a_revision_exists() -> None:
    story = served(make_spec())
    story.behaviour.record_ends = True
    story.annotations[ROLLBACK_ANNOTATION] = "r0007"
    story.settle()
    assert "must name a revision that was promoted" in story.status.notice
    for token in ("one", "two"):
        story.annotations[RUN_ANNOTATION] = token
        assert story.cycle_ends() == "Promoted"
    assert story.wait(60).status.serves == "r0008"


def test_a_rejected_revision_is_nothing_to_go_back_to() -> None:
    story = served()
    story.annotations[ROLLBACK_ANNOTATION] = "r0006"
    story.settle()
    assert "got 'r0006'" in story.status.notice
    assert story.status.serves == "r0005"


def test_a_rollback_to_what_serves_aborts_what_runs_and_changes_nothing_else() -> None:
    story = at(State.ROLLING_OUT)
    story.annotations[ROLLBACK_ANNOTATION] = "r0005"
    assert story.cycle_ends() == "Aborted"
    story.wait(60)
    assert (story.status.serves, State.RETURNING in story.states) == ("r0005", False)
    assert "r0005 serves every stage already" in [note.message for note in story.notes]


def test_no_request_moves_before_the_earlier_revision_is_ready() -> None:
    story = at(State.RETURNING)
    story.wait(300)
    assert story.status.serves == "r0005" and story.lost == 0
    story.behaviour.serving_ready = story.behaviour.record_ends = True
    del story.children[("Deployment", "shop-r0003")]
    story.until(lambda it: it.status.serves == "r0003").wait(120)
    assert story.lost == 0, "while it moved, and after it"
    made, gone = (
        story.writes.index(f"{what} Deployment shop-{of}") for what, of in (("apply", "r0003"), ("delete", "r0005"))
    )
    assert made < gone


def test_an_earlier_revision_that_does_not_come_up_leaves_everything_as_it_was() -> None:
    story = at(State.RETURNING)
    story.until(State.IDLE, limit=1200).wait(60)
    assert story.status.serves == "r0005"
    assert "r0003 was not ready within spec.serving.readyTimeout 15m" in story.status.message
    assert not story.has("Deployment", "shop-r0003")


def test_another_target_replaces_one_that_does_not_come_up() -> None:
    story = at(State.RETURNING)
    story.annotations[ROLLBACK_ANNOTATION] = "r0005"
    story.behaviour.record_ends = True
    story.until(State.IDLE, limit=120)
    assert story.status.serves == "r0005"


def test_a_stage_that_never_had_a_revision_gets_none_by_a_rollback() -> None:
    story = served(three_stages(), stages=[stage_status(incumbent=serving(5)), stage_status("rawrank")])
    story.behaviour.record_ends = True
    roll_back(story, State.IDLE)
    story.until(lambda it: it.status.serves.startswith("finerank=r0003") and it.status.state is State.IDLE)
    assert story.status.serves == "finerank=r0003,rawrank=passthrough,recall=passthrough"


def test_a_full_volume_holds_up_no_rollback() -> None:
    story = served()
    roll_back(story, State.IDLE)
    story.behaviour.record_ends, story.behaviour.record_succeeds = True, False
    story.wait(120)
    assert (story.status.serves, story.status.state) == ("r0003", State.RETURNING)
    assert "no space left" in story.status.message
    story.behaviour.record_succeeds = True
    story.until(State.IDLE, limit=300)


@pytest.mark.parametrize("lost", range(5))
def test_a_rollback_survives_a_crash_before_any_status_write(lost: int) -> None:
    story = served()
    story.behaviour.record_ends = True
    roll_back(story, State.IDLE)
    for _ in range(lost):
        story.reconcile()
    story.lose_status_writes = 1
    serves_r0003(story, State.IDLE)


def test_approving_does_not_raise_a_share_that_nobody_can_watch() -> None:
    story = at(State.ROLLING_OUT)
    story.behaviour.stats_readable = False
    story.annotations[APPROVE_ANNOTATION] = "r0007/finerank/1"
    story.wait(120)
    assert story.share() == 10
    assert "approved, but" in story.status.message
    story.behaviour.stats_readable = True
    story.until(lambda it: it.share() == 100, limit=120)


def test_an_approval_that_was_used_is_not_complained_about() -> None:
    story = at(State.BAKING)
    assert story.annotations[APPROVE_ANNOTATION] == "r0007/finerank/1"
    assert story.status.notice == ""


def test_an_approval_that_was_used_is_not_complained_about_after_the_cycle() -> None:
    story = at(State.BAKING)
    story.behaviour.record_ends = True
    story.annotations[ABORT_ANNOTATION] = "7"
    assert story.cycle_ends() == "Aborted"
    assert story.status.last_approval == "r0007/finerank/1"
    assert story.wait(60).status.notice == ""


def test_an_approval_for_a_pause_to_come_is_not_complained_about_and_acts_there() -> None:
    story = at(State.TRAINING)
    story.annotations[APPROVE_ANNOTATION] = "r0007/finerank/1"
    story.until(State.BAKING)
    assert "IntentIgnored" not in [note.reason for note in story.notes]


@pytest.mark.parametrize("given", ["r0006/finerank/1", "r0008/finerank/1", "r0007/finerank/0", "r0007/recall/1", "yes"])
def test_a_stale_approval_is_told_at_once_while_nothing_waits(given: str) -> None:
    story = at(State.TRAINING)
    story.annotations[APPROVE_ANNOTATION] = given
    story.reconcile()
    assert story.status.notice == (
        f"annotation rewriter.dev/approve: got {given!r}; nothing waits for an approval, "
        "and no pause to come has this name"
    )


def test_who_asked_for_what() -> None:
    """Every intent that acts, with the Event that tells of it."""
    acts: list[tuple[State, str, str, str]] = [
        (State.IDLE, RUN_ANNOTATION, "monday", "CycleStarted"),
        (State.IDLE, ROLLBACK_ANNOTATION, "r0003/x", "RollbackStarted"),
        (State.DEPLOYING, ABORT_ANNOTATION, "7", "Aborted"),
        (State.DEPLOYING, ROLLBACK_ANNOTATION, "r0003/x", "Aborted"),
        (State.ROLLING_OUT, APPROVE_ANNOTATION, "r0007/finerank/1", "StepApproved"),
        (State.HOLDING, APPROVE_ANNOTATION, "", "GateApproved"),
    ]
    for state, annotation, value, reason in acts:
        for asked, managers, words in (
            ("{verb} {value} by alice: looks good", {annotation: "kubectl-rewriter"}, "by alice: looks good"),
            (
                "approve r0001/finerank/1 by bob",
                {annotation: "argocd-server"},
                "by field manager argocd-server, without",
            ),
            ("", {}, "by whom is not known"),
        ):
            story = at(state)
            hold = story.status.cycle.hold if story.status.cycle else None
            given = value or (hold.token if hold else "")
            verb = annotation.rsplit("/", 1)[1]
            story.annotations[annotation], story.managers = given, managers
            story.annotations[ASKED_ANNOTATION] = asked.format(verb=verb, value=given)
            story.notes.clear()
            for _ in range(8):
                story.reconcile()
            told = [note.message for note in story.notes if note.reason == reason]
            assert len(told) == 1, (state, reason, words)
            assert words in told[0]


def test_a_release_that_is_created_again_does_not_act_on_what_was_left_behind() -> None:
    story = Simulator(SPEC)
    story.annotations = {RUN_ANNOTATION: "old", ROLLBACK_ANNOTATION: "r0003", ABORT_ANNOTATION: "4"}
    story.settle()
    assert story.status.last_run_token == "old"
    assert story.status.cycle and story.status.cycle.trigger == "Created"
    assert story.status.rollback and "is older than this release" in story.status.rollback.refusal


def test_an_operator_from_before_kept_no_list_and_offers_what_serves() -> None:
    story = served(promoted=[])
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    story.settle()
    assert "(r0005)" in story.status.notice


def test_what_a_rollback_leaves_has_a_drain_time_of_its_own() -> None:
    """The candidate that was taken back first drains already."""
    story = served()
    story.settle()
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(lambda it: it.share() > 0)
    story.behaviour.serving_ready = False
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    story.until(State.RETURNING).settle()
    story.pass_time(25)
    story.behaviour.serving_ready = True
    for key, child in story.children.items():
        if isinstance(child, Deployment):
            story.children[key] = replace(child, ready=child.replicas)
    story.until(lambda it: it.status.serves == "r0003", limit=4)
    story.pass_time(10)
    story.settle()
    assert story.has("Deployment", "shop-r0005"), "its last request was ten seconds ago"
    story.wait(60)
    assert not story.has("Deployment", "shop-r0005")
