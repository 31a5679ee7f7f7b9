import math
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_operator.core.statistics import (
    binomial_at_least,
    bootstrap,
    bootstrap_mean,
    holm,
    mcnemar,
    quantile,
    sign_flip_loss,
    spearman,
    tail_mean,
)
from tests.examples import examples


def test_binomial_tail_against_exact_sums() -> None:
    for hits, rate in product(range(12), (0.02, 0.3, 0.5)):
        exact = sum(math.comb(11, k) * rate**k * (1 - rate) ** (11 - k) for k in range(hits, 12))
        assert binomial_at_least(hits, 11, rate) == pytest.approx(exact)
    assert binomial_at_least(1, 10, 0.0) == 0.0
    assert binomial_at_least(3, 10, 1.0) == 1.0
    assert 0 < binomial_at_least(1100, 2000, 0.5) < 1e-5


def test_mcnemar_against_the_textbook() -> None:
    # 9 of 10 discordant pairs worse: (10 + 1) / 2^10
    assert mcnemar(worse=9, better=1) == pytest.approx(11 / 1024)
    assert mcnemar(worse=0, better=0) == 1.0


def test_holm_against_a_hand_computed_case() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@examples(20)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_value(p_values) -> None:
    assert all(adjusted >= p_value for adjusted, p_value in zip(holm(p_values), p_values, strict=True))


def test_quantile_interpolates_between_order_statistics() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([1.0, 2.0, 3.0], 1.0) == 3.0
    assert quantile([7.0], 0.3) == 7.0


def test_tail_mean_is_the_mean_of_the_worst() -> None:
    assert tail_mean([float(i) for i in range(100)], 0.05) == 2.0
    assert tail_mean([3.0, 1.0], 0.05) == 1.0


def test_spearman_against_a_case_with_ties() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1.0)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486832980505138)
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_sign_flip_against_full_enumeration() -> None:
    differences = [-0.3, -0.2, 0.1, -0.4, 0.05, -0.25, 0.0]
    moved = [value for value in differences if value]
    sums = [sum(sign * value for sign, value in zip(signs, moved, strict=True)) for signs in product((1, -1), repeat=6)]
    exact = sum(total <= sum(moved) + 1e-12 for total in sums) / len(sums)
    assert sign_flip_loss(differences, 20_000, Random(1)) == pytest.approx(exact, abs=0.01)
    assert sign_flip_loss([0.0, 0.0], 100, Random(1)) == 1.0


def test_bootstrap_of_equal_values_is_a_point() -> None:
    found = bootstrap_mean([0.1] * 40, 0.05, 100, Random(1))
    assert found.low == found.estimate == found.high


def test_bootstrap_bounds_agree_with_student_on_normal_data() -> None:
    random = Random(3)
    values = [random.gauss(0.2, 1.0) for _ in range(200)]
    found = bootstrap_mean(values, 0.05, 2000, Random(1))
    centre = sum(values) / 200
    half = 1.6525 * math.sqrt(sum((value - centre) ** 2 for value in values) / 199 / 200)
    assert found.low == pytest.approx(centre - half, abs=0.02)
    assert found.high == pytest.approx(centre + half, abs=0.02)


def test_bootstrap_lower_bound_is_wrong_about_as_often_as_it_says() -> None:
    """Skewed differences, mostly zero, as in real gates: 300 trials at alpha 0.05."""
    random, wrong = Random(5), 0
    for _ in range(300):
        values = [random.gauss(0, 0.2) if random.random() < 0.5 else 0.0 for _ in range(60)]
        wrong += bootstrap_mean(values, 0.05, 100, random).low > 0
    assert 0.02 < wrong / 300 < 0.09


@examples(25)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(1e-9, 0.2))
def test_bounds_are_finite_ordered_and_within_the_data(values, alpha) -> None:
    found = bootstrap_mean(values, alpha, 50, Random(1))
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack


def test_same_seed_gives_the_same_bounds() -> None:
    values = [Random(2).gauss(0, 1) for _ in range(30)]
    assert bootstrap(values, sum, 0.05, 50, Random(9)) == bootstrap(values, sum, 0.05, 50, Random(9))
