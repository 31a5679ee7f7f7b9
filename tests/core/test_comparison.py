"""The candidate beside the incumbents: worse, not worse, or it may be chance."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_operator.api.release import Comparison
from rewriter_operator.api.status import Counters
from rewriter_operator.core.anytime import at_least, at_most, exceeds
from rewriter_operator.core.comparison import ALPHA, comparison_in_doubt, crossed_comparison
from rewriter_operator.core.cycle import APPROVE_ANNOTATION
from rewriter_operator.core.intents import step_approval
from rewriter_operator.core.traffic import Look
from tests.builders import make_spec, stage
from tests.core.test_rollout import passed, rolled_back, with_share
from tests.examples import examples


def crossed(look: Look, error: float = 0.01, empty: float = 1.0, min_requests: int = 20) -> str | None:
    return crossed_comparison(look, _comparison(error, empty), min_requests)


def in_doubt(look: Look, error: float = 0.01, empty: float = 1.0) -> str | None:
    return comparison_in_doubt(look, _comparison(error, empty), 20)


def _comparison(error: float, empty: float) -> Comparison:
    return Comparison(max_error_rate_increase=error, max_empty_rate_increase=empty)


def beside(candidate: tuple[int, int], others: tuple[int, int]) -> Look:
    """(errors, requests) of each side."""
    return Look(*(Counters(requests=requests, errors=errors) for errors, requests in (candidate, others)))


def test_worse_than_the_incumbents_beyond_chance_shows_both_sides() -> None:
    look = beside((60, 400), (4, 1200))
    sentence = "error rate 0.150 > 0.003 of the incumbents + 0.01 (60 of 400 requests, 4 of 1200)"
    assert crossed(look) == in_doubt(look) == sentence


def test_worse_by_what_chance_can_do_is_doubt() -> None:
    look = beside((2, 40), (0, 120))
    assert crossed(look) is None
    assert "error rate 0.050 > 0.000" in (in_doubt(look) or "")


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(beside((100, 400), (300, 1200)), id="both-suffer-alike"),
        pytest.param(beside((0, 400), (300, 1200)), id="better"),
        pytest.param(beside((19, 19), (0, 1200)), id="the-candidate-answered-too-few"),
        pytest.param(beside((300, 400), (0, 19)), id="the-incumbents-answered-too-few"),
        pytest.param(beside((300, 400), (0, 0)), id="nobody-beside-it"),
    ],
)
def test_as_good_as_the_incumbents_or_not_to_be_told_is_neither(look: Look) -> None:
    assert crossed(look) is None
    assert in_doubt(look) is None


def test_an_increase_of_one_compares_nothing() -> None:
    look = Look(Counters(requests=100, errors=100, empty=100), Counters(requests=100))
    assert in_doubt(look, error=1) is None
    assert "empty rate 1.000 > 0.000 of the incumbents + 0.2" in (crossed(look, 1, 0.2) or "")


@examples(60)
@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.2, 0.05, 0.005]))
def test_the_bounds_hold_what_was_seen_and_agree_with_the_test(requests: int, part: float, alpha: float) -> None:
    bad = round(part * requests)
    low, high = at_least(bad, requests, alpha), at_most(bad, requests, alpha)
    assert 0 <= low <= bad / requests <= high <= 1
    if low > 1e-6:
        assert exceeds(bad, requests, low * 0.999, alpha)
    if low + 1e-6 < bad / requests:
        assert not exceeds(bad, requests, low + 1e-6, alpha)


def test_an_equal_candidate_is_seldom_taken_back_however_often_one_looks() -> None:
    draw = random.Random(11)
    runs, taken_back = 60, 0
    for _ in range(runs):
        candidate = others = 0
        for requests in range(1, 301):
            candidate += draw.random() < 0.1
            others += draw.random() < 0.1
            if requests % 10 == 0 and crossed(
                beside((candidate, requests), (others, requests)), error=0.0, min_requests=1
            ):
                taken_back += 1
                break
    assert taken_back <= 1 + 2 * ALPHA * runs


def test_a_candidate_that_is_worse_than_the_incumbents_is_taken_back_inside_its_limits() -> None:
    story = with_share(make_spec(**{"rollout.limits.maxErrorRate": 0.5}))
    story.behaviour.candidate_error_rate = 0.2
    message = rolled_back(story, "LimitCrossed")
    assert message.startswith("finerank: error rate 0.")
    assert "of the incumbents + 0.01" in message


@pytest.mark.parametrize(
    ("steps", "held_for"),
    [
        ([], 15 * 60),
        ([{"pause": {"duration": "5m"}}], 20 * 60),
        ([{"analysis": {"minRequests": 50, "deadline": "10m"}}], 10 * 60),
        ([{"pause": {}}], 15 * 60),
    ],
    ids=["the next share", "after a pause", "an analysis", "once it was approved"],
)
def test_what_may_be_chance_holds_a_step_until_its_deadline_and_takes_nothing_back(
    steps: list[dict[str, Any]], held_for: int
) -> None:
    """Half of all candidates that are as good as the incumbents look worse; the goal is one in twenty taken back."""
    plan = [stage("finerank", {"setShare": 10}, *steps, {"setShare": 100})]
    spec = make_spec(
        **{
            "rollout.stages": plan,
            "rollout.limits.maxErrorRate": 1.0,
            "rollout.comparison.maxErrorRateIncrease": 0.19,
            "rollout.verification.timeout": "15m",
        }
    )
    story = passed(spec, candidate_error_rate=0.2).until(lambda story: story.status.stages[0].verified)
    if steps == [{"pause": {}}]:
        story.wait(5)
        assert story.status.cycle is not None
        story.annotations[APPROVE_ANNOTATION] = step_approval(story.status.cycle, story.status.stages[0])
    for _ in range(held_for // 60 - 1):
        story.wait(60)
    assert story.share() == 10
    assert "of the incumbents + 0.19" in story.status.stages[0].message
    assert story.cycle_ends() == "Promoted"
    (risen,) = [note.message for note in story.notes if note.reason == "ShareSet" and "10 % -> 100 %" in note.message]
    assert "worse by what may be chance: error rate 0." in risen
