"""Metrics of the user's own: inside goes on, outside takes back, and whatever else an answer is promotes nothing."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import MetricStatus
from rewriter_operator.cli.planning import plan_branch
from rewriter_operator.cli.tree import lines, tree
from rewriter_operator.core.cycle import APPROVE_ANNOTATION, spec_digest
from rewriter_operator.core.cycle_plan import planned
from rewriter_operator.core.metric_calls import MetricCall, due
from rewriter_operator.core.metric_looks import new_verdicts
from rewriter_operator.core.world import MetricAnswer
from tests.builders import make_cycle, make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back, with_share
from tests.examples import examples

QUERY = 'sum(rate(clicks{revision="{{candidate}}",stage="{{stage}}"}[5m]))'
LOSS = {"name": "ctr", "prometheus": {"serviceName": "prometheus", "query": QUERY}, "minimum": 0.98}
COMPARED = 'ctr{revision="{{candidate}}"} / ctr{revision="{{incumbent}}"}'
RATIO = LOSS | {"prometheus": {"serviceName": "prometheus", "query": COMPARED}}
HOOK = {"name": "ops", "webhook": {"serviceName": "checks", "path": "/rollout"}}

TIMEOUT = 240

Says = Callable[[MetricCall], MetricAnswer | None]


def judged_by(*metrics: dict[str, Any], **changes: Any) -> RewriterReleaseSpec:
    """Deadlines are short, so that a story that waits for one has few passes."""
    short = {"rollout.bake": "3m", "rollout.verification": {"minRequests": 50, "timeout": f"{TIMEOUT}s"}}
    return make_spec(**{"rollout.metrics": list(metrics), **short, **changes})


def value(number: float) -> MetricAnswer:
    return MetricAnswer(0, value=number)


def unknown(reason: str = "answered with no series") -> MetricAnswer:
    return MetricAnswer(0, reason=reason)


def always(answer: MetricAnswer | None) -> Says:
    return lambda call: answer


def in_turn(*answers: MetricAnswer) -> Says:
    """One after the other; the last one stays."""
    left = list(answers)
    return lambda call: left.pop(0) if len(left) > 1 else left[0]


def of(story: Simulator) -> MetricStatus:
    (status,) = story.status.stages[0].metrics
    return status


def told(story: Simulator) -> list[tuple[str, str]]:
    return [(note.reason, note.message) for note in story.notes if note.reason.startswith("Metric")]


def test_a_candidate_whose_metric_is_inside_is_promoted() -> None:
    story = passed(judged_by(LOSS), metrics_say=always(value(0.99)))
    assert story.cycle_ends() == "Promoted"
    assert told(story) == [], "what was inside from its first look on needs no Event"


def test_outside_in_as_many_looks_as_failure_limit_says_takes_the_candidate_back_with_the_numbers() -> None:
    story = passed(judged_by(LOSS | {"failureLimit": 2}), metrics_say=always(value(0.91)))
    message = rolled_back(story, "MetricOutside")
    assert message == "finerank: metric ctr: 0.91 < minimum 0.98 (outside in 2 looks, inside in none since)"
    assert told(story)[0] == ("MetricOutside", "finerank: metric ctr: 0.91 < minimum 0.98")
    assert len(story.looks) == 2


def test_one_look_outside_holds_the_step_and_takes_nothing_back() -> None:
    story = passed(judged_by(LOSS), metrics_say=in_turn(value(0.91), value(0.91), value(0.99)))
    assert story.cycle_ends() == "Promoted"
    assert [reason for reason, _ in told(story)] == ["MetricOutside", "MetricInside"]


def test_an_unknown_look_between_clears_nothing_of_what_was_outside() -> None:
    story = passed(judged_by(LOSS), metrics_say=in_turn(value(0.9), unknown(), value(0.9), unknown(), value(0.9)))
    assert "outside in 3 looks" in rolled_back(story, "MetricOutside")
    assert len(story.looks) == 5


def test_no_share_rises_before_the_metric_was_inside_in_as_many_looks_as_success_limit_says() -> None:
    story = with_share(judged_by(LOSS | {"successLimit": 4}, **{"rollout.stages": [QUICK]}), metrics_say=INSIDE)
    story.until(lambda it: it.share() == 100)
    assert len(story.looks) == 4
    assert story.now - story.status.cycle.since >= 4 * 30 if story.status.cycle else False


QUICK = stage("finerank", {"setShare": 10}, {"setShare": 100})
INSIDE = always(value(0.99))


def test_an_unknown_look_begins_the_row_anew() -> None:
    says = in_turn(value(1), value(1), unknown(), value(1))
    story = with_share(judged_by(LOSS, **{"rollout.stages": [QUICK]}), metrics_say=says)
    story.until(lambda it: it.share() == 100)
    assert len(story.looks) == 6


def test_every_share_is_judged_anew() -> None:
    story = with_share(judged_by(LOSS, **{"rollout.stages": [QUICK]}), metrics_say=INSIDE)
    story.until(lambda it: it.share() == 100).until(State.BAKING)
    assert of(story).inside == 0
    story.until(lambda it: bool(it.looks) and of(it).inside == 3)
    assert len(story.looks) == 6


def test_a_metric_is_asked_once_in_an_interval_and_only_while_a_share_is_carried() -> None:
    story = passed(judged_by(LOSS | {"interval": "1m"}), metrics_say=INSIDE)
    assert due(story.world()) == ()
    assert story.cycle_ends() == "Promoted"
    assert due(story.world()) == ()
    times = [at for at, _ in story.looks]
    assert len(times) >= 6 and all(later - earlier >= 60 for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    "steps",
    [
        ({"setShare": 10}, {"setShare": 100}),
        ({"setShare": 10}, {"pause": {"duration": "1m"}}, {"setShare": 100}),
        ({"setShare": 10}, {"analysis": {"minRequests": 40, "deadline": "5m"}}, {"setShare": 100}),
        ({"setShare": 100},),
    ],
    ids=["share", "pause", "analysis", "bake"],
)
@pytest.mark.parametrize("answer", [unknown("answered NaN"), None], ids=["unknown", "no-answer"])
def test_what_stays_unknown_holds_the_step_and_is_taken_back_at_the_deadline(
    steps: tuple[dict[str, Any], ...], answer: MetricAnswer | None
) -> None:
    story = with_share(
        judged_by(LOSS, **{"rollout.stages": [stage("finerank", *steps)]}),
        steps[0]["setShare"],
        metrics_say=always(answer),
    )
    began = story.now
    message = rolled_back(story, "NotVerified")
    assert "metric ctr: " + ("unknown: answered NaN" if answer else "not asked yet") in message
    assert story.now - began >= TIMEOUT
    assert story.states.count(State.PROMOTING) == 0
    assert [reason for reason, _ in told(story)] == (["MetricUnknown"] if answer else [])


def test_an_approval_of_what_is_unknown_promotes_nothing() -> None:
    steps = ({"setShare": 10}, {"pause": {}}, {"setShare": 100})
    spec = judged_by(LOSS, **{"rollout.stages": [stage("finerank", *steps)]})
    story = with_share(spec, metrics_say=always(unknown())).until(lambda it: it.status.stages[0].step == 1)
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    assert "approved, but metric ctr: unknown" in rolled_back(story, "NotVerified")


def test_a_metric_that_turns_bad_while_baking_takes_all_back() -> None:
    story = passed(judged_by(LOSS), metrics_say=INSIDE).until(State.BAKING)
    story.behaviour.metrics_say = always(value(0.5))
    assert "0.5 < minimum 0.98" in rolled_back(story, "MetricOutside")


@pytest.mark.parametrize(
    ("answer", "reason"), [(value(0.5), "MetricOutside"), (unknown(), "NotVerified")], ids=["outside", "unknown"]
)
def test_a_metric_that_turns_while_the_promotion_is_recorded_promotes_nothing(
    answer: MetricAnswer, reason: str
) -> None:
    story = passed(judged_by(LOSS), metrics_say=INSIDE, record_ends=False).until(State.PROMOTING)
    story.behaviour.metrics_say = always(answer)
    story.wait(45)
    story.record_is_done()
    story.until(State.WITHDRAWING)
    story.behaviour.record_ends = True
    rolled_back(story, reason)


def test_a_metric_that_turns_unknown_has_its_time_from_then_and_may_come_back() -> None:
    """The bake is over when it does: a deadline that counted from the bake's end would leave it almost none."""
    story = passed(judged_by(LOSS), metrics_say=INSIDE).until(State.BAKING)
    story.until(lambda it: of(it).inside == 3)
    story.behaviour.metrics_say = always(unknown())
    story.wait(TIMEOUT - 30)
    assert story.status.state is State.BAKING and "bake time is over, but metric ctr" in story.status.message
    story.behaviour.metrics_say = INSIDE
    assert story.cycle_ends() == "Promoted"
    assert [reason for reason, _ in told(story)] == ["MetricUnknown", "MetricInside"]


