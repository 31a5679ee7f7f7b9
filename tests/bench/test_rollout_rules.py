"""The bench of the rollout's judgement: what it draws, and that its rules can say yes and no."""

import pytest

from e2e.bench.rollout.rules import RULES, fixed_horizon
from e2e.bench.rollout.traffic import BASE_RATE, Setting, windows


def rates(setting: Setting, seed: str) -> tuple[float, float]:
    drawn = list(windows(setting, seed))
    return (
        sum(window.candidate_bad for window in drawn) / sum(window.candidate for window in drawn),
        sum(window.incumbent_bad for window in drawn) / sum(window.incumbent for window in drawn),
    )


def test_the_same_seed_draws_the_same_rollout() -> None:
    assert list(windows(Setting(), "a")) == list(windows(Setting(), "a")) != list(windows(Setting(), "b"))


def test_a_worse_candidate_is_worse_by_what_was_asked_for() -> None:
    candidate, incumbent = rates(Setting(looks=400, increase_sd=0.5), "worse")
    assert candidate == pytest.approx(BASE_RATE + 0.229, abs=0.02)
    assert incumbent == pytest.approx(BASE_RATE, abs=0.02)


def test_a_shared_wave_moves_both_sides_alike() -> None:
    drawn = list(windows(Setting(looks=60, candidate_per_look=2000, incumbent_per_look=2000, autocorrelation=0.5), "w"))
    gaps = [abs(window.candidate_bad - window.incumbent_bad) / 2000 for window in drawn]
    spread = max(window.incumbent_bad for window in drawn) - min(window.incumbent_bad for window in drawn)
    assert spread / 2000 > 0.2, "the wave is there"
    assert max(gaps) < 0.06, "and nothing but chance lies between the sides"


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_takes_back_a_disaster_and_keeps_a_better_candidate(rule: str) -> None:
    assert RULES[rule](windows(Setting(increase_sd=1.5), "disaster")) is not None
    assert RULES[rule](windows(Setting(increase_sd=-0.5), "better")) is None


def test_a_fixed_horizon_needs_more_for_less() -> None:
    assert fixed_horizon(0.3, 0.4, 0.01, 0.8) > fixed_horizon(0.3, 0.5, 0.01, 0.8) > fixed_horizon(0.3, 0.5, 0.01, 0.5)
