"""Tokens against what sampling drew."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from transformers import AutoTokenizer  # noqa: E402

from rewriter_contract.messages import Sample  # noqa: E402
from rewriter_trainer.sequences import completion_ids  # noqa: E402

from .builders import sample  # noqa: E402
from .tiny_model import make_model  # noqa: E402

pytestmark = pytest.mark.ml


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model(directory)
    return directory


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path):  # type: ignore[no-untyped-def]  # transformers' tokenizers have no common type
    return AutoTokenizer.from_pretrained(model_dir)


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