def test_an_operator_that_was_away_concludes_nothing_from_before_and_asks_anew() -> None:
    steps = ({"setShare": 10}, {"pause": {"duration": "10m"}}, {"setShare": 100})
    spec = judged_by(LOSS, **{"rollout.stages": [stage("finerank", *steps)]})
    story = with_share(spec, metrics_say=INSIDE).until(lambda it: bool(it.looks) and of(it).inside == 3)
    story.pass_time(3600)
    story.settle()
    assert (story.share(), of(story).inside) == (10, 1)
    assert story.cycle_ends() == "Promoted", "the pause has long been over, but nobody could have asked meanwhile"


def test_a_clock_that_was_set_back_asks_again_and_keeps_no_look_of_the_future() -> None:
    story = with_share(judged_by(LOSS), metrics_say=INSIDE).until(lambda it: bool(it.looks) and of(it).inside == 3)
    story.now -= 3600
    story.behaviour.metrics_say = always(None)
    story.settle()
    assert of(story).verdict == "Unknown" and due(story.world())


def test_a_query_with_the_incumbent_compares_and_is_not_asked_where_none_answers() -> None:
    story = passed(judged_by(RATIO), metrics_say=INSIDE).until(State.BAKING)
    assert story.status.stages[0].metrics == []
    story.behaviour.metrics_say = always(unknown("answered NaN"))
    assert story.cycle_ends() == "Promoted"


