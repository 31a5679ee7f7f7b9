"""Whole stories of a candidate that passed its gate: how it gets traffic, and every way in which it is taken back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import GateResult
from rewriter_operator.core.cycle import ABORT_ANNOTATION, APPROVE_ANNOTATION, RUN_ANNOTATION
from tests.builders import make_cycle, make_spec, make_status, serving, stage, stage_status
from tests.core.simulator import Behaviour, Simulator

PASSED = GateResult(verdict="Pass", summary="15 checks on 40 queries", report="cycles/0002/gate/report.json")


def passed(spec: RewriterReleaseSpec | None = None, **behaviour: Any) -> Simulator:
    """Cycle 2 has just passed its gate; r0001 serves every stage; everything is up."""
    spec = spec or make_spec()
    status = make_status(
        spec,
        state=State.DEPLOYING,
        cycle=make_cycle(spec, 2, candidate=serving(2), compared_with=serving(1), gate=PASSED),
        stages=[stage_status(item.name, incumbent=serving(1)) for item in spec.rollout.stages],
        last_cycle_number=2,
    )
    return Simulator(spec, status, Behaviour(**behaviour))


def with_share(spec: RewriterReleaseSpec | None = None, share: int = 10, **behaviour: Any) -> Simulator:
    """The same, with the first share on the live route."""
    return passed(spec, **behaviour).until(lambda story: story.share() == share)


def rolled_back(story: Simulator, reason: str) -> str:
    """Plays to the end, checks that all is as it was before the candidate came, and returns the outcome's message."""
    assert story.cycle_ends() == "RolledBack"
    story.wait(60)
    assert story.status.history[0].reason == reason
    assert story.status.serves == "r0001"
    assert story.has("Deployment", "shop-r0001")
    assert not story.has("Deployment", "shop-r0002")
    assert story.share() == 0
    return story.status.history[0].message


def three_stages(**changes: Any) -> RewriterReleaseSpec:
    """finerank first; then rawrank and recall side by side."""
    steps = ({"setShare": 10}, {"setShare": 100})
    stages = [
        stage("finerank", *steps),
        stage("rawrank", *steps, depends_on=("finerank",)),
        stage("recall", *steps, depends_on=("finerank",)),
    ]
    return make_spec(**{"rollout.stages": stages, **changes})


def test_no_request_reaches_the_candidate_before_its_pods_are_ready() -> None:
    story = passed(serving_ready=False).wait(120)
    assert story.status.state is State.DEPLOYING
    assert story.share() == 0


def test_candidate_pods_that_never_get_ready_fail_the_cycle() -> None:
    story = passed(serving_ready=False)
    assert story.cycle_ends() == "Failed"
    assert story.status.history[0].reason == "CandidateNotReady"
    assert story.wait(60).status.serves == "r0001"


def test_shares_rise_only_along_the_plan() -> None:
    story, shares = passed(), [0]
    while not story.status.history:
        if not story.reconcile():
            story.pass_time(5)
        if story.share() != shares[-1]:
            shares.append(story.share())
    assert shares == [0, 10, 100, 0], "at the end the candidate is the incumbent"
    assert story.status.history[0].outcome == "Promoted"


def test_every_change_of_a_share_is_told() -> None:
    story = passed()
    story.cycle_ends()
    told = [note.message for note in story.notes if note.reason == "ShareSet"]
    assert told == ["finerank: 0 % -> 10 % to r0002", "finerank: 10 % -> 100 % to r0002"]


def test_a_crossed_limit_takes_the_candidate_back_with_the_numbers() -> None:
    story = with_share()
    story.behaviour.candidate_error_rate = 0.5
    message = rolled_back(story, "LimitCrossed")
    assert message.startswith("finerank: error rate 0.") and "> 0.01 (" in message


def test_a_limit_that_is_over_by_chance_holds_the_step_until_more_is_known() -> None:
    story = with_share()
    while not story.status.stages[0].verified:
        if not story.reconcile():
            story.pass_time(1)
    before = story.servers["shop-r0002-0"].stages["finerank"]
    story.servers["shop-r0002-0"].stages["finerank"] = replace(before, errors=before.errors + 1)
    said = []
    while not story.status.history:
        if not story.reconcile():
            story.pass_time(5)
        said.append(story.status.message)
    assert any("error rate 0." in message and "> 0.01 (1 of" in message for message in said), set(said)
    assert story.status.history[0].outcome == "Promoted", "once enough requests were answered well"


