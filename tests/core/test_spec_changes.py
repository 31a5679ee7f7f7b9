"""A spec that changes while a cycle runs: stages are taken over, the rest ends the cycle or waits for its end."""

from typing import Any

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.core.begun_spec import as_begun, began_with, spec_digest
from rewriter_operator.core.cycle import ABORT_ANNOTATION, APPROVE_ANNOTATION
from rewriter_operator.core.plan import plan
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_cycle, make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, with_share

SHARE: dict[str, Any] = {"setShare": 10}
HALF: dict[str, Any] = {"setShare": 50}
FULL: dict[str, Any] = {"setShare": 100}
ANALYSIS: dict[str, Any] = {"analysis": {"minRequests": 40}}
WAIT: dict[str, Any] = {"pause": {}}
HALF_AN_HOUR: dict[str, Any] = {"pause": {"duration": "30m"}}

BEFORE_THE_ROLLOUT = [State.PREPARING, State.TRAINING, State.GATING, State.DEPLOYING]
WHILE_IT_RUNS = [State.TRAINING, State.GATING, State.DEPLOYING, State.ROLLING_OUT, State.BAKING]


def with_steps(*steps: dict[str, Any], **changes: Any) -> RewriterReleaseSpec:
    return make_spec(**{"rollout.stages": [stage("finerank", *steps)], **changes})


def queued(**changes: Any) -> RewriterReleaseSpec:
    return make_spec(onChange="Queue", **changes)


def number(story: Simulator) -> int:
    return story.status.last_cycle_number


def events(story: Simulator, reason: str) -> list[str]:
    return [note.message for note in story.notes if note.reason == reason]


def phases_of(story: Simulator, cycle: int) -> int:
    return len([write for write in story.writes if write.startswith(f"order /v1/phases/{cycle}/")])


def shares_until_the_end(story: Simulator) -> list[int]:
    shares = [story.share()]
    while not story.status.history:
        if not story.reconcile():
            story.pass_time(20)
        if story.share() != shares[-1]:
            shares.append(story.share())
    return shares


def at_step(step: int, *steps: dict[str, Any]) -> Simulator:
    return passed(with_steps(*steps)).until(lambda it: it.status.stages[0].step == step)


# --- stages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, policy", [*((state, "Supersede") for state in BEFORE_THE_ROLLOUT), (State.TRAINING, "Queue")]
)
def test_changed_stages_before_the_rollout_cost_no_training(state: State, policy: str) -> None:
    story = Simulator(make_spec(onChange=policy)).until(state)
    story.spec = with_steps(SHARE, HALF, FULL, onChange=policy)
    assert shares_until_the_end(story) == [0, 10, 50, 100, 0]
    assert story.status.history[0].outcome == "Promoted"
    assert events(story, "StagesChanged") == ["cycle 1 goes on with the changed spec.rollout.stages"]
    story.wait(3600)
    assert number(story) == 1, "what the cycle has taken over starts no other one"


def test_a_stage_that_is_added_while_a_cycle_trains_gets_its_candidate() -> None:
    story = Simulator(make_spec()).until(State.TRAINING)
    stages = [stage("finerank", SHARE, FULL), stage("recall", SHARE, FULL, depends_on=("finerank",))]
    story.spec = make_spec(**{"rollout.stages": stages})
    assert story.cycle_ends() == "Promoted"
    serves = [(row.name, row.incumbent and row.incumbent.revision) for row in story.status.stages]
    assert serves == [("finerank", 1), ("recall", 1)]


def test_later_steps_of_a_rollout_follow_the_changed_plan_and_the_share_stays() -> None:
    story = with_share()
    story.spec = with_steps(SHARE, ANALYSIS, HALF, FULL)
    assert shares_until_the_end(story) == [10, 50, 100, 0]
    assert story.status.history[0].outcome == "Promoted"
    assert number(story) == 2