def test_a_metric_of_some_stages_is_asked_there_only() -> None:
    stages = [QUICK, stage("recall", {"setShare": 10}, {"setShare": 100}, depends_on=("finerank",))]
    spec = judged_by(LOSS | {"stages": ["recall"]}, **{"rollout.stages": stages})
    story = passed(spec, metrics_say=always(value(0.1)))
    assert rolled_back(story, "MetricOutside").startswith("recall: metric ctr")


def test_a_query_knows_what_it_is_about() -> None:
    query = "x{{candidate}} {{incumbent}} {{stage}} {{release}} {{namespace}} {a='b'}"
    metric = LOSS | {"prometheus": {"serviceName": "prometheus", "query": query}}
    story = with_share(judged_by(metric)).until(lambda it: bool(due(it.world())))
    (call,) = due(story.world())
    assert call.query == "xr0002 r0001 finerank shop search {a='b'}"
    assert (call.url, call.body) == ("http://prometheus.search.svc:9090/api/v1/query", None)


def test_a_web_hook_is_told_what_it_is_about() -> None:
    story = with_share(judged_by(HOOK)).until(lambda it: bool(due(it.world())))
    (call,) = due(story.world())
    assert (call.url, call.query) == ("http://checks.search.svc:8080/rollout", None)
    assert json.loads(call.body or "") == {
        "metric": "ops",
        "release": "shop",
        "namespace": "search",
        "cycle": 2,
        "revision": "r0002",
        "incumbent": "r0001",
        "stage": "finerank",
        "step": 1,
        "share": 10,
    }


def test_a_web_hooks_verdict_is_taken_with_its_reason() -> None:
    story = passed(judged_by(HOOK), metrics_say=always(MetricAnswer(0, passes=False, reason="rota is on holiday")))
    assert "metric ops: the web hook says Fail: rota is on holiday" in rolled_back(story, "MetricOutside")
    story = passed(judged_by(HOOK), metrics_say=always(MetricAnswer(0, passes=True)))
    assert story.cycle_ends() == "Promoted"


def test_a_value_without_a_bound_is_unknown() -> None:
    story = with_share(judged_by(HOOK), metrics_say=always(value(3))).until(lambda it: bool(it.looks))
    story.settle()
    assert (of(story).verdict, of(story).message) == ("Unknown", "answered 3, and neither minimum nor maximum is set")


@pytest.mark.parametrize(
    ("number", "bounds", "verdict"),
    [
        (0.98, {"minimum": 0.98}, "Inside"),
        (0.9799999, {"minimum": 0.98}, "Outside"),
        (-0.0, {"minimum": 0}, "Inside"),
        (5.0, {"minimum": 1, "maximum": 5}, "Inside"),
        (5.0000001, {"minimum": 1, "maximum": 5}, "Outside"),
        (-1e12, {"maximum": 5}, "Inside"),
        (0.3, {"minimum": 0.3, "maximum": 0.3}, "Inside"),
    ],
)
def test_bounds_are_inside(number: float, bounds: dict[str, float], verdict: str) -> None:
    metric = {key: item for key, item in LOSS.items() if key != "minimum"} | bounds
    story = with_share(judged_by(metric), metrics_say=always(value(number))).until(lambda it: bool(it.looks))
    story.settle()
    assert of(story).verdict == verdict