def test_slow_answers_take_the_candidate_back() -> None:
    story = with_share()
    story.behaviour.candidate_latency = "5000"
    assert "p95 latency" in rolled_back(story, "LimitCrossed")


def test_the_route_is_written_before_anything_else_when_traffic_is_taken_back() -> None:
    story = with_share()
    story.behaviour.candidate_error_rate = 1.0
    while story.status.state is State.ROLLING_OUT:
        written = len(story.writes)
        if not story.reconcile():
            story.pass_time(5)
    assert story.writes[written:] == ["apply HTTPRoute shop-rewrites", "status Withdrawing"]
    assert story.share() == 0


def test_a_crash_between_route_and_status_does_not_give_the_share_again() -> None:
    story = with_share()
    before = story.status
    story.behaviour.candidate_error_rate = 1.0
    story.until(State.WITHDRAWING)
    story.status = before  # the status write was lost with the process
    story.behaviour.candidate_error_rate = 0.0
    story.servers["shop-r0002-0"].stages.clear()
    rolled_back(story, "Withdrawn")


def test_an_answer_to_the_routes_write_that_is_lost_does_not_cost_the_reason() -> None:
    story = with_share()
    story.behaviour.candidate_error_rate = 0.5
    before = story.status
    while story.status.state is State.ROLLING_OUT:
        before = story.status
        if not story.reconcile():
            story.pass_time(5)
    assert story.share() == 0
    story.status = before  # the route was written, and nobody learned of it
    assert rolled_back(story, "LimitCrossed").startswith("finerank: error rate 0.")


def test_the_incumbents_pods_stay_until_the_candidate_is_off_the_route() -> None:
    story = with_share()
    story.behaviour.candidate_error_rate = 1.0
    story.behaviour.gateway_accepts = None
    story.until(State.WITHDRAWING).wait(120)
    assert story.status.state is State.WITHDRAWING, "a route that nobody accepted proves nothing"
    assert story.has("Deployment", "shop-r0002") and story.has("Deployment", "shop-r0001")


def test_a_share_that_does_not_reach_the_candidate_is_rolled_back_at_the_timeout() -> None:
    story = passed().until(State.ROLLING_OUT)
    story.data_plane = {"finerank": {"shop-r0001": 100}}
    story.behaviour.gateway_takes_over = False
    message = rolled_back(story, "NotVerified")
    assert "share 10 % set, 0.0 % observed on" in message


def test_a_route_that_the_gateway_does_not_accept_is_rolled_back_at_the_timeout() -> None:
    story = passed().until(State.ROLLING_OUT)
    story.behaviour.gateway_accepts = False
    story.wait(500)
    assert story.status.state is State.ROLLING_OUT
    story.until(State.WITHDRAWING)
    story.behaviour.gateway_accepts = True
    story.gateway_answers()
    assert "not accepted by the gateway" in rolled_back(story, "NotVerified")


@pytest.mark.parametrize("share", [1, 10, 19])
def test_a_small_share_that_reaches_nobody_never_becomes_a_large_one(share: int) -> None:
    spec = make_spec(**{"rollout.stages": [stage("finerank", {"setShare": share}, {"setShare": 100})]})
    story = passed(spec, requests_per_second=1).until(State.ROLLING_OUT)
    story.data_plane = {"finerank": {"shop-r0001": 100}}
    story.behaviour.gateway_takes_over = False
    assert f"share {share} % set, 0.0 % observed on" in rolled_back(story, "NotVerified")
    told = [note.message for note in story.notes if note.reason == "ShareSet"]
    assert told == [f"finerank: 0 % -> {share} % to r0002"]


def test_a_data_plane_that_takes_the_share_over_late_is_believed_in_the_end() -> None:
    story = passed().until(State.ROLLING_OUT)
    story.data_plane = {"finerank": {"shop-r0001": 100}}
    story.behaviour.gateway_takes_over = False
    story.wait(60)
    assert story.share() == 10
    assert not story.status.stages[0].verified
    story.behaviour.gateway_takes_over = True
    story.gateway_answers()
    assert story.cycle_ends() == "Promoted"


