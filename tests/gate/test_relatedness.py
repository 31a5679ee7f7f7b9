"""A rewrite belongs to its query, to another one, to none, or to all: told from the queries alone."""

from rewriter_contract.messages import EvidenceRow
from rewriter_operator.core.gate_relatedness import OTHERS, told_apart

PEOPLE = ("nurses", "hikers", "dancers", "waiters", "children", "sailors", "climbers", "cyclists", "skaters", "cooks")
SHOES = tuple(f"shoes for {who}" for who in PEOPLE)


def is_unrelated(query: str, *rewrites: str, among: tuple[str, ...] = SHOES) -> bool | None:
    row = EvidenceRow("q", "", rewrites, 0.0, 0.5, 0.5, 1.0, False, 0.0, True, query=query)
    return told_apart((*among, query)).is_unrelated(row)


def test_rewrite_that_keeps_what_tells_its_query_apart_is_related() -> None:
    assert is_unrelated("shoes for nurses", "comfortable nursing shoes") is False
    assert is_unrelated("shoes for nurses", "nurses") is False


def test_rewrite_of_another_query_is_unrelated_although_both_say_shoes() -> None:
    assert is_unrelated("shoes for nurses", "shoes for hikers") is True
    assert is_unrelated("shoes for nurses", "shoes") is True, "as near to every other query"


def test_rewrite_that_says_everything_is_no_querys_own() -> None:
    assert is_unrelated("shoes for nurses", " ".join(PEOPLE)) is True


def test_rewrite_without_a_word_of_the_query_is_unrelated() -> None:
    assert is_unrelated("sneakers", "running shoes") is True
    assert is_unrelated("\u7dd1\u8336", "\u7d05\u8336 \u7dd1") is False, "letters, where there are no spaces"


def test_several_rewrites_of_a_query_count_as_one_text() -> None:
    assert is_unrelated("shoes for nurses", "footwear", "nurse clogs") is False


def test_queries_asked_again_and_again_do_not_stand_against_themselves() -> None:
    assert is_unrelated("iphone 15", "iphone 15 smartphone", among=("iphone 15",) * 50 + SHOES) is False


def test_nothing_is_concluded_without_words() -> None:
    assert is_unrelated("???", "running shoes") is None
    assert is_unrelated("running shoes") is None


def test_only_some_of_many_queries_are_looked_at() -> None:
    queries = told_apart(tuple(f"query {number}" for number in range(1000)))
    assert 0 < len(queries.others) <= OTHERS
