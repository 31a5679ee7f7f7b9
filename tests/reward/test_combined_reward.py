"""Penalties and expressions: what they take, what they cannot touch, and what is missing rather than guessed."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewriter_contract.messages import Penalty, RewardConfig
from rewriter_contract.terms import TRUTHS
from rewriter_sampler.reward import Scorer, lowest_reward

from .reward_builder import CORPUS, config, honest, row, service

QUERY = "blue shoes size 42"
GOOD, LOSING = "blue running shoes size 42", "blue running shoes"
"""The same words of the liked document; the second loses the number."""


def rewards(reward: RewardConfig, *rewrites: str, **of_row: Any) -> list[float | None]:
    with service(honest) as running:
        scorer = Scorer(RewardConfig(**vars(reward) | {"relevance_url": running.url}), CORPUS)
        (found,) = scorer.score([(row(query=QUERY, **of_row), list(rewrites))])
    return [score.value for score in found]


def test_a_penalty_is_paid_by_what_breaks_its_term_and_by_nothing_else() -> None:
    plain = rewards(config(), GOOD, LOSING)
    good, losing = rewards(config(penalties=(Penalty("numbersKept", 0.25),)), GOOD, LOSING)

    assert plain[0] is not None and plain[1] is not None
    assert good == plain[0]
    assert losing == pytest.approx(plain[1] - 0.25)


def test_penalties_add_up() -> None:
    both = (Penalty("numbersKept", 0.25), Penalty("targetKept", 0.5))
    (plain,), (found,) = rewards(config(), LOSING), rewards(config(penalties=both), LOSING, target="size 42")
    assert plain is not None and found == pytest.approx(plain - 0.75)


def test_an_expression_makes_the_reward_of_all_terms() -> None:
    (plain,) = rewards(config(), LOSING)
    text = "finerank - (numbersKept ? 0.0 : 0.25) - 0.1 * words + rawrank"
    (found,) = rewards(config(expression=text), LOSING)
    assert plain is not None and found == pytest.approx(plain - 0.25 - 0.3), "there is no rawrank in the fusion: 0.0"


def test_log_r_in_an_expression_has_paid_its_penalties() -> None:
    penalties = (Penalty("numbersKept", 0.25),)
    assert rewards(config(penalties=penalties, expression="logR"), LOSING) == rewards(
        config(penalties=penalties), LOSING
    )


@pytest.mark.parametrize("reward", [{"penalties": (Penalty("formatOk", 9.0),)}, {"expression": "logR + 5.0"}])
def test_a_copy_stays_at_zero_and_silence_at_the_bottom(reward: dict[str, Any]) -> None:
    reward_ = config(**reward)
    assert rewards(reward_, QUERY, "BLUE  shoes size 42", "", " ") == [0.0, 0.0, *[lowest_reward(reward_)] * 2]


def test_no_expression_leaves_the_bounds() -> None:
    reward = config(expression="logR * 1000.0")
    bound = -lowest_reward(reward)
    assert rewards(reward, GOOD) == [bound]
    assert rewards(config(expression="0.0 - 1e9"), GOOD) == [-bound]


def test_what_is_not_finite_is_missing_and_no_number() -> None:
    with service(honest) as running:
        scorer = Scorer(config(running.url, expression="1.0 / (words - 5.0)"), CORPUS)
        ((score, other),) = scorer.score([(row(query=QUERY), [GOOD, LOSING])])
    assert (score.value, score.missing) == (None, "ExpressionNotFinite")
    assert other.value == -0.5


def test_a_missing_score_stays_missing_whatever_is_made_of_it() -> None:
    with service(honest) as running:
        scorer = Scorer(config(running.url, expression="1.0"), CORPUS)
        ((score,),) = scorer.score([(row(query=QUERY, positives=("absent",)), [GOOD])])
    assert (score.value, score.missing) == (None, "UnknownDocument")


@pytest.mark.parametrize(
    "reward, sentence",
    [
        ({"expression": "logR - 1"}, "reward.expression: character 8: 1 is an integer in CEL; write 1.0"),
        ({"penalties": (Penalty("logR", 1.0),)}, "reward.penalties logR: 1.0; want one of numbersKept"),
        ({"penalties": (Penalty("formatOk", -1.0),)}, "reward.penalties formatOk: -1.0"),
        ({"penalties": (Penalty("formatOk", math.nan),)}, "reward.penalties formatOk: nan"),
    ],
)
def test_a_reward_that_cannot_be_used(reward: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        Scorer(config(**reward), CORPUS)
    assert sentence in str(refused.value)


words_ = st.lists(st.sampled_from([*QUERY.split(), "running", "garden", "no", "rewrite:", "\u200b"]), max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(words_, min_size=1, max_size=4), st.dictionaries(st.sampled_from(TRUTHS), st.floats(0, 10)))
def test_every_reward_is_finite_and_within_its_bounds(texts: list[list[str]], nats: dict[str, float]) -> None:
    reward = config(penalties=tuple(Penalty(term, cost) for term, cost in nats.items()))
    for value in rewards(reward, *(" ".join(text) for text in texts)):
        assert value is not None and math.isfinite(value) and lowest_reward(reward) - 1e-9 <= value