def test_a_stage_without_requests_is_never_verified() -> None:
    assert "on 0 requests" in rolled_back(passed(requests_per_second=0), "NotVerified")


def unread(story: Simulator) -> None:
    story.behaviour.stats_readable = False


def one_pod_silent(story: Simulator) -> None:
    story.behaviour.silent_pods = frozenset({"shop-r0001-0"})


def candidate_silent(story: Simulator) -> None:
    story.behaviour.silent_pods = frozenset({"shop-r0002-0"})


def no_latency(story: Simulator) -> None:
    story.behaviour.candidate_latency = ""
    for server in story.servers.values():
        server.stages = {name: replace(found, latency_ms={}) for name, found in server.stages.items()}


DOUBTS = [
    pytest.param(unread, id="no-pod-answers"),
    pytest.param(one_pod_silent, id="an-incumbents-pod-is-silent"),
    pytest.param(candidate_silent, id="the-candidates-pod-is-silent"),
]
STEPS = {
    "share": [{"setShare": 10}, {"setShare": 100}],
    "analysis": [{"setShare": 10}, {"analysis": {"minRequests": 500, "deadline": "20m"}}, {"setShare": 100}],
    "pause": [{"setShare": 10}, {"pause": {"duration": "1m"}}, {"setShare": 100}],
}


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_what_cannot_be_read_advances_nothing_and_is_rolled_back(
    steps: list[dict[str, Any]], doubt: Callable[[Simulator], None]
) -> None:
    spec = make_spec(**{"rollout.stages": [stage("finerank", *steps)]})
    story = with_share(spec)
    if len(steps) > 2:
        story.until(lambda it: it.status.stages[0].step == 1)
    doubt(story)
    story.wait(150)
    assert story.status.state is State.ROLLING_OUT
    assert story.share() == 10
    rolled_back(story, "NotVerified")
    assert max((100 if "-> 100" in note.message else 0) for note in story.notes) == 0


@pytest.mark.parametrize("doubt", [*DOUBTS, pytest.param(no_latency, id="no-latency-is-told")])
def test_a_bake_that_nobody_could_watch_does_not_promote(doubt: Callable[[Simulator], None]) -> None:
    story = passed().until(State.BAKING)
    doubt(story)
    assert "bake time is over, but" in rolled_back(story, "NotVerified")


def test_a_moment_of_silence_only_delays_the_bake() -> None:
    story = passed().until(State.BAKING)
    unread(story)
    story.wait(60)
    assert story.status.state is State.BAKING
    story.behaviour.stats_readable = True
    assert story.cycle_ends() == "Promoted"


def test_a_limit_crossed_while_baking_takes_all_back() -> None:
    story = passed(make_spec(**{"rollout.bake": "10m"})).until(State.BAKING)
    story.behaviour.candidate_error_rate = 0.5
    rolled_back(story, "LimitCrossed")


def test_a_candidate_without_a_ready_pod_is_taken_back_at_once() -> None:
    story = with_share()
    key = ("Deployment", "shop-r0002")
    story.children[key] = replace(story.children[key], ready=0)  # type: ignore[call-arg]
    story.settle()
    assert story.share() == 0
    rolled_back(story, "CandidateNotServing")


def test_a_deployment_that_its_controller_has_yet_to_look_at_is_no_reason_to_take_the_candidate_back() -> None:
    story = with_share()
    key = ("Deployment", "shop-r0002")
    story.children[key] = replace(story.children[key], ready=0, observed=False)  # a new leader has just marked it
    story.reconcile()
    assert story.status.state is State.ROLLING_OUT


def test_a_candidates_deployment_that_somebody_deletes_is_not_waited_for() -> None:
    story = with_share()
    story.behaviour.serving_ready = False
    del story.children[("Deployment", "shop-r0002")]
    story.settle()
    assert story.share() == 0
    rolled_back(story, "CandidateNotServing")


def test_stages_wait_for_those_that_they_depend_on() -> None:
    story = passed(three_stages())
    story.until(lambda it: it.share("rawrank") > 0)
    assert story.share("finerank") == 100
    assert story.status.stages[0].verified
    story.cycle_ends()
    assert story.status.serves == "r0002"
    order = [note.message.split(":")[0] for note in story.notes if note.reason == "ShareSet"]
    assert order[:2] == ["finerank", "finerank"]