OTHER_WAYS = {
    "lower": ({"setShare": 5}, ANALYSIS, FULL),
    "higher": ({"setShare": 20}, FULL),
    "none": (FULL,),
    "a step before": (WAIT, SHARE, ANALYSIS, FULL),
}


@pytest.mark.parametrize("steps", OTHER_WAYS.values(), ids=OTHER_WAYS.keys())
def test_a_plan_that_the_candidate_would_not_have_come_by_ends_the_cycle(steps: tuple[dict[str, Any], ...]) -> None:
    story = with_share()
    story.spec = with_steps(*steps)
    assert story.cycle_ends() == "Superseded"
    assert story.status.history[0].message.startswith("spec.rollout.stages changed")
    assert story.share() == 0


def test_a_passed_analysis_that_is_made_stricter_ends_the_cycle() -> None:
    story = with_share().until(lambda it: it.share() == 100)
    story.spec = with_steps(SHARE, {"analysis": {"minRequests": 400}}, FULL)
    assert story.cycle_ends() == "Superseded", "it has not passed that one"


def test_what_replaces_the_step_under_way_has_its_whole_time() -> None:
    story = at_step(1, SHARE, WAIT, FULL).wait(7200)
    since = story.status.stages[0].step_at
    story.spec = with_steps(SHARE, {"analysis": {"minRequests": 40, "deadline": "1h"}}, FULL)
    story.settle()
    assert story.status.stages[0].step_at >= since + 7200, "its deadline is not over before it began"
    assert story.cycle_ends() == "Promoted"


def test_a_share_that_is_not_given_yet_may_still_become_another() -> None:
    story = at_step(1, SHARE, HALF_AN_HOUR, FULL)
    story.spec = with_steps(SHARE, HALF_AN_HOUR, HALF, FULL)
    assert shares_until_the_end(story) == [10, 50, 100, 0]


def test_a_plan_may_end_with_what_was_passed() -> None:
    story = at_step(2, SHARE, FULL, WAIT)
    story.spec = with_steps(SHARE, FULL)
    assert story.cycle_ends() == "Promoted"


def test_a_full_rollout_that_bakes_gets_no_step_any_more() -> None:
    story = passed(with_steps(SHARE, FULL)).until(State.BAKING)
    story.spec = with_steps(SHARE, FULL, WAIT)
    assert story.cycle_ends() == "Superseded"


def test_no_stage_is_added_to_a_rollout_that_has_begun() -> None:
    story = with_share()
    story.spec = make_spec(**{"rollout.stages": [stage("finerank", SHARE, ANALYSIS, FULL), stage("recall", FULL)]})
    assert story.cycle_ends() == "Superseded"


@pytest.mark.parametrize("has_begun, outcome", [(False, "Promoted"), (True, "Superseded")])
def test_whom_a_stage_waits_for_may_change_until_its_turn_has_come(has_begun: bool, outcome: str) -> None:
    finerank = stage("finerank", SHARE, FULL)
    waits = [finerank, stage("recall", SHARE, FULL, depends_on=("finerank",))]
    story = with_share(make_spec(**{"rollout.stages": waits}))
    if has_begun:
        story.until(lambda it: it.share("recall") == 10)
    story.spec = make_spec(**{"rollout.stages": [finerank, stage("recall", SHARE, FULL)]})
    assert story.cycle_ends() == outcome


def test_an_approval_of_other_stages_approves_nothing() -> None:
    story = with_share(with_steps(SHARE, HALF, WAIT, FULL))
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/2"
    story.spec = with_steps(SHARE, ANALYSIS, WAIT, FULL)
    story.until(lambda it: it.status.stages[0].step == 2).wait(600)
    assert story.share() == 10, "somebody approved what comes after 50 %"
    assert "counts no more" in events(story, "StagesChanged")[0]
    assert f"{APPROVE_ANNOTATION}=r0002/finerank/2/1" in story.status.message
    assert "r0002/finerank/2/1 is waited for" in story.status.notice
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/2/1"
    assert story.cycle_ends() == "Promoted"


