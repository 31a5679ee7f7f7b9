import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewriter_contract.messages import FusionTerm
from rewriter_sampler.reward import Relevances, Scorer, log_reward, lowest_reward

from .reward_builder import CORPUS, config, honest, row, service

unit = st.floats(0.0, 1.0)
terms = st.builds(FusionTerm, stage=st.just("s"), a=st.floats(0.01, 50), b=st.floats(1e-6, 10), gamma=st.floats(0, 5))
configs = st.builds(
    lambda fusion, weight, clip: config(fusion=tuple(fusion), negatives_weight=weight, clip=clip),
    st.lists(terms, min_size=1, max_size=3),
    st.floats(0, 2),
    st.floats(0.01, 5),
)
both = st.builds(
    Relevances,
    st.lists(unit, min_size=3, max_size=3).map(tuple),
    st.lists(unit, min_size=2, max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(configs, both)
def test_equal_relevance_is_exactly_neutral(reward, relevances) -> None:
    assert log_reward(reward, relevances, relevances) == 0.0


@settings(max_examples=40, deadline=None)
@given(configs, both, both)
def test_reward_is_finite_and_never_below_its_bound(reward, rewrite, query) -> None:
    value = log_reward(reward, rewrite, query)
    assert math.isfinite(value)
    assert value >= lowest_reward(reward) - 1e-9


@settings(max_examples=40, deadline=None)
@given(configs, both, both, st.integers(0, 2), unit)
def test_raising_a_liked_document_never_lowers_the_reward(reward, rewrite, query, index, target) -> None:
    positives = list(rewrite.positives)
    positives[index] = max(positives[index], target)
    raised = replace(rewrite, positives=tuple(positives))
    assert log_reward(reward, raised, query) >= log_reward(reward, rewrite, query) - 1e-12


@settings(max_examples=40, deadline=None)
@given(configs, both, both, st.integers(0, 1), unit)
def test_raising_a_skipped_document_never_raises_the_reward(reward, rewrite, query, index, target) -> None:
    negatives = list(rewrite.negatives)
    negatives[index] = max(negatives[index], target)
    raised = replace(rewrite, negatives=tuple(negatives))
    assert log_reward(reward, raised, query) <= log_reward(reward, rewrite, query) + 1e-12


near_zero = st.floats(-300.0, 1.0).map(lambda exponent: 10.0**exponent)
hard_terms = st.builds(FusionTerm, stage=st.just("s"), a=st.floats(0.01, 50), b=near_zero, gamma=st.floats(0, 5))
hard_configs = st.builds(
    lambda fusion, weight, clip: config(fusion=tuple(fusion), negatives_weight=weight, clip=clip),
    st.lists(hard_terms, min_size=1, max_size=3),
    st.floats(0, 2),
    st.floats(0.01, 2000),
)
HALF_STEP = 2.0**-24
"""Relative error of a float32."""
SMALLEST = 2.0**-126
"""Of the normal float32 numbers; below it the error is no longer relative."""
scores = st.one_of(st.just(0.0), st.floats(SMALLEST, 1.0))
scored = st.builds(
    Relevances,
    st.lists(scores, min_size=3, max_size=3).map(tuple),
    st.lists(scores, min_size=2, max_size=2).map(tuple),
)


def as_float32(of: Relevances) -> Relevances:
    """What a model in single precision answers."""
    positives, negatives = (
        tuple(struct.unpack("f", struct.pack("f", value))[0] for value in values)
        for values in (of.positives, of.negatives)
    )
    return Relevances(positives, negatives)


@settings(max_examples=60, deadline=None)
@given(hard_configs, scored, scored)
def test_scores_in_float32_move_the_reward_by_their_own_rounding_however_small_b_is(reward, rewrite, query) -> None:
    """b + a*rel has at most the relative error of rel, so each log ratio moves by two half steps at most."""
    whole = sum(term.gamma for term in reward.fusion) * (1 + reward.negatives_weight)
    moved = log_reward(reward, as_float32(rewrite), as_float32(query)) - log_reward(reward, rewrite, query)
    assert abs(moved) <= 2.001 * HALF_STEP * whole + 1e-12 * (1 + whole)


@settings(max_examples=60, deadline=None)
@given(hard_configs, both, both)
def test_with_b_near_zero_the_reward_stays_finite_and_between_its_bounds(reward, rewrite, query) -> None:
    value, lowest = log_reward(reward, rewrite, query), lowest_reward(reward)
    assert math.isfinite(value)
    assert abs(value) <= -lowest * (1 + 1e-12)
    assert log_reward(reward, query, query) == 0.0


@pytest.mark.parametrize("b", [5e-324, 1e-300, 1e-30, 1e-9])
def test_from_nothing_to_everything_is_worth_the_clip_and_no_more_however_small_b_is(b: float) -> None:
    reward = config(fusion=(FusionTerm("finerank", a=1.0, b=b, gamma=2.0),), negatives_weight=0.5)
    nothing, everything = Relevances((0.0,), (0.0,)), Relevances((1.0,), (0.0,))
    assert log_reward(reward, everything, nothing) == pytest.approx(2.0 * reward.clip)
    assert log_reward(reward, nothing, everything) == pytest.approx(-2.0 * reward.clip)


def test_lambda_takes_the_gain_from_a_rewrite_that_raises_every_document() -> None:
    query, everything = Relevances((0.4,), (0.4,)), Relevances((0.8,), (0.8,))
    only_liked = Relevances((0.8,), (0.4,))
    blind, guarded = config(negatives_weight=0.0), config(negatives_weight=1.0)
    assert log_reward(blind, everything, query) == log_reward(blind, only_liked, query) > 0
    assert log_reward(guarded, everything, query) == pytest.approx(0.0)
    assert log_reward(guarded, only_liked, query) > 0.3


def test_formula_against_a_hand_computed_case() -> None:
    reward = config(
        fusion=(FusionTerm("finerank", a=2.0, b=1.0, gamma=0.5), FusionTerm("recall", a=1.0, b=0.5, gamma=2.0)),
        negatives_weight=0.25,
        clip=10.0,
    )
    value = log_reward(reward, Relevances((0.5, 1.0), (0.5,)), Relevances((0.0, 1.0), (0.0,)))
    finerank = 0.5 * (math.log(2 / 1) / 2 - 0.25 * math.log(2 / 1))
    recall = 2.0 * (math.log(1.0 / 0.5) / 2 - 0.25 * math.log(1.0 / 0.5))
    assert value == pytest.approx(finerank + recall)


def test_each_ratio_is_clipped_on_its_own() -> None:
    reward = config(clip=0.1, negatives_weight=0.0)
    assert log_reward(reward, Relevances((1.0, 0.0), ()), Relevances((0.0, 0.0), ())) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fusion": ()}, "fusion"),
        ({"fusion": (FusionTerm("s", a=1.0, b=0.0, gamma=1.0),)}, "fusion s"),
        ({"fusion": (FusionTerm("s", a=math.nan, b=1.0, gamma=1.0),)}, "fusion s"),
        ({"clip": 0.0}, "clip"),
        ({"clip": math.inf}, "clip"),
        ({"negatives_weight": -0.1}, "lambda"),
    ],
)
def test_config_without_a_finite_reward_is_refused(change, field) -> None:
    with pytest.raises(ValueError, match=field):
        Scorer(config(**change), CORPUS)


