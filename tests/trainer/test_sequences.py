"""Batches of completions against one sequence at a time, and tokens against what sampling drew."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from rewriter_contract.messages import Sample  # noqa: E402
from rewriter_trainer.sequences import (  # noqa: E402
    CompletionScorer,
    TokenPair,
    TokenSequence,
    collate,
    completion_ids,
    micro_batches,
)

from .builders import sample  # noqa: E402
from .tiny_model import make_model  # noqa: E402

pytestmark = pytest.mark.ml

SEQUENCES = [
    TokenSequence((5, 9, 12, 40), (7, 30, 8)),
    TokenSequence((5,), (9, 9, 9, 9, 2)),
    TokenSequence((60, 61, 62, 63, 64, 65, 66), (10,)),
    TokenSequence((5, 6), ()),
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model(directory)
    return directory


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path):  # type: ignore[no-untyped-def]  # transformers' tokenizers have no common type
    return AutoTokenizer.from_pretrained(model_dir)


def plain_logprob(model, sequence: TokenSequence) -> float:  # type: ignore[no-untyped-def]
    """The sum by the definition: all logits of one unpadded sequence."""
    ids = [*sequence.prompt, *sequence.completion]
    logprobs = model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    start = len(sequence.prompt)
    return sum(float(logprobs[position - 1, ids[position]]) for position in range(start, len(ids)))


def test_padding_changes_no_log_probability_and_brings_no_nan_into_gradients(model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = [plain_logprob(model, sequence) for sequence in SEQUENCES]
    batched = CompletionScorer(model)(collate(SEQUENCES, pad_id=0))
    assert batched.tolist() == pytest.approx(expected, abs=1e-4)
    batched.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_only_completion_columns_reach_the_vocabulary(model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    shapes = []
    model.lm_head.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape[:2])))
    CompletionScorer(model)(collate(SEQUENCES, pad_id=0))
    assert shapes == [(4, 6)]  # 4 sequences, the longest completion's 5 tokens and the column before them


def test_a_finished_completion_ends_with_the_stop_string(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = completion_ids(tokenizer, sample("trail shoes", 0.1), "\n")
    assert tokenizer.decode(ids) == "trail shoes\n"


def test_without_a_stop_string_it_ends_with_the_end_of_sequence_token(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert completion_ids(tokenizer, sample("trail shoes", 0.1), "")[-1] == tokenizer.eos_token_id


def test_a_cut_completion_gets_no_terminator(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = completion_ids(tokenizer, sample("trail shoes", 0.1, finished=False), "\n")
    assert tokenizer.decode(ids) == "trail shoes"


def test_recorded_tokens_are_used_as_they_were_drawn(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert completion_ids(tokenizer, Sample("shoes", 0.1, token_ids=(4, 5, 6)), "\n") == (4, 5, 6)


def test_micro_batches_keep_the_order_and_the_token_bound() -> None:
    pairs = [TokenPair(TokenSequence((1,) * n, (2,)), TokenSequence((1,) * n, (2, 2))) for n in (8, 8, 98, 8, 400)]
    parts = micro_batches(pairs, [0, 1, 2, 3, 4], max_tokens=399)
    assert parts == [[0, 1], [2], [3], [4]]
