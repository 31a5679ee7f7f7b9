"""The reward's expressions: CEL's meaning on the part that is taken, a sentence for everything else."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewriter_contract.expression import MAX_CHARACTERS, MAX_DEPTH, ExpressionError, Kind, compile_expression
from rewriter_contract.terms import TERMS

celpy = pytest.importorskip("celpy")

ENVIRONMENT = celpy.Environment()  # here, because it raises the recursion limit, which hypothesis holds on to
KINDS = {"logR": Kind.NUMBER, "lengthRatio": Kind.NUMBER, "formatOk": Kind.TRUTH, "numbersKept": Kind.TRUTH}
VALUES: dict[str, float | bool] = {"logR": 0.25, "lengthRatio": 3.0, "formatOk": True, "numbersKept": False}


@pytest.mark.parametrize(
    "text, value",
    [
        ("logR", 0.25),
        ("logR - 0.5", -0.25),
        ("-logR", -0.25),
        ("--logR", 0.25),
        ("2.0 * logR + lengthRatio / 3.0", 1.5),
        ("1.0 - 0.5 - 0.25", 0.25),
        ("8.0 / 2.0 / 2.0", 2.0),
        ("1e-1 + 1.5E1", 15.1),
        ("formatOk ? logR : 0.0", 0.25),
        ("numbersKept ? 1.0 : formatOk ? 2.0 : 3.0", 2.0),
        ("(numbersKept || formatOk) && !numbersKept ? 1.0 : 0.0", 1.0),
        ("!!formatOk == true ? 1.0 : 0.0", 1.0),
        ("lengthRatio >= 3.0 && lengthRatio <= 3.0 && lengthRatio != 2.0 ? 1.0 : 0.0", 1.0),
        ("lengthRatio > 3.0 || lengthRatio < 3.0 ? 1.0 : 0.0", 0.0),
    ],
)
def test_what_an_expression_means(text: str, value: float) -> None:
    assert compile_expression(text, KINDS).value(VALUES) == pytest.approx(value)


@pytest.mark.parametrize("text, value", [("1.0 / 0.0", math.inf), ("-1.0 / 0.0", -math.inf), ("1.0 / -0.0", -math.inf)])
def test_dividing_by_nothing_is_no_exception(text: str, value: float) -> None:
    assert compile_expression(text, KINDS).value(VALUES) == value
    assert math.isnan(compile_expression("0.0 / 0.0", KINDS).value(VALUES))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "character 1: ends too early"),
        ("logR +", "character 7: ends too early"),
        ("logR - 1", "character 8: 1 is an integer in CEL; write 1.0"),
        ("logR - relevance", "no term is called relevance; there are formatOk, lengthRatio, logR, numbersKept"),
        ("size(query)", "no term is called size"),
        ("logR(1.0)", "logR is a term and cannot be called; an expression has no functions"),
        ("query.contains('x')", "no term is called query"),
        ("logR.x", "character 5: '.' has no meaning here"),
        ("'text'", 'character 1: "\'" has no meaning here'),
        ("[1.0][0]", "'[' has no meaning here"),
        ("logR logR", "character 6: 'logR' is too much"),
        ("(logR", "`)` is missing"),
        ("formatOk ? logR", "`:` is missing after `?`"),
        ("formatOk", "gives true or false; a reward is a number"),
        ("logR ? 1.0 : 0.0", "a number stands before ?, where true or false is wanted"),
        ("formatOk ? 1.0 : true", "true or false stands after :, where a number is wanted"),
        ("formatOk + 1.0", "true or false stands beside +, where a number is wanted"),
        ("logR && formatOk ? 1.0 : 0.0", "a number stands beside &&"),
        ("formatOk == 1.0 ? 1.0 : 0.0", "a number stands after ==, where true or false is wanted"),
        ("1.0 < logR < 2.0 ? 1.0 : 0.0", "true or false stands beside <"),
        ("-formatOk", "true or false stands after -"),
        ("!logR ? 1.0 : 0.0", "a number stands after !"),
        ("!-logR", "takes `!` of a number, or `-` of a truth value"),
        ("(" * (MAX_DEPTH + 1) + "logR" + ")" * (MAX_DEPTH + 1), "is nested deeper than"),
        ("-" * 100 + "logR", "takes `!` of a number"),
        ("logR" + " + logR" * 200, f"has 1404 characters; at most {MAX_CHARACTERS}"),
        ("logR; import os", "';' has no meaning here"),
        ("__import__", "no term is called __import__"),
    ],
)
def test_everything_else_is_refused_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text, KINDS)
    assert sentence in str(refused.value)


numbers = st.sampled_from(["logR", "lengthRatio"]) | st.floats(0, 100, allow_subnormal=False).map(lambda x: f"{x:.3f}")
truths = st.sampled_from(["formatOk", "numbersKept", "true", "false"])


def _grown(sides: tuple[st.SearchStrategy[str], st.SearchStrategy[str]]) -> Any:
    number, truth = sides
    grown_number = st.one_of(
        number,
        st.builds("({} {} {})".format, number, st.sampled_from("+-*"), number),
        st.builds("({} / {})".format, number, st.floats(0.25, 8).map("{:.3f}".format)),  # of 0.0 / 0.0 celpy says inf
        st.builds("{} {} {}".format, number, st.sampled_from("+-*"), number),
        st.builds("({} ? {} : {})".format, truth, number, number),
        st.builds("-({})".format, number),
    )
    grown_truth = st.one_of(
        truth,
        st.builds("({} {} {})".format, number, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), number),
        st.builds("({} {} {})".format, truth, st.sampled_from(["&&", "||", "==", "!="]), truth),
        st.builds("!({})".format, truth),
    )
    return grown_number, grown_truth


GROWN = _grown(_grown(_grown((numbers, truths))))[0]


@settings(max_examples=150, deadline=None)
@given(GROWN, st.floats(-5, 5), st.floats(0, 9), st.booleans(), st.booleans())
def test_a_cel_interpreter_agrees(text: str, log_r: float, ratio: float, first: bool, second: bool) -> None:
    values = {"logR": log_r, "lengthRatio": ratio, "formatOk": first, "numbersKept": second}
    ours = compile_expression(text, KINDS).value(values)
    program = ENVIRONMENT.program(ENVIRONMENT.compile(text))
    given = {
        name: celpy.celtypes.BoolType(value) if isinstance(value, bool) else celpy.celtypes.DoubleType(value)
        for name, value in values.items()
    }
    assert ours == pytest.approx(float(program.evaluate(given)))


def test_the_longest_sum_is_computed() -> None:
    text = "+".join(["1e0"] * (MAX_CHARACTERS // 4))
    assert compile_expression(text, TERMS).value({}) == MAX_CHARACTERS // 4
