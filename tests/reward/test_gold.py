import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewriter_sampler.gold import NO_GOLD, SearchClient, SearchFailed, ndcg, recall

from .reward_builder import row, service

LABELS = {"a": 3.0, "b": 2.0, "c": 1.0, "z": 0.0}


def test_ndcg_against_a_hand_computed_case() -> None:
    # gains 2^grade - 1: a=7, b=3, c=1; ranking x, b, a
    found = 0 / 1 + 3 / math.log2(3) + 7 / math.log2(4)
    ideal = 7 / 1 + 3 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["x", "b", "a"], LABELS, 10) == pytest.approx(found / ideal)


def test_ndcg_is_one_for_the_ideal_order_and_zero_for_nothing_found() -> None:
    assert ndcg(["a", "b", "c"], LABELS, 10) == pytest.approx(1.0)
    assert ndcg(["x", "y", "z"], LABELS, 10) == 0.0
    assert ndcg([], LABELS, 10) == 0.0


def test_ndcg_sees_only_its_depth_on_both_sides() -> None:
    labels = {f"d{i}": 1.0 for i in range(20)}
    assert ndcg([f"d{i}" for i in range(10)], labels, 10) == pytest.approx(1.0)
    assert ndcg(["x"] * 10 + ["d1"], labels, 10) == 0.0


def test_recall_counts_positive_grades_within_depth() -> None:
    assert recall(["x", "a", "z"], LABELS, 100) == pytest.approx(1 / 3)
    assert recall(["x", "a"], LABELS, 1) == 0.0


@pytest.mark.parametrize("labels", [{}, {"a": 0.0}, {"a": -1.0}])
def test_without_a_relevant_document_there_is_no_gold(labels) -> None:
    assert ndcg(["a"], labels, 10) is None
    assert recall(["a"], labels, 10) is None


@settings(max_examples=40, deadline=None)
@given(st.permutations(["a", "b", "c", "z", "x", "y"]))
def test_ndcg_stays_between_zero_and_one(ranking) -> None:
    value = ndcg(ranking, LABELS, 10)
    assert value is not None and 0 <= value <= 1 + 1e-12


def search(url: str) -> SearchClient:
    return SearchClient(url, 2.0, backoff_seconds=0.01)


def test_search_is_asked_with_the_rewrites_and_depth_100() -> None:
    with service(lambda body: {"results": [["a"] for _ in body["requests"]]}) as running:
        (gold,) = search(running.url).measure([(row(labels={"a": 1.0}), ["blue boots"])])
    assert running.bodies == [{"requests": [{"query": "blue shoes", "rewrites": ["blue boots"]}], "k": 100}]
    assert (gold.ndcg10, gold.recall100) == (1.0, 1.0)


@pytest.mark.parametrize(
    "results", [[["a", "a"]], [[1]], ["a"], [], {"0": ["a"]}, None], ids=["twice", "ints", "str", "few", "dict", "none"]
)
def test_ranking_that_cannot_be_trusted_gives_no_gold(results) -> None:
    with service(lambda _: {"results": results}) as running:
        assert search(running.url).measure([(row(labels={"a": 1.0}), [])]) == [NO_GOLD]


def test_search_that_stays_away_ends_the_order() -> None:
    with service(lambda _: {}) as running:
        running.statuses += [404] * 3
        asking = search(running.url)
        with pytest.raises(SearchFailed, match="Http404"):
            asking.measure([(row(id=str(i)), []) for i in range(16 * 3)])
