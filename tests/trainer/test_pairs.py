"""Pairs: what may be paired with what, as examples and as properties of any samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_contract.messages import PairsConfig, Sample, SampleRow
from rewriter_contract.text import normalise
from rewriter_trainer.pairs import MAX_FORMAT_FAILURE_SHARE, PairSet, build_pairs, is_format_failure, pair_row
from tests.examples import examples

from .builders import row, sample

MARGIN = PairsConfig(top_k=2, margin=0.1)


def texts(pairs: PairSet) -> list[tuple[str, str]]:
    return [(pair.chosen.text, pair.rejected.text) for pair in pairs.pairs]


def test_the_best_is_paired_with_the_worst_and_the_second_with_the_second_worst() -> None:
    made = build_pairs([row("q", *[sample(f"s{i}", i / 10) for i in range(6)])], PairsConfig(top_k=2, margin=0.1))
    assert texts(made) == [("s5", "s0"), ("s4", "s1")]


def test_a_gap_of_exactly_the_margin_is_enough_and_less_is_not() -> None:
    rows = [row("a", sample("x", 0.5), sample("y", 0.25)), row("b", sample("x", 0.5), sample("y", 0.2501))]
    assert [pair.id for pair in build_pairs(rows, PairsConfig(margin=0.25)).pairs] == ["a"]


def test_equal_scores_make_no_pair_even_without_a_margin() -> None:
    assert not build_pairs([row("q", sample("x", 0.5), sample("y", 0.5))], PairsConfig(margin=0.0)).pairs


def test_texts_that_differ_in_case_width_or_space_are_one_sample() -> None:
    copies = row("q", sample("Red  Shoes", 0.9), sample("red shoes", 0.1), sample("\uff52ed shoes\u200b", -0.9))
    assert not build_pairs([copies], MARGIN).pairs


def test_a_missing_score_is_left_out_and_counted() -> None:
    made = build_pairs([row("q", sample("a", 1.0), sample("b", None), sample("c", 0.0))], MARGIN)
    assert texts(made) == [("a", "c")]
    assert (made.samples, made.missing, made.mean_score) == (3, 1, 0.5)
    assert made.missing_share == pytest.approx(1 / 3)


def test_a_cut_or_empty_completion_is_never_chosen() -> None:
    failing = row("q", sample("cut", 2.0, finished=False), sample("", 1.0), sample("good", 0.5), sample("bad", 0.0))
    assert texts(build_pairs([failing], MARGIN)) == [("good", "bad")]


def test_a_rewrite_that_the_gate_would_refuse_as_repetitive_is_never_chosen() -> None:
    stuffed = sample("boots boots boots winter", 2.0)
    made = build_pairs([row("q", stuffed, sample("winter boots", 0.5), sample("boots", 0.0))], MARGIN)
    assert texts(made) == [("winter boots", "boots")]
    assert is_format_failure(stuffed)
    assert not is_format_failure(sample("boots for boots", 0.0))  # three words are too few to say


def test_pairs_that_reject_a_format_failure_are_at_most_a_fifth() -> None:
    rows = [row(f"q{i}", sample("a", 1.0), sample("b", 0.5), sample("", -1.0)) for i in range(10)]
    made = build_pairs(rows, PairsConfig(top_k=1, margin=0.1))
    assert len(made.pairs) == 10  # capped queries fall back on their well-formed samples
    assert sum(is_format_failure(pair.rejected) for pair in made.pairs) == 2


def test_mu_minus_two_sigma_rejects_the_sample_nearest_to_it_and_not_an_outlier() -> None:
    scores = [-5.0, *[i / 100 for i in range(30)]]
    many = row("q", *[sample(f"s{score}", score) for score in scores])
    (at_min,) = pair_row(many, PairsConfig(top_k=1, margin=0.1, rejected_at="min"))
    (at_sigma,) = pair_row(many, PairsConfig(top_k=1, margin=0.1, rejected_at="mu-2sigma"))
    assert at_min.rejected.score == -5.0
    assert at_sigma.rejected.score == 0.0  # mean - 2 sigma is about -1.8: 0.0 is nearer than -5.0
    assert at_sigma.chosen == at_min.chosen


def test_an_unknown_rejected_at_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"pairs\.rejectedAt is 'median'"):
        build_pairs([], PairsConfig(rejected_at="median"))


SAMPLES = st.builds(
    Sample,
    text=st.sampled_from(["", " ", "a", "A", "b", "b ", "c d", "C  D", "e", "f", "g"]),
    score=st.none() | st.floats(-2, 2),
    finished=st.booleans(),
)
ROWS = st.lists(st.lists(SAMPLES, max_size=10), max_size=12).map(
    lambda groups: [row(f"q{index}", *group) for index, group in enumerate(groups)]
)
CONFIGS = st.builds(
    PairsConfig, top_k=st.integers(1, 4), margin=st.floats(0, 1), rejected_at=st.sampled_from(["min", "mu-2sigma"])
)


@examples(25)
@given(ROWS, CONFIGS)
def test_whatever_was_sampled_every_pair_is_one_to_learn_from(rows: list[SampleRow], config: PairsConfig) -> None:
    made = build_pairs(rows, config)
    for pair in made.pairs:
        assert pair.chosen.score is not None and pair.rejected.score is not None
        assert pair.chosen.score > pair.rejected.score
        assert pair.chosen.score - pair.rejected.score >= config.margin
        assert normalise(pair.chosen.text) != normalise(pair.rejected.text)
        assert not is_format_failure(pair.chosen)
    failures = sum(is_format_failure(pair.rejected) for pair in made.pairs)
    assert failures <= MAX_FORMAT_FAILURE_SHARE * len(made.pairs)
    assert made.queries_with_pairs == len({pair.id for pair in made.pairs}) <= made.queries == len(rows)
    assert made.missing <= made.samples == sum(len(item.samples) for item in rows)


@examples(25)
@given(ROWS, CONFIGS)
def test_a_query_gives_at_most_top_k_pairs_and_uses_no_sample_on_both_sides(
    rows: list[SampleRow], config: PairsConfig
) -> None:
    for item in rows:
        pairs = pair_row(item, config)
        assert len(pairs) <= config.top_k
        chosen = {normalise(pair.chosen.text) for pair in pairs}
        assert chosen.isdisjoint(normalise(pair.rejected.text) for pair in pairs)
