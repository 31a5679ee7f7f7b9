"""The plan of a cycle says what is true of its steps, and nothing that nobody measured."""

import random
from dataclasses import replace
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_contract.reports import GateSettings
from rewriter_operator.api.model import evolve
from rewriter_operator.api.states import State
from rewriter_operator.api.status import CyclePlan, GateResult, Measured, PhaseResult, RewardSpread
from rewriter_operator.core import limits
from rewriter_operator.core.anytime import exceeds
from rewriter_operator.core.cycle import RUN_ANNOTATION
from rewriter_operator.core.cycle_plan import (
    POWER,
    measured_by,
    planned,
    reward_spread,
    told_gain,
    told_increase,
    told_rate,
    told_shares,
)
from rewriter_operator.core.gate import judge
from rewriter_operator.core.statistics import binomial_at_least
from rewriter_operator.core.world import Role
from tests.builders import evidence, make_cycle, make_spec, stage, weights
from tests.core.simulator import Simulator
from tests.examples import examples

SPEC = make_spec()


def plan_of(measured: Measured | None = None, rows: int = 0, **changes: object) -> CyclePlan:
    spec = make_spec(**changes)
    return planned(spec, make_cycle(spec, gate_queries=rows), measured)


def measured(plan: CyclePlan, deviation: float = 0.4) -> Measured:
    """What a cycle with this plan measured."""
    return Measured(
        work=plan.training.work,
        phase_seconds=90,
        asked=plan.gate.asked,
        reward=RewardSpread(deviation=deviation, queries=100),
    )


def test_what_nobody_measured_is_absent() -> None:
    plan = plan_of()
    assert plan.training.phase_seconds is None
    assert plan.gate.queries is None
    assert plan.gate.reward_gain is None


def test_what_an_equal_cycle_measured_is_expected() -> None:
    plan = plan_of(measured(plan_of()), rows=400)
    assert plan.training.phase_seconds == 90
    assert plan.gate.reward_gain == pytest.approx(told_gain(0.4, 400, 0.05), abs=1e-6)
    assert plan.gate.reward_gain == pytest.approx(0.0497, abs=1e-4)  # (1.645 + 0.842) * 0.4 / 20


@pytest.mark.parametrize(
    ("changes", "time_is_known", "gain_is_known"),
    [
        ({"training.phases": 9}, True, True),
        ({"rollout.bake": "2h"}, True, True),
        ({"training.sampling": {"queriesPerPhase": 99}}, False, True),
        ({"training.samplers": {"replicas": 3}}, False, True),
        ({"data.gate": "data/other.jsonl"}, False, False),
        ({"reward.lambda": 1.0}, False, False),
        ({"gate.minimumQueries": 500}, True, False),
    ],
)
def test_what_another_kind_of_cycle_measured_is_not(
    changes: dict[str, object], time_is_known: bool, gain_is_known: bool
) -> None:
    plan = plan_of(measured(plan_of()), rows=400, **changes)
    assert (plan.training.phase_seconds is not None) == time_is_known
    assert (plan.gate.reward_gain is not None) == gain_is_known


def test_extensions_share_alpha_and_add_queries() -> None:
    gate = {
        "search": {"serviceName": "search", "path": "/v1/search"},
        "onInconclusive": "Extend",
        "extension": {"queries": 100, "maxExtensions": 2},
    }
    plan = plan_of(rows=1000, gate=gate).gate
    assert (plan.queries, plan.most_queries, plan.looks) == (100, 300, 3)
    assert plan.alpha == pytest.approx(0.05 / 3)


def test_steps_carry_share_requests_and_deadlines() -> None:
    steps = (
        {"setShare": 10},
        {"analysis": {"minRequests": 40, "deadline": "2h"}},
        {"pause": {"duration": "5m"}},
        {"pause": {}},
        {"setShare": 100},
        {"analysis": {"minRequests": 5}},
    )
    window = {"from": "09:00", "to": "16:00", "days": ["Fri", "Mon"]}
    plan = plan_of(**{"rollout.stages": [stage("finerank", *steps)], "rollout.windows": [window]})
    found = plan.stages[0].steps
    assert [item.does for item in found] == ["SetShare", "Analysis", "Pause", "Approval", "SetShare", "Analysis"]
    assert [item.share for item in found] == [10, 10, 10, 10, 100, 100]
    assert [item.waits_for_window for item in found] == [True, False, False, False, True, False]
    assert (found[1].requests, found[1].stage_requests, found[1].deadline) == (40, 400, "2h")
    assert found[2].seconds == 300
    assert found[5].requests == 20, "no limit is judged on fewer"
    assert found[5].error_rate_increase is None, "at full share there is nobody to compare with"
    assert plan.windows == ["Mon,Fri 09:00-16:00 UTC"]


def test_a_share_is_planned_with_as_many_requests_as_tell_it_from_none() -> None:
    first = plan_of(**{"rollout.stages": [stage("finerank", {"setShare": 5}, {"setShare": 100})]}).stages[0].steps[0]
    assert (first.requests or 0) > 50, "minRequests are not enough"
    assert first.share_below is not None
    assert 0 < first.share_below < 5


@examples(20)
@given(st.integers(1, 99))
def test_many_requests_tell_every_share_that_is_not_quite_near(share: int) -> None:
    below, above = told_shares(share, 20_000, 0.001)
    assert below is not None
    assert above is not None
    assert max(0, share - 8) <= below < share < above <= min(100, share + 8)