def test_a_failure_in_one_stage_takes_every_stage_back() -> None:
    story = passed(three_stages()).until(lambda it: it.share("recall") == 10)
    story.behaviour.candidate_error_rate = 0.5
    rolled_back(story, "LimitCrossed")
    assert all(story.share(name) == 0 for name in ("finerank", "rawrank", "recall"))


def test_a_pause_before_the_first_share_is_a_pause() -> None:
    steps = ({"pause": {"duration": "10m"}}, {"setShare": 100})
    story = passed(make_spec(**{"rollout.stages": [stage("finerank", *steps)]})).until(State.ROLLING_OUT)
    story.wait(540)
    assert story.share() == 0
    story.until(lambda it: it.share() == 100, limit=90)


WAITS = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]
APPROVAL = make_spec(**{"rollout.stages": WAITS})


def test_a_pause_until_approved_waits_and_says_how_to_approve() -> None:
    story = with_share(APPROVAL).wait(1200)
    assert story.share() == 10
    assert "kubectl annotate --overwrite rr shop rewriter.dev/approve=r0002/finerank/1" in story.status.message
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    assert story.cycle_ends() == "Promoted"


def test_of_an_approval_and_an_abort_at_once_the_abort_is_heard() -> None:
    steps = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]
    story = passed(make_spec(**{"rollout.stages": steps})).until(lambda it: it.status.stages[0].verified).settle()
    story.annotations |= {APPROVE_ANNOTATION: "r0002/finerank/1", ABORT_ANNOTATION: "2"}
    assert story.cycle_ends() == "Aborted"
    assert story.wait(60).share() == 0
    assert not [note for note in story.notes if note.reason == "StepApproved" or "-> 100 %" in note.message]


def test_a_pause_that_nobody_approves_in_time_takes_the_candidate_back() -> None:
    story = with_share(make_spec(**{"rollout.stages": WAITS, "rollout.approvalTimeout": "2h"})).wait(7000)
    assert story.status.state is State.ROLLING_OUT
    message = rolled_back(story, "NotApproved")
    assert message == "finerank: nobody approved r0002/finerank/1 within spec.rollout.approvalTimeout 2h"


def test_more_time_for_an_approval_acts_at_once_and_ends_no_cycle() -> None:
    story = with_share(make_spec(**{"rollout.stages": WAITS, "rollout.approvalTimeout": "2h"})).wait(7000)
    story.spec = make_spec(**{"rollout.stages": WAITS, "rollout.approvalTimeout": "4h"})
    story.wait(3600)
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    assert story.cycle_ends() == "Promoted"
    assert story.status.history[0].number == 2


def test_an_approval_of_what_stays_in_doubt_is_taken_back_at_the_timeout() -> None:
    story = with_share(APPROVAL).wait(3600)
    unread(story)
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    story.wait(540)
    assert story.share() == 10
    assert "approved, but pod" in story.status.message
    assert "tells no counters (for 10m)" in rolled_back(story, "NotVerified")


def test_an_approval_of_what_was_in_doubt_for_a_moment_goes_on() -> None:
    story = with_share(APPROVAL).wait(60)
    unread(story)
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    story.wait(300)
    story.behaviour.stats_readable = True
    story.until(lambda it: it.share() == 100, limit=60)
    assert story.status.stages[0].approved_at == 0


@pytest.mark.parametrize("other", ["r0001/finerank/1", "r0002/recall/1", "r0002/finerank/3", "r0002", "yes", ""])
def test_an_approval_of_something_else_approves_nothing(other: str) -> None:
    story = with_share(APPROVAL)
    story.annotations[APPROVE_ANNOTATION] = other
    story.wait(300)
    assert story.share() == 10


@pytest.mark.parametrize("state", [State.DEPLOYING, State.ROLLING_OUT, State.BAKING])
def test_an_abort_takes_the_candidate_back(state: State) -> None:
    story = passed()
    story.until(lambda it: it.status.state is state)
    story.annotations[ABORT_ANNOTATION] = "2"
    assert story.cycle_ends() == "Aborted"
    assert story.wait(60).status.serves == "r0001"
    assert story.share() == 0
    assert not story.has("Deployment", "shop-r0002")


