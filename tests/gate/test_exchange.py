"""A/A on the evidence itself: exchanged sides do not differ, and a gate that sees differences there is found out."""

from dataclasses import replace

import pytest

from rewriter_contract.reports import CheckName, CheckSettings, GateSettings, Role, Verdict
from rewriter_operator.core.gate import judge
from rewriter_operator.core.gate_checks import CHECKS, Check
from rewriter_operator.core.gate_evidence import Evidence, gather
from rewriter_operator.core.gate_exchange import EXCHANGES, FALSE_ALARM, most_errors, sides_are_exchangeable
from rewriter_operator.core.gate_measured import Limits, Measured
from rewriter_operator.core.statistics import binomial_at_least, mean

from .evidence_builder import World, both_sides, passthrough

FAST = GateSettings(resamples=100)


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(reward_gain=1.0, gold_gain=-0.3),
        World(queries=30, reward_gain=0.0),
        World(unchanged=0.97, gold_spread=0.5),
        World(queries=500),
    ],
    ids=["better", "very different", "few", "few that differ", "many"],
)
def test_exchanged_sides_do_not_differ_whatever_the_candidate_is(world: World) -> None:
    found = sides_are_exchangeable(gather(*both_sides(world), FAST), CHECKS)
    assert found.passed and found.tested
    assert f"of {EXCHANGES} exchanges" in found.message


def test_candidate_of_a_first_release_is_exchanged_with_the_passthrough() -> None:
    candidate, incumbent = both_sides()
    assert sides_are_exchangeable(gather(candidate, passthrough(incumbent), FAST), CHECKS).passed


def test_smallest_gain_that_the_user_asks_for_is_no_error_of_the_gate() -> None:
    for least in (-1.0, 0.5):
        settings = replace(FAST, checks={CheckName.REWARD_GAIN: CheckSettings(min=least)})
        assert sides_are_exchangeable(gather(*both_sides(), settings), CHECKS).passed


def wishful(evidence: Evidence, limits: Limits) -> Measured:
    """A superiority check that forgets its bound: any mean above 0 will do."""
    found = evidence.reward
    better = found is not None and mean(found.differences) > limits.min
    return Measured(Verdict.PASS if better else Verdict.INCONCLUSIVE, "a mean")


def strict(evidence: Evidence, limits: Limits) -> Measured:
    """A guardrail that forgets its margin and its bound: any loss will do."""
    found = evidence.ndcg
    lost = found is not None and mean(found.differences) < -limits.margin
    return Measured(Verdict.FAIL if lost else Verdict.PASS, "a mean")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Check(CheckName.REWARD_GAIN, Role.PRIMARY, Limits(min=0.0), wishful), "RewardGain sees a gain"),
        (Check(CheckName.GOLD_NDCG, Role.GUARDRAIL, Limits(margin=0.0), strict), "GoldNdcg refuses"),
    ],
    ids=["gain", "loss"],
)
def test_check_that_takes_chance_for_an_effect_breaks_the_self_test(broken: Check, said: str) -> None:
    found = sides_are_exchangeable(gather(*both_sides(), FAST), (broken,))
    assert not found.passed
    assert said in found.message


@pytest.mark.parametrize("alpha", [0.001, 0.025, 0.05, 0.2])
def test_gate_that_errs_at_twice_alpha_is_called_broken_once_in_a_thousand_and_no_oftener(alpha: float) -> None:
    allowed = most_errors(alpha)
    assert binomial_at_least(allowed + 1, EXCHANGES, 2 * alpha) < FALSE_ALARM
    assert binomial_at_least(allowed, EXCHANGES, 2 * alpha) >= FALSE_ALARM


def test_report_shows_the_exchanges_first() -> None:
    report = judge(*both_sides(), FAST)
    assert report.self_tests[0].name == "a/a"
    assert report.self_tests[0].message.startswith(
        f"of {EXCHANGES} exchanges of the sides, which leave no difference, "
    )
