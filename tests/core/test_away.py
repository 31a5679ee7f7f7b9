"""The operator is away, or its clock is: what it finds when it is back, and that nothing is concluded from the gap."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from rewriter_operator.api.model import evolve
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.core import schedule
from rewriter_operator.core.cycle import ROLLBACK_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.world import Deployment, Route
from tests.builders import NOW, make_spec, make_status, serving, stage, stage_status
from tests.core.simulator import Simulator
from tests.core.test_intents import served
from tests.core.test_rollout import passed, with_share

TEN_MINUTES = 600.0
HOUR, WEEK = 3600.0, 7 * 86400.0
WEEKLY = make_spec(schedule={"cron": "5 16 * * 1"})

PATIENT = make_spec(
    **{
        "rollout.stages": [stage("finerank", {"setShare": 10}, {"pause": {"duration": "5m"}}, {"setShare": 100})],
        "rollout.verification": {"minRequests": 50, "timeout": "30m"},
    }
)


def second_cycle(state: State) -> Simulator:
    """r0001 serves, cycle 2 has come to `state`."""
    status = make_status(PATIENT, stages=[stage_status(incumbent=serving(1))], last_cycle_number=1)
    story = Simulator(PATIENT, status).settle()
    story.annotations[RUN_ANNOTATION] = "second"
    return story.until(state)


STATES = [
    State.PREPARING,
    State.TRAINING,
    State.GATING,
    State.DEPLOYING,
    State.ROLLING_OUT,
    State.BAKING,
    State.PROMOTING,
]


@pytest.mark.parametrize("state", STATES)
def test_ten_minutes_without_an_api_server_cost_no_cycle_its_end(state: State) -> None:
    story = second_cycle(state)
    shares = [story.share()]
    story.pass_time(TEN_MINUTES)  # pods work on and requests are answered, but nothing is read or written
    while not story.status.history:
        if not story.reconcile():
            story.pass_time(5.0)
        shares.append(story.share())
    assert story.status.history[0].outcome == "Promoted"
    steps = [share for before, share in pairwise(shares) if share != before]
    assert steps in ([10, 100, 0], [100, 0], [0]), "no step of the plan is skipped"


def test_a_candidate_that_went_bad_while_nobody_looked_is_taken_back_with_the_first_look() -> None:
    story = with_share(PATIENT)
    story.until(lambda it: it.status.stages[0].verified)
    story.behaviour.candidate_error_rate = 0.2
    story.pass_time(TEN_MINUTES)
    story.reconcile()
    assert (story.share(), story.status.state) == (0, State.WITHDRAWING)
    assert story.cycle_ends() == "RolledBack"


def test_a_pause_that_ended_while_nobody_looked_is_left_only_on_evidence() -> None:
    story = with_share(PATIENT)
    story.until(lambda it: it.status.stages[0].step == 1)
    story.behaviour.stats_readable = False
    story.pass_time(TEN_MINUTES)
    story.settle()
    assert (story.share(), story.status.state) == (10, State.ROLLING_OUT)
    assert "pause over, but" in story.status.message
    story.behaviour.stats_readable = True
    assert story.cycle_ends() == "Promoted"


# --- the operator's clock


@dataclass
class Clock:
    """A release with a weekly schedule, Mondays at 16:05, seen by nothing but its clock; it is Monday, 16:00."""

    now: float = NOW
    status: RewriterReleaseStatus = field(
        default_factory=lambda: schedule.noticed(WEEKLY, RewriterReleaseStatus(), NOW)
    )

    def starts_in(self, seconds: float) -> int:
        """How many cycles begin in this time, looked at every quarter of an hour as `idle` does."""
        assert WEEKLY.schedule is not None
        starts, end = 0, self.now + seconds
        while self.now < end:
            self.now += 900
            self.status = schedule.noticed(WEEKLY, self.status, self.now)
            due = schedule.due(WEEKLY.schedule, schedule.handled_at(self.status), self.now)
            if due.start is not None:
                starts += 1
                self.status = evolve(self.status, last_scheduled_at=due.start)
        return starts

    def jumps(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("jump", [HOUR, WEEK], ids=["an-hour", "a-week"])
def test_a_clock_that_is_set_back_starts_no_cycle_a_second_time(jump: float) -> None:
    clock = Clock()
    assert clock.starts_in(HOUR) == 1
    clock.jumps(-jump)
    assert clock.starts_in(jump) == 0, "until it is again the time that it was"
    assert clock.starts_in(WEEK) == 1, "and then as ever"


@pytest.mark.parametrize("jump", [HOUR, WEEK], ids=["an-hour", "a-week"])
def test_a_clock_that_jumps_ahead_and_is_put_right_starts_each_cycle_once(jump: float) -> None:
    clock = Clock()
    clock.jumps(jump)
    early = clock.starts_in(900.0)
    clock.jumps(-jump - 900.0)
    assert early + clock.starts_in(HOUR) == 1
    assert early + clock.starts_in(WEEK) == 1, "what began a week too early does not begin again"
    assert clock.starts_in(WEEK) == 1


def test_a_clock_that_was_years_ahead_does_not_silence_the_schedule_for_years() -> None:
    clock = Clock()
    clock.jumps(520 * WEEK)
    assert clock.starts_in(HOUR) == 1
    clock.jumps(-520 * WEEK)
    assert clock.status.last_scheduled_at > clock.now + schedule.WRONG_CLOCK_SECONDS
    assert [clock.starts_in(WEEK) for _ in range(3)] == [1, 1, 1]
    assert clock.status.last_scheduled_at <= clock.now


@pytest.mark.parametrize("jump", [HOUR, WEEK, -HOUR], ids=["1h", "1w", "-1h"])
@pytest.mark.parametrize("state", [State.ROLLING_OUT, State.BAKING])
def test_a_clock_that_jumps_in_a_rollout_never_promotes_what_nobody_could_watch(state: State, jump: float) -> None:
    story = passed(PATIENT).until(state)
    story.behaviour.stats_readable = False
    story.now += jump
    story.wait(120)
    assert story.status.serves == "r0001"
    assert not story.status.history or story.status.history[0].outcome == "RolledBack"
    story.now -= jump
    story.behaviour.stats_readable = True
    story.until(lambda it: bool(it.status.history), limit=2 * abs(jump) + 7200)


def just_marked(story: Simulator, name: str) -> None:
    """A new leader has marked the Deployment; its controller has not answered yet."""
    found = story.children[("Deployment", name)]
    assert isinstance(found, Deployment)
    marked = replace(found, ready=0, others=found.ready, observed=False)
    story.children[("Deployment", name)] = marked
    story.settle()
    story.children[("Deployment", name)] = found


def test_a_deadline_that_passed_while_nobody_looked_is_not_judged_by_a_candidate_that_was_just_marked() -> None:
    story = passed().until(State.DEPLOYING)
    while not story.has("Deployment", "shop-r0002"):
        story.reconcile()
    story.pass_time(20 * 60)
    just_marked(story, "shop-r0002")
    assert story.status.state is State.DEPLOYING
    assert story.cycle_ends() == "Promoted"


def test_nor_is_a_persons_rollback_used_up_by_it() -> None:
    story = served()
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    story.until(State.RETURNING)
    while not story.has("Deployment", "shop-r0003"):
        story.reconcile()
    story.pass_time(20 * 60)
    just_marked(story, "shop-r0003")
    assert story.status.state is State.RETURNING
    story.until(lambda it: it.status.serves == "r0003", limit=60)


def test_a_deployment_that_was_just_written_makes_nobody_not_ready() -> None:
    story = passed()
    assert story.cycle_ends() == "Promoted"
    story.settle()
    found = story.children[("Deployment", "shop-r0002")]
    assert isinstance(found, Deployment)
    story.children[("Deployment", "shop-r0002")] = replace(found, ready=0, others=found.ready, observed=False)
    story.reconcile()
    assert story.condition("Ready")[0] == "True"


def test_a_route_that_was_just_written_makes_nobody_not_ready() -> None:
    story = with_share()
    story.behaviour.gateway_accepts = None
    before = story.share()
    story.until(lambda it: it.share() != before)
    (route,) = (child for child in story.children.values() if isinstance(child, Route))
    assert (route.accepted, route.was_accepted) == (None, True)
    story.reconcile()
    assert story.condition("Ready")[0] == "True", "the gateway goes on with the one before"


def test_a_first_route_makes_nobody_ready() -> None:
    story = Simulator(make_spec())
    story.behaviour.gateway_accepts = None
    story.wait(60)
    assert story.condition("Ready")[0] == "Unknown"
    story.behaviour.gateway_accepts = True
    story.gateway_answers()
    story.until(lambda it: it.condition("Ready")[0] == "True")


def test_what_a_person_changed_of_the_route_at_rest_is_waited_for() -> None:
    story = passed()
    assert story.cycle_ends() == "Promoted"
    story.wait(300)
    assert story.status.state is State.IDLE and not story.status.draining_since
    story.behaviour.gateway_accepts = None
    story.spec = make_spec(**{"traffic.hostnames": ["rewrites.example.org"]})
    story.wait(30)
    assert story.condition("Ready")[0] == "Unknown"