@pytest.mark.parametrize("state", [State.PREPARING, State.TRAINING, State.GATING])
def test_an_abort_before_traffic_ends_the_cycle_at_once(state: State) -> None:
    story = Simulator(make_spec()).until(state)
    story.annotations[ABORT_ANNOTATION] = "1"
    assert story.cycle_ends(limit=30) == "Aborted"
    story.settle()
    assert not any(name.startswith("shop-c0001") for _, name in story.children)


def test_an_old_abort_never_hits_a_new_cycle() -> None:
    story = passed()
    story.annotations[ABORT_ANNOTATION] = "1"
    assert story.cycle_ends() == "Promoted"


def test_a_change_of_the_spec_supersedes_the_cycle_and_starts_another() -> None:
    story = with_share()
    story.spec = make_spec(**{"training.seed": 7})
    story.until(lambda it: bool(it.status.history))
    assert story.status.history[0].outcome == "Superseded"
    assert story.share() == 0
    story.until(State.TRAINING)
    assert story.status.cycle and (story.status.cycle.number, story.status.cycle.trigger) == (3, "SpecChanged")


def test_a_change_of_limits_does_not_end_the_cycle() -> None:
    story = with_share()
    story.spec = make_spec(**{"rollout.limits": {"maxErrorRate": 0.5}, "historyLimit": 3})
    assert story.cycle_ends() == "Promoted"


def test_a_stage_that_is_added_gets_its_row_when_no_cycle_runs() -> None:
    story = Simulator(make_spec(), make_status(make_spec(), stages=[stage_status(incumbent=serving(1))]))
    story.settle()
    story.spec = three_stages()
    story.settle()
    assert [item.name for item in story.status.stages] == ["finerank", "rawrank", "recall"]
    assert story.status.stages[0].incumbent == serving(1)


def idle(**changes: Any) -> Simulator:
    spec = make_spec(**changes)
    stages = [stage_status(incumbent=serving(1))]
    return Simulator(spec, make_status(spec, stages=stages, last_cycle_number=1)).settle()


def test_a_request_starts_one_cycle_and_only_one() -> None:
    story = idle()
    story.annotations[RUN_ANNOTATION] = "monday"
    story.cycle_ends()
    story.wait(120)
    assert [record.number for record in story.status.history] == [2]
    story.annotations[RUN_ANNOTATION] = "tuesday"
    story.cycle_ends()
    assert story.status.last_cycle_number == 3


def test_the_schedule_starts_a_cycle_at_its_time() -> None:
    story = idle(schedule={"cron": "5 16 * * *"})
    assert story.status.next_cycle_at == "2025-11-24T16:05:00Z"
    story.wait(290)
    assert story.status.state is State.IDLE
    story.until(State.PREPARING, limit=20)
    assert story.status.cycle and story.status.cycle.trigger == "Scheduled"
    story.cycle_ends()
    story.wait(300)
    assert story.status.last_cycle_number == 2


def test_a_suspended_release_starts_nothing_and_serves_on() -> None:
    story = idle(schedule={"cron": "5 16 * * *"}, suspend=True)
    story.annotations[RUN_ANNOTATION] = "now"
    story.wait(600)
    assert story.status.state is State.IDLE
    assert story.condition("Progressing") == ("False", "Suspended")
    assert story.condition("Ready") == ("True", "Serving")
    assert story.status.next_cycle_at is None


def test_suspending_lets_a_running_cycle_end() -> None:
    story = with_share()
    story.spec = make_spec(suspend=True)
    assert story.cycle_ends() == "Promoted"


def test_a_schedule_that_never_fires_is_refused_and_heals() -> None:
    story = idle(schedule={"cron": "0 3 30 2 *"})
    assert story.condition("Accepted") == ("False", "InvalidSchedule")
    assert story.condition("Stalled")[0] == "True"
    story.spec = make_spec(schedule={"cron": "0 3 * * 1"})
    story.settle()
    assert story.condition("Accepted") == ("True", "Accepted")
    assert story.condition("Stalled")[0] == "False"


def test_nothing_is_written_while_nothing_happens() -> None:
    story = idle()
    written = len(story.writes)
    story.wait(600)
    assert story.writes[written:] == []