def test_without_an_approval_that_stands_the_names_of_pauses_stay() -> None:
    story = with_share(with_steps(SHARE, HALF, WAIT, FULL))
    story.spec = with_steps(SHARE, ANALYSIS, WAIT, FULL)
    story.until(lambda it: it.status.stages[0].step == 2).wait(60)
    assert story.status.message.endswith(f"{APPROVE_ANNOTATION}=r0002/finerank/2")
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/2"
    assert story.cycle_ends() == "Promoted"


# --- Supersede, Queue ------------------------------------------------------------------------------------------------


def test_without_a_word_a_change_supersedes() -> None:
    assert make_spec().on_change == "Supersede"
    assert spec_digest(queued()) == spec_digest(make_spec()), "to choose starts and ends nothing"


@pytest.mark.parametrize("state", WHILE_IT_RUNS)
def test_a_queued_change_lets_the_cycle_end_with_what_it_began_with(state: State) -> None:
    story = Simulator(queued()).until(state)
    story.spec = queued(**{"training.phases": 1, "gate.minimumQueries": 31})
    story.settle()
    told = (
        "spec.training, spec.gate changed; the change waits for cycle 1 to end (spec.onChange: Queue); "
        "to begin with it now: kubectl rewriter abort shop"
    )
    assert story.status.change == told
    assert story.cycle_ends() == "Promoted"
    assert phases_of(story, 1) == 2, "and not one"
    assert events(story, "ChangeQueued") == [told]
    story.until(State.TRAINING)
    assert story.status.cycle and (story.status.cycle.number, story.status.cycle.trigger) == (2, "SpecChanged")
    assert story.status.change == ""
    assert story.cycle_ends() == "Promoted"
    assert phases_of(story, 2) == 1


def test_a_change_that_came_past_its_refusal_waits() -> None:
    """It was written in the moment before the state in which the API server refuses it."""
    story = Simulator(make_spec(onChange="Reject")).until(State.TRAINING)
    story.spec = make_spec(onChange="Reject", **{"training.phases": 1})
    story.settle()
    assert "waits for cycle 1 to end (spec.onChange: Reject)" in story.status.change
    assert story.cycle_ends() == "Promoted"
    assert phases_of(story, 1) == 2


def test_a_change_that_waits_is_in_no_plan_of_the_cycle_that_runs() -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = queued(**{"training.sampling": {"queriesPerPhase": 16}})
    story.settle()
    assert story.status.plan and story.status.plan.training.queries == 8
    story.cycle_ends()
    story.until(State.PREPARING)
    assert story.status.plan and story.status.plan.training.queries == 16


def test_to_queue_may_be_chosen_with_the_change_itself() -> None:
    story = Simulator(make_spec()).until(State.TRAINING)
    story.spec = queued(**{"training.seed": 7})
    assert story.cycle_ends() == "Promoted"


def test_a_cycle_that_is_still_prepared_has_nothing_to_lose() -> None:
    story = Simulator(queued()).until(State.PREPARING)
    story.spec = queued(**{"data.train": "data/other.jsonl"})
    assert story.cycle_ends() == "Superseded", "what it waits for may be what was mended"


def test_a_change_that_waits_ends_the_cycle_once_that_is_chosen() -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = queued(**{"training.seed": 7})
    story.settle()
    story.spec = make_spec(**{"training.seed": 7})
    assert story.cycle_ends(limit=30) == "Superseded"


def test_an_abort_begins_with_the_change_that_waits() -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = queued(**{"training.phases": 1})
    story.settle()
    story.annotations[ABORT_ANNOTATION] = "1"
    assert story.cycle_ends(limit=30) == "Aborted"
    story.cycle_ends()
    assert phases_of(story, 2) == 1


