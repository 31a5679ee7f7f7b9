"""What the terms say of texts; each is true where the query asks for nothing of the kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewriter_contract.expression import Kind
from rewriter_contract.messages import STAGES, DataRow
from rewriter_contract.terms import LOG_R, TERMS, TRUTHS, text_terms


def terms(query: str, rewrite: str, target: str = "") -> dict[str, float | bool]:
    return text_terms(DataRow("q", query, target=target), rewrite)


@pytest.mark.parametrize(
    "name, query, kept, lost",
    [
        ("numbersKept", "kettle 1.5 l", "kettle of 1.5 litres", "kettle of 15 litres"),
        ("unitsKept", "bottle 500 ml", "500ml bottle", "500 l bottle"),
        ("negationsKept", "yoghurt without sugar", "sugar-free yoghurt", "yoghurt with sugar"),
        ("namesKept", "headphones wh1000xm4", "sony wh1000xm4", "sony headphones"),
        ("scriptKept", "чайник", "электрический чайник", "kettle"),
        ("scriptKept", "apple watch", "apple watch series", "\u0430pple watch"),
        ("formatOk", "kettle", "electric kettle", "rewrite: kettle"),
    ],
)
def test_a_broken_term(name: str, query: str, kept: str, lost: str) -> None:
    assert terms(query, kept)[name] is True
    assert terms(query, lost)[name] is False
    assert terms("kettle", "electric kettle")[name] is True, "nothing was asked for"


@pytest.mark.parametrize(
    "target, rewrite, kept",
    [
        ("", "anything", True),
        ("Deutsche Bahn", "deutsche bahn timetable", True),
        ("Deutsche Bahn", "timetable of the Deutsche Bahn", True),
        ("Deutsche Bahn", "bahn deutsche", False),
        ("Deutsche Bahn", "deutsche lufthansa bahn", False),
        ("Deutsche Bahn", "", False),
    ],
)
def test_a_target_is_kept_word_for_word(target: str, rewrite: str, kept: bool) -> None:
    assert terms("db", rewrite, target)["targetKept"] is kept


def test_numbers_of_a_text() -> None:
    found = terms("red shoes", "red red running shoes")
    assert (found["words"], found["queryWords"], found["lengthRatio"], found["repetition"]) == (4.0, 2.0, 2.0, 0.5)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_every_term_has_its_kind_whatever_the_texts(query: str, rewrite: str) -> None:
    found = terms(query, rewrite)
    assert {LOG_R, *STAGES, *found} == {*TERMS}
    for name, value in found.items():
        assert isinstance(value, bool if TERMS[name] is Kind.TRUTH else float)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abc 1 5kg no-", min_size=1, max_size=40))
def test_a_query_keeps_what_it_asks_for(query: str) -> None:
    found = terms(query, query)
    assert all(found[name] for name in TRUTHS if name != "formatOk")