@examples(40)
@given(st.integers(20, 3000), st.sampled_from([0.0, 0.005, 0.01, 0.1, 0.5]))
def test_a_rate_that_is_told_is_found_as_often_as_is_said(requests: int, limit: float) -> None:
    rate = told_rate(requests, limit)
    if rate is None:
        assert not exceeds(requests, requests, limit, limits.ALPHA)
        return
    fewest = next(
        bad for bad in range(1, requests + 1) if bad > limit * requests and exceeds(bad, requests, limit, limits.ALPHA)
    )
    assert binomial_at_least(fewest, requests, rate) >= POWER - 0.01
    assert binomial_at_least(fewest, requests, rate - 0.0002) < POWER + 0.01
    assert rate > limit


def test_beside_incumbents_more_requests_tell_less() -> None:
    assert told_increase(100, 0, 0.01) is None
    few, many = told_increase(100, 900, 0.01), told_increase(2000, 18000, 0.01)
    assert few is not None
    assert many is not None
    assert 0.01 < many < few


def test_the_spread_is_what_the_gate_measured() -> None:
    both, draw = evidence(queries=128), random.Random(5)
    moved = [draw.gauss(0.1, 0.4) for _ in range(128)]
    rows = tuple(
        replace(row, reward=(other.reward or 0.0) + by)
        for row, other, by in zip(both["candidate"][0].rows, both["incumbent"][0].rows, moved, strict=True)
    )
    settings = GateSettings(alpha=0.05, minimum_queries=30, seed=1)
    found = reward_spread(judge(replace(both["candidate"][0], rows=rows), both["incumbent"][0], settings))
    assert found is not None
    assert found.queries == 128
    assert found.deviation == pytest.approx(stdev(moved), rel=0.1)


def test_queries_that_do_not_differ_promise_nothing() -> None:
    both = evidence(queries=64)
    report = judge(both["candidate"][0], both["incumbent"][0], GateSettings(alpha=0.05, minimum_queries=30, seed=1))
    assert reward_spread(report) is None


def test_a_cycle_leaves_what_it_measured_and_keeps_what_it_did_not() -> None:
    plan = plan_of()
    before = measured(plan)
    cycle = make_cycle(SPEC, phases=[PhaseResult(number=1, weights=weights(), seconds=30)])
    after = measured_by(before, cycle, plan)
    assert after == evolve(before, phase_seconds=30)
    assert measured_by(before, cycle, None) == before
    gate = GateResult(verdict="Fail", summary="", report="", reward=RewardSpread(deviation=0.7, queries=50))
    judged = measured_by(None, evolve(cycle, phases=[], gate=gate), plan)
    assert judged == Measured(asked=plan.gate.asked, reward=gate.reward)


def test_the_greatest_plan_is_small() -> None:
    steps = [{"setShare": 3 * n} if n < 31 else {"setShare": 100} for n in range(1, 33)]
    stages = [stage(name, *steps[:30], {"setShare": 100}) for name in ("finerank", "rawrank", "recall")]
    assert len(plan_of(**{"rollout.stages": stages}).model_dump_json(by_alias=True)) < 32_000


def test_the_plan_is_written_with_the_cycles_start_and_goes_with_its_end() -> None:
    story = Simulator(SPEC).until(State.PREPARING)
    plan = story.status.plan
    assert plan is not None
    assert plan.cycle == 1
    assert plan.training.phase_seconds is None
    assert not any(child.role is Role.TRAINER for child in story.children.values())
    story.until(State.TRAINING)
    assert story.status.plan is not None
    assert (story.status.plan.gate.queries or 0) > 0, "the prepare pod has counted them"
    story.cycle_ends()
    assert story.status.plan is None


def test_the_next_plan_expects_what_the_last_cycle_measured() -> None:
    story = Simulator(SPEC)
    story.cycle_ends()
    took = story.status.measured
    assert took is not None
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(State.PREPARING)
    assert story.status.plan is not None
    assert story.status.plan.training.phase_seconds == took.phase_seconds
    assert took.phase_seconds is not None


def test_a_plan_is_written_anew_only_when_the_spec_changes() -> None:
    story = Simulator(SPEC).until(State.TRAINING).settle()
    before = story.status.plan
    assert before is not None
    story.settle()
    writes = len(story.writes)
    story.settle()
    assert len(story.writes) == writes
    story.spec = make_spec(**{"rollout.verification.minRequests": 900})
    story.settle()
    after = story.status.plan
    assert after is not None
    assert after.stages[0].steps[0].requests == 900
    assert after.training == before.training


def test_a_superseded_cycle_measures_nothing_for_the_spec_that_superseded_it() -> None:
    changed = make_spec(**{"training.sampling": {"queriesPerPhase": 16}})
    story = Simulator(SPEC).until(lambda it: it.share() > 0)
    story.spec = changed
    assert story.cycle_ends() == "Superseded"
    story.until(State.PREPARING)
    assert story.status.plan is not None
    assert story.status.plan.training.queries == 16
    assert story.status.plan.training.phase_seconds is None
    assert story.status.measured is not None
    assert story.status.measured.work == planned(SPEC, make_cycle(SPEC), None).training.work