def test_a_change_that_is_taken_back_waits_no_more_and_starts_nothing() -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = queued(**{"training.seed": 7})
    assert story.settle().status.change
    story.spec = queued()
    assert story.settle().status.change == ""
    story.cycle_ends()
    story.wait(3600)
    assert number(story) == 1


def test_stages_are_taken_over_beside_a_change_that_waits() -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = with_steps(SHARE, HALF, FULL, onChange="Queue", **{"training.phases": 1})
    assert story.settle().status.change.startswith("spec.training changed;")
    assert shares_until_the_end(story)[-3:] == [50, 100, 0]
    assert phases_of(story, 1) == 2
    story.until(State.TRAINING)
    assert number(story) == 2


def test_a_rollout_ends_by_its_own_plan_while_one_waits_that_it_cannot_follow() -> None:
    story = with_share(queued())
    story.spec = with_steps({"setShare": 5}, HALF, FULL, onChange="Queue")
    assert story.settle().status.change.startswith("spec.rollout.stages changed;")
    assert shares_until_the_end(story) == [10, 100, 0]
    assert story.status.history[0].outcome == "Promoted"


@pytest.mark.parametrize("state", [State.TRAINING, State.ROLLING_OUT])
def test_what_no_cycle_hangs_on_acts_at_once_beside_a_change_that_waits(state: State) -> None:
    story = Simulator(queued()).until(state)
    story.spec = queued(**{"training.seed": 7, "rollout.bake": "2h", "gate.holdTimeout": "5h", "serving.replicas": 2})
    spec = story.settle().world().spec
    assert (spec.rollout.bake, spec.gate.hold_timeout, spec.serving.replicas) == ("2h", "5h", 2)
    assert spec.training.seed == 0


def test_a_look_at_the_gate_cannot_be_had_for_free_by_a_change_that_waits() -> None:
    extends = {"gate.onInconclusive": "Extend", "gate.extension": {"queries": 40}}
    for first, then in ((extends, {}), ({}, extends)):
        story = Simulator(queued(**first)).until(State.GATING)
        story.spec = queued(**then)
        assert story.settle().world().spec.gate == queued(**first).gate


def test_pods_of_the_cycle_are_made_as_it_began() -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = queued(**{"training.samplers": {"replicas": 2, "nodeSelector": {"pool": "new"}}})
    world = story.world()
    made = [item.body for item in render(world.release, plan(world).wanted, INSTALLATION) if "sampler" in item.name]
    assert [body["spec"].get("nodeSelector", {}) for body in made] == [{}], "one, on any node"


# --- what is kept, across versions -----------------------------------------------------------------------------------

SPECS = {
    "plain": make_spec(),
    "extends": make_spec(**{"gate.onInconclusive": "Extend", "gate.extension": {"queries": 40}}),
    "full": make_spec(
        **{
            "model.prompt": {"template": "{query} →", "stop": ["\n", "."]},
            "data.validation": "data/validation.jsonl",
            "training.validation": {"metric": "Reward"},
            "training.trainer": {"resources": {"limits": {"nvidia.com/gpu": "1"}}, "tolerations": [{"key": "gpu"}]},
            "gate.checks": [{"name": "CopyRate", "max": 0.1}],
            "gate.holdTimeout": "5h",
            "reward.lambda": 0.25,
        }
    ),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_the_kept_copy_is_the_spec_that_the_cycle_began_with(spec: RewriterReleaseSpec) -> None:
    cycle = make_cycle(spec, began_with=began_with(spec))
    assert as_begun(spec, cycle) == spec
    other = as_begun(make_spec(**{"training.seed": 9, "data.train": "x.jsonl", "historyLimit": 9}), cycle)
    assert other is not None and other.history_limit == 9
    assert (other.training, other.data, other.model) == (spec.training, spec.data, spec.model)


def test_digests_are_those_that_earlier_versions_have_written_into_status() -> None:
    """Computed by the version before a cycle kept a copy: another digest would end every cycle at an upgrade."""
    stages = [stage("finerank", {"setShare": 5}, WAIT, FULL), stage("recall", FULL, depends_on=("finerank",))]
    extends = {"gate.onInconclusive": "Extend", "gate.extension": {"queries": 40}}
    other = make_spec(**{"training.seed": 7, "rollout.stages": stages, **extends})
    assert spec_digest(make_spec()) == "2f4befdd7ca478881cbb982132d825eda32b3333c930966faf16512381edede5"
    assert spec_digest(other) == "88c55626dc01fc1cfaacf6aba7ba4df426f9486b19de218acdb5c83cb1902fa0"


@pytest.mark.parametrize("state", WHILE_IT_RUNS)
def test_a_cycle_of_an_earlier_version_goes_on_and_is_remembered_from_then_on(state: State) -> None:
    story = Simulator(queued()).until(state)
    story.status = kept(story.status, "")
    story.settle()
    assert story.status.cycle and story.status.cycle.began_with == began_with(queued())
    story.spec = queued(**{"training.seed": 7})
    assert story.cycle_ends() == "Promoted"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}', began_with(make_spec(**{"training.seed": 3}))])