def test_a_changed_metric_begins_anew_and_ends_no_cycle() -> None:
    story = with_share(judged_by(LOSS), metrics_say=always(value(0.9))).until(lambda it: bool(it.looks))
    story.settle()
    assert of(story).outside == 1
    story.spec = judged_by(LOSS | {"minimum": 0.85})
    story.settle()
    assert (of(story).verdict, of(story).outside) == (None, 0)
    assert story.cycle_ends() == "Promoted"


def test_a_metric_that_is_taken_away_judges_nothing_any_more() -> None:
    story = with_share(judged_by(LOSS), metrics_say=always(unknown())).until(lambda it: bool(it.looks))
    story.spec = make_spec()
    assert story.cycle_ends() == "Promoted"


def test_a_metric_with_no_service_stored_past_the_crd_promotes_nothing() -> None:
    story = passed(judged_by({"name": "empty", "minimum": 1}, **{"rollout.stages": [QUICK]}))
    assert "metric empty: not asked yet" in rolled_back(story, "NotVerified")


@examples(6)
@given(
    st.lists(
        st.sampled_from([None, unknown("answered NaN"), unknown("answered with no series"), unknown("answered 500")]),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["5s", "30s", "1m"]),
    st.integers(1, 3),
    st.sampled_from([LOSS, HOOK, RATIO]),
)
def test_no_sequence_of_unknown_answers_ever_promotes_or_raises_a_share(
    answers: list[MetricAnswer | None], interval: str, limit: int, metric: dict[str, Any]
) -> None:
    turns = cycled(answers)
    spec = judged_by(metric | {"interval": interval, "successLimit": limit}, **{"rollout.stages": [QUICK]})
    story = with_share(spec, metrics_say=lambda call: next(turns))
    while not story.status.history:
        if not story.reconcile():
            story.pass_time(10)
        assert story.share() in (0, 10)
    assert story.status.history[0].outcome == "RolledBack"


def cycled(answers: list[MetricAnswer | None]) -> Iterator[MetricAnswer | None]:
    while True:
        yield from answers


@examples(5)
@given(st.lists(st.sampled_from([value(1.0), value(0.5), unknown()]), min_size=1, max_size=10), st.integers(1, 3))
def test_whatever_is_answered_what_is_promoted_was_inside_in_a_row_at_the_end(
    answers: list[MetricAnswer], limit: int
) -> None:
    turns, given_answers = cycled(list(answers)), []

    def says(call: MetricCall) -> MetricAnswer | None:
        given_answers.append(next(turns))
        return given_answers[-1]

    metric = LOSS | {"successLimit": limit, "failureLimit": limit}
    story = passed(judged_by(metric, **{"rollout.stages": [QUICK], "rollout.bake": "30s"}), metrics_say=says)
    outcome = story.cycle_ends()
    ending = [answer.value for answer in given_answers[-limit:] if answer]
    if outcome == "Promoted":
        assert ending == [1.0] * limit
    else:
        assert story.share() == 0


def test_looks_are_counted_once() -> None:
    story = with_share(judged_by(LOSS), metrics_say=INSIDE).until(lambda it: bool(due(it.world())))
    before = story.status
    story.settle()
    assert list(new_verdicts(before, story.status)) == ["Inside"]
    assert list(new_verdicts(story.status, story.status)) == []


def test_metrics_change_no_digest_and_show_nowhere_while_there_are_none() -> None:
    assert spec_digest(judged_by(LOSS)) == spec_digest(make_spec())
    status = with_share().status.to_api()
    assert "metrics" not in status["stages"][0] and "metrics" not in status["plan"]["stages"][0]


def test_the_tree_and_the_plan_tell_of_metrics() -> None:
    story = with_share(judged_by(LOSS), metrics_say=always(value(0.9))).until(lambda it: bool(it.looks))
    story.settle()
    assert any(line.endswith("`-- metric ctr: Outside: 0.9 < minimum 0.98") for line in lines(tree(story.world())))
    spec = judged_by(LOSS | {"maximum": 2}, HOOK | {"stages": ["recall"]})
    shown = list(lines(plan_branch("shop", planned(spec, make_cycle(spec), None))))
    told = "metric ctr >= 0.98 and <= 2 every 30s: 3 inside in a row to go on, 3 outside take back"
    assert [line.split("-- ")[1] for line in shown if "metric" in line] == [told]