def test_copy_is_exactly_zero_and_costs_no_call() -> None:
    scorer = Scorer(config(), CORPUS)  # nothing listens at its URL
    ((score, wide),) = scorer.score([(row(), ["  Blue   SHOES ", "\uff42lue shoes\u200b"])])
    assert score.value == 0.0
    assert wide.value == 0.0


def test_empty_rewrite_is_worse_than_any_text() -> None:
    scorer = Scorer(config(), CORPUS)
    ((score, blank),) = scorer.score([(row(), ["", " \u200b "])])
    assert score.value == blank.value == lowest_reward(config()) < -2


def test_better_rewrite_scores_above_worse_and_query_is_asked_once() -> None:
    with service(honest) as running:
        scorer = Scorer(config(running.url), CORPUS)
        rows = [(row(), ["blue running shoes", "garden hose"])]
        ((good, bad),) = scorer.score(rows)
        scorer.score([(row(), ["running"])])
    assert good.value is not None and bad.value is not None
    assert good.value > 0 > bad.value
    asked = [each["query"] for body in running.bodies for each in body["requests"]]
    assert asked == ["blue shoes", "blue running shoes", "garden hose", "running"]
    assert scorer.relevance_model == "overlap@1"


def test_rows_that_cannot_be_scored_say_why_and_do_not_stop_others() -> None:
    with service(honest) as running:
        scorer = Scorer(config(running.url), CORPUS)
        scores = scorer.score(
            [
                (row(id="a", positives=()), ["x"]),
                (row(id="b", positives=("gone",)), ["x"]),
                (row(id="c", negatives=()), ["blue running shoes"]),
            ]
        )
    assert [score.missing for (score,) in scores] == ["NoPositives", "UnknownDocument", ""]
    assert scores[2][0].value == pytest.approx(math.log(1.3 / (0.3 + 2 / 3)))


def test_one_missing_document_score_makes_the_sample_missing() -> None:
    def forgetful(body):
        answer = honest(body)
        for index, request in enumerate(body["requests"]):
            if request["query"] == "running":
                answer["scores"][index][1] = None
        return answer

    with service(forgetful) as running:
        ((good, missing),) = Scorer(config(running.url), CORPUS).score([(row(), ["blue running shoes", "running"])])
    assert good.value is not None
    assert (missing.value, missing.missing) == (None, "NoScore")
