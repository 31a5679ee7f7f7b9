"""The serving config that the operator reads: usable constants, or a sentence that says what is wrong."""

import pytest

from rewriter_operator.core.world import Fusion


def read_fusion(text: str, key: str) -> Fusion:
    """The operator's; loaded when it is called, because it comes with the Kubernetes client, which takes a second."""
    from rewriter_operator.cluster.observe import read_fusion as read

    return read(text, key)


def test_constants_are_read_in_a_fixed_order() -> None:
    text = '{"stages": {"recall": {"a": 2, "b": 0.1, "gamma": 0.5}, "finerank": {"a": 1, "b": 0.3, "gamma": 1}}}'
    found = read_fusion(text, "fusion.json")
    assert [term.stage for term in found.terms] == ["finerank", "recall"]
    assert found.problem == ""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="no-json"),
        pytest.param("[]", id="a-list"),
        pytest.param("{}", id="no-stages"),
        pytest.param('{"stages": {}}', id="no-stage"),
        pytest.param('{"stages": {"finerank": 1}}', id="a-number"),
        pytest.param('{"stages": {"finerank": {"a": 1, "b": 0.3}}}', id="gamma-missing"),
        pytest.param('{"stages": {"finerank": {"a": 1, "b": 0.3, "gamma": 1, "c": 1}}}', id="unknown-field"),
        pytest.param('{"stages": {"finerank": {"a": 1, "b": 0, "gamma": 1}}}', id="b-zero"),
        pytest.param('{"stages": {"finerank": {"a": -1, "b": 0.3, "gamma": 1}}}', id="a-negative"),
        pytest.param('{"stages": {"finerank": {"a": NaN, "b": 0.3, "gamma": 1}}}', id="a-nan"),
        pytest.param('{"stages": {"finerank": {"a": Infinity, "b": 0.3, "gamma": 1}}}', id="a-infinite"),
        pytest.param('{"stages": {"finerank": {"a": 1, "b": 1e999, "gamma": 1}}}', id="b-overflows"),
    ],
)
def test_what_cannot_be_used_is_a_problem_and_never_an_empty_reward(text: str) -> None:
    found = read_fusion(text, "fusion.json")
    assert found.problem.startswith("fusion.json")
    assert found.terms == ()
