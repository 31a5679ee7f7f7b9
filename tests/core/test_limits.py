"""Limits: inside, crossed, or in doubt; chance does not roll a candidate back, and does not promote it either."""

import random

import pytest

from rewriter_operator.api.release import Limits
from rewriter_operator.api.status import Counters
from rewriter_operator.core.limits import ALPHA, crossed_limit, limit_in_doubt
from rewriter_operator.core.traffic import Look

LIMITS = Limits(maxErrorRate=0.02, maxP95LatencyMs=300, maxEmptyRate=0.3, minRequests=20)


def answered(requests: int = 100, errors: int = 0, empty: int = 0, slow: int = 0) -> Look:
    """`slow` requests took 500 to 1000 ms, the others at most 50."""
    quick = requests - slow
    histogram = {"50": quick, "500": quick, "1000": requests, "+Inf": requests}
    return Look(Counters(requests=requests, errors=errors, empty=empty, latency_ms=histogram), Counters())


@pytest.mark.parametrize(
    "look_at, sentence",
    [
        pytest.param(answered(errors=10), "error rate 0.100 > 0.02 (10 of 100 requests)", id="errors"),
        pytest.param(answered(empty=55), "empty rate 0.550 > 0.3 (55 of 100 requests)", id="empty"),
        pytest.param(answered(slow=20), "p95 latency 875 ms > 300 ms (100 requests)", id="slow"),
        pytest.param(
            answered(requests=20, errors=20), "error rate 1.000 > 0.02 (20 of 20 requests)", id="nothing-works"
        ),
    ],
)
def test_a_crossed_limit_shows_its_numbers(look_at: Look, sentence: str) -> None:
    assert crossed_limit(look_at, LIMITS) == sentence
    assert limit_in_doubt(look_at, LIMITS) == sentence


@pytest.mark.parametrize(
    "look_at, sentence",
    [
        pytest.param(answered(requests=20, errors=1), "error rate 0.050 > 0.02 (1 of 20 requests)", id="one-error"),
        pytest.param(answered(empty=31), "empty rate 0.310 > 0.3 (31 of 100 requests)", id="empty"),
        pytest.param(answered(slow=6), "p95 latency 583 ms > 300 ms (100 requests)", id="slow"),
    ],
)
def test_what_chance_can_do_is_doubt(look_at: Look, sentence: str) -> None:
    assert crossed_limit(look_at, LIMITS) is None
    assert limit_in_doubt(look_at, LIMITS) == sentence


@pytest.mark.parametrize(
    "look_at",
    [
        pytest.param(answered(errors=2, empty=30, slow=5), id="at-every-limit"),
        pytest.param(answered(requests=19, errors=19), id="too-few-to-judge"),
        pytest.param(answered(requests=0), id="none"),
    ],
)
def test_inside_the_limits_is_neither(look_at: Look) -> None:
    assert crossed_limit(look_at, LIMITS) is None
    assert limit_in_doubt(look_at, LIMITS) is None


def test_a_limit_of_none_at_all_is_crossed_by_the_first() -> None:
    strict = Limits(maxErrorRate=0, maxEmptyRate=1, minRequests=1)
    assert crossed_limit(answered(requests=50, errors=1), strict) == "error rate 0.020 > 0.0 (1 of 50 requests)"
    assert crossed_limit(answered(requests=50, empty=50), strict) is None


def test_answers_beyond_the_last_bucket_cross_every_latency_limit() -> None:
    beyond = Look(Counters(requests=100, latency_ms={"50": 10, "+Inf": 100}), Counters())
    assert crossed_limit(beyond, LIMITS) == "p95 latency over every bucket > 300 ms (100 requests)"


def test_a_great_many_requests_are_judged_without_overflow() -> None:
    assert crossed_limit(answered(requests=10**9, errors=3 * 10**7), LIMITS) is not None
    assert crossed_limit(answered(requests=10**9, errors=10**7), LIMITS) is None


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_a_candidate_exactly_at_a_limit_is_seldom_taken_back_however_often_one_looks(rate: float) -> None:
    limits = Limits(maxErrorRate=rate, maxEmptyRate=1, minRequests=1)
    draw = random.Random(7)
    runs, taken_back = 400, 0
    for _ in range(runs):
        errors = 0
        for requests in range(1, 401):
            errors += draw.random() < rate
            if crossed_limit(answered(requests=requests, errors=errors), limits):
                taken_back += 1
                break
    assert taken_back <= 2 * ALPHA * runs


def test_twice_the_limit_is_found_within_some_hundred_requests() -> None:
    limits = Limits(maxErrorRate=0.1, maxEmptyRate=1, minRequests=1)
    draw, needed = random.Random(7), []
    for _ in range(50):
        errors = requests = 0
        while not crossed_limit(answered(requests=requests, errors=errors), limits):
            requests += 1
            errors += draw.random() < 0.2
        needed.append(requests)
    assert sorted(needed)[45] < 400