def test_what_nobody_knows_the_state_before_of_cannot_wait(text: str) -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.status = kept(story.status, text)
    story.spec = queued(**{"training.seed": 7})
    assert story.cycle_ends(limit=30) == "Superseded"
    assert story.status.history[0].message.startswith("the spec changed, which this cycle depends on")


def test_a_spec_that_is_too_large_is_not_kept_and_its_cycle_goes_on() -> None:
    notes = {f"note{index}": "é" * 1024 for index in range(16)}
    large = make_spec(**{f"training.{role}": {"annotations": notes} for role in ("trainer", "samplers")})
    assert began_with(large) == ""
    assert Simulator(large).cycle_ends() == "Promoted"


def kept(status: RewriterReleaseStatus, text: str) -> RewriterReleaseStatus:
    assert status.cycle is not None
    return status.model_copy(update={"cycle": status.cycle.model_copy(update={"began_with": text})})


WRONG = {
    "InvalidSchedule": {"schedule": {"cron": "0 0 31 2 *", "timeZone": "UTC"}},
    "RewardExpressionInvalid": {"reward.expression": "logR * 2"},
}


@pytest.mark.parametrize("state", WHILE_IT_RUNS)
def test_a_schedule_that_never_fires_is_told_while_the_cycle_runs_on(state: State) -> None:
    story = Simulator(make_spec()).until(state)
    message = story.status.message
    story.spec = make_spec(**WRONG["InvalidSchedule"])
    story.reconcile()
    assert story.condition("Accepted") == ("False", "InvalidSchedule")
    assert story.condition("Stalled") == ("True", "InvalidSchedule")
    told = next(item for item in story.status.conditions if item.type == "Accepted")
    assert "'0 0 31 2 *'" in told.message and told.observed_generation == 2
    assert message == story.status.message or "31 2" not in story.status.message, "what the cycle does is told on"
    story.settle()
    story.spec = make_spec()
    story.reconcile()
    assert story.condition("Accepted") == ("True", "Accepted")
    assert story.condition("Stalled")[0] == "False"
    story.spec = make_spec(**WRONG["InvalidSchedule"])
    assert story.cycle_ends() == "Promoted"
    assert story.settle().condition("Accepted") == ("False", "InvalidSchedule")


@pytest.mark.parametrize("reason", WRONG)
def test_a_wrong_change_that_waits_for_the_cycles_end_is_told_before_it(reason: str) -> None:
    story = Simulator(queued()).until(State.TRAINING)
    story.spec = queued(**WRONG[reason])
    story.reconcile()
    assert story.condition("Accepted") == ("False", reason)
    story.spec = queued()
    story.reconcile()
    assert story.condition("Accepted")[0] == "True"
    assert story.cycle_ends() == "Promoted"
