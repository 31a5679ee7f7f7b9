"""Batches of completions against one sequence at a time, whichever way they are laid out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from rewriter_contract.messages import MpoConfig  # noqa: E402
from rewriter_trainer.layouts import (  # noqa: E402
    Layout,
    PackedLayout,
    PaddedLayout,
    micro_batches,
    sequences_of,
)
from rewriter_trainer.loss import PairLogProbs, RunningMean, StepSize, mpo_loss  # noqa: E402
from rewriter_trainer.scorer import CompletionScorer  # noqa: E402
from rewriter_trainer.sequences import TokenPair, TokenSequence  # noqa: E402

from .tiny_model import make_model  # noqa: E402

pytestmark = pytest.mark.ml

LAYOUTS = [PaddedLayout(pad_id=0), PackedLayout()]

SEQUENCES = [
    TokenSequence((5, 9, 12, 40), (7, 30, 8)),
    TokenSequence((5, 9, 12, 40), (7, 30, 9)),
    TokenSequence((5,), (9, 9, 9, 9, 2)),
    TokenSequence((60, 61, 62, 63, 64, 65, 66), (10,)),
    TokenSequence((5, 9, 12, 40), (8, 7, 30, 8, 7)),
    TokenSequence((5, 6), ()),
]

PAIRS = [
    TokenPair(TokenSequence(prompt, chosen), TokenSequence(prompt, rejected))
    for prompt in (tuple(range(20, 50)), (*range(20, 40), 99, 98), (*range(20, 44), 7))
    for chosen, rejected in (((3, 4, 5, 1), (3, 4, 9, 9, 9, 1)), ((8, 1), (11, 12, 13, 1)))
]
"""Three queries of one template, two pairs each."""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model(directory)
    return directory


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()


def plain_logprob(model: Any, sequence: TokenSequence) -> Any:
    """The sum by the definition: all logits of one unpadded sequence."""
    ids = [*sequence.prompt, *sequence.completion]
    logprobs = model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    start = len(sequence.prompt)
    return sum((logprobs[position - 1, ids[position]] for position in range(start, len(ids))), torch.zeros(()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_layout_changes_no_log_probability(model_dir: Path, layout: Layout, attention: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation=attention).eval()
    with torch.no_grad():
        expected = [float(plain_logprob(model, sequence)) for sequence in SEQUENCES]
        found = CompletionScorer(model)(layout.batch(SEQUENCES)).tolist()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_no_gradient(model_dir: Path, layout: Layout) -> None:
    one, two = (AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval() for _ in range(2))
    weights = torch.arange(1.0, len(SEQUENCES) + 1)
    sum(w * plain_logprob(one, sequence) for w, sequence in zip(weights, SEQUENCES, strict=True)).backward()
    (CompletionScorer(two)(layout.batch(SEQUENCES)) * weights).sum().backward()
    for (name, expected), found in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.allclose(found.grad, expected.grad, rtol=1e-4, atol=1e-5), name


tokens = st.integers(min_value=2, max_value=5)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.lists(tokens, min_size=1, max_size=6), st.lists(tokens, max_size=5)), min_size=1, max_size=8)
)
def test_packed_sequences_that_begin_alike_do_not_see_each_other(
    model: Any, drawn: list[tuple[list[int], list[int]]]
) -> None:
    sequences = [TokenSequence(tuple(prompt), tuple(completion)) for prompt, completion in drawn]
    with torch.no_grad():
        expected = [float(plain_logprob(model, sequence)) for sequence in sequences]
        found = CompletionScorer(model)(PackedLayout().batch(sequences)).tolist()
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_shared_beginning_is_computed_once() -> None:
    batch = PackedLayout().batch(SEQUENCES)
    # 4 of the first prompt and 2 of its completion, whose last token only the second one differs in; 3 of the third
    # sequence, which begins with 5 9; 7 of the fourth; 4 of the fifth completion; the 6 after 5.
    assert batch.input_ids.shape == (1, 6 + 3 + 7 + 4 + 1) == (1, PackedLayout().size(SEQUENCES))


def test_the_last_token_of_a_completion_is_predicted_and_not_computed() -> None:
    for layout in LAYOUTS:
        batch = layout.batch([TokenSequence((5, 6), (7, 8, 99))])
        assert 99 not in batch.input_ids and batch.targets[0].tolist() == [7, 8, 99]
    assert PaddedLayout(0).size(SEQUENCES) == PaddedLayout(0).batch(SEQUENCES).input_ids.numel() == 6 * 11


def test_a_completion_of_two_pairs_is_computed_once() -> None:
    assert PackedLayout().size(SEQUENCES[:1] * 2) == len(SEQUENCES[0]) - 1


@pytest.mark.parametrize(("layout", "columns"), [(LAYOUTS[0], 6 * 5), (LAYOUTS[1], 3 + 5 + 1 + 4 + 1)])
def test_only_columns_that_predict_a_completion_reach_the_vocabulary(model: Any, layout: Layout, columns: int) -> None:
    shapes: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda _, inputs, output: shapes.append(output[..., 0].numel()))
    CompletionScorer(model)(layout.batch(SEQUENCES))
    hook.remove()
    assert shapes == [columns]


def loss_curve(model_dir: Path, layout: Layout) -> list[float]:
    """The losses of twelve optimizer steps of two micro-batches, with a reference and a running delta."""
    torch.manual_seed(0)
    policy = CompletionScorer(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval())
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    parts = [[0, 1, 2, 3], [4, 5]]
    batches = [layout.batch(sequences_of([PAIRS[index] for index in part])) for part in parts]
    with torch.no_grad():
        references = [policy(batch).chunk(2) for batch in batches]
    size = StepSize(len(PAIRS), sum(len(pair.chosen.completion) for pair in PAIRS))
    losses, delta = [], RunningMean()
    for _ in range(12):
        before, loss = delta.value, 0.0
        for batch, reference in zip(batches, references, strict=True):
            terms = mpo_loss(PairLogProbs(*policy(batch).chunk(2), *reference), MpoConfig(), before, size)
            terms.total.backward()
            loss += float(terms.total.detach())
            delta = delta.including(terms.chosen_rewards).including(terms.rejected_rewards)
        losses.append(loss)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_loss_curves_are_the_same_in_both_layouts(model_dir: Path) -> None:
    padded, packed = (loss_curve(model_dir, layout) for layout in LAYOUTS)
    assert packed == pytest.approx(padded, abs=1e-3)
    assert padded[-1] < 0.8 * padded[0]


def pair(prompt: int, length: int, completion: int = 2) -> TokenPair:
    """A pair of a query: a prompt of `length` tokens, and two completions that begin with different tokens."""
    ids = (prompt,) * length
    return TokenPair(TokenSequence(ids, (100,) * completion), TokenSequence(ids, (101,) * completion))


def test_micro_batches_keep_the_order_and_the_bound_of_padded_tokens() -> None:
    pairs = [pair(number, length) for number, length in enumerate((8, 8, 98, 8, 400))]
    parts = micro_batches(pairs, range(5), PaddedLayout(0), max_tokens=396)
    assert parts == [[0, 1], [2, 3], [4]]


def test_micro_batches_keep_the_pairs_of_a_query_together() -> None:
    pairs = [pair(1, 20), replace(pair(1, 20), chosen=TokenSequence((1,) * 20, (7, 8))), pair(2, 20), pair(2, 20)]
    layout = PackedLayout()
    assert layout.size(sequences_of(pairs[:3])) == 45
    assert micro_batches(pairs, range(4), layout, max_tokens=45) == [[0, 1, 2, 3]]  # the last pair adds nothing
    assert micro_batches(pairs, range(4), layout, max_tokens=44) == [[0, 1], [2, 3]]
    assert micro_batches(pairs, range(4), layout, max_tokens=20) == [[0], [1], [2], [3]]
