"""Log-probabilities of tokens and their gradient, against autograd's own way."""

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rewriter_trainer import token_logprobs as module  # noqa: E402
from rewriter_trainer.token_logprobs import token_logprobs  # noqa: E402

pytestmark = pytest.mark.ml

ROWS, VOCABULARY = 7, 11


def by_definition(logits: Any, rows: Any, tokens: Any) -> Any:
    return logits.double().log_softmax(dim=1)[rows, tokens]


def gradient(function: Any, logits: Any, rows: Any, tokens: Any, weights: Any) -> Any:
    leaf = logits.clone().requires_grad_()
    (function(leaf, rows, tokens) * weights).sum().backward()
    return leaf.grad


places = st.lists(
    st.tuples(st.integers(0, ROWS - 1), st.integers(0, VOCABULARY - 1), st.floats(-2, 2)), min_size=1, max_size=20
)


@settings(max_examples=50, deadline=None)
@given(places, st.integers(0, 1000), st.integers(1, ROWS * VOCABULARY))
def test_values_and_gradient_are_those_of_a_log_softmax(
    drawn: list[tuple[int, int, float]], seed: int, block: int
) -> None:
    """Rows that nobody asks for, rows that several ask for, blocks of every size."""
    logits = 5 * torch.randn(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    rows, tokens = (torch.tensor([place[axis] for place in drawn]).view(-1, 1) for axis in (0, 1))
    weights = torch.tensor([place[2] for place in drawn]).view(-1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.BLOCK_ELEMENTS, "cpu", block)
        values = token_logprobs(logits, rows, tokens)
        found = gradient(token_logprobs, logits, rows, tokens, weights)
    assert values.dtype == torch.float32 and values.shape == rows.shape
    assert torch.allclose(values.double(), by_definition(logits, rows, tokens), atol=1e-5)
    assert torch.allclose(found, gradient(by_definition, logits, rows, tokens, weights), atol=1e-5)


def test_logits_of_half_precision_lose_nothing_before_the_gradient_is_written() -> None:
    logits = torch.zeros(1, 4, dtype=torch.bfloat16)
    logits[0, 2] = 6.0  # p = 0.9926: one minus p in bfloat16 would be 0.0078
    rows, tokens = torch.tensor([0]), torch.tensor([2])
    assert token_logprobs(logits, rows, tokens).dtype == torch.float32
    found = gradient(token_logprobs, logits, rows, tokens, torch.ones(1))
    assert found.dtype == torch.bfloat16
    expected = 1 - float(logits.float().softmax(dim=1)[0, 2])
    assert float(found[0, 2]) == pytest.approx(expected, rel=0.01)


def test_the_logits_are_left_as_they_were() -> None:
    logits = torch.randn(ROWS, VOCABULARY)
    before = logits.clone()
    gradient(token_logprobs, logits, torch.tensor([1, 1]), torch.tensor([3, 4]), torch.ones(2))
    assert torch.equal(logits, before)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[3e38, -3e38, 0.0]])
    rows, tokens = torch.tensor([0, 0]), torch.tensor([0, 2])
    assert token_logprobs(logits, rows, tokens).tolist() == [0.0, pytest.approx(-3e38)]
    assert torch.isfinite(gradient(token_logprobs, logits, rows, tokens, torch.ones(2))).all()


def test_entropies_come_with_the_gradient_and_change_no_bit_of_values_or_gradient() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 5 * torch.randn(ROWS, VOCABULARY, generator=generator) + 40  # far from 0, as a model's are
    rows, tokens = torch.tensor([[0, 1, 1], [4, 6, 0]]), torch.tensor([[3, 4, 4], [0, 10, 2]])
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    found = {}
    for name, entropies in (("without", None), ("with", torch.zeros(ROWS))):
        leaf = logits.clone().requires_grad_()
        values = token_logprobs(leaf, rows, tokens, entropies)
        assert entropies is None or not entropies.any(), "nothing is known on the way forward"
        (values * weights).sum().backward()
        found[name] = (values.detach(), leaf.grad)
    assert torch.equal(found["with"][0], found["without"][0]) and torch.equal(found["with"][1], found["without"][1])
    distribution = logits.double().softmax(dim=1)
    assert entropies is not None
    expected = -(distribution * distribution.log()).sum(dim=1)
    assert torch.allclose(entropies.double(), expected, atol=1e-4)


def test_the_entropy_of_no_doubt_is_zero_and_that_of_no_knowledge_is_the_vocabulary() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0, 0.0], [7.0, 7.0, 7.0, 7.0]], requires_grad=True)
    entropies = torch.zeros(2)
    token_logprobs(logits, torch.tensor([0, 1]), torch.tensor([0, 2]), entropies).sum().backward()
    assert entropies.tolist() == pytest.approx([0.0, math.log(4)], abs=1e-5)
