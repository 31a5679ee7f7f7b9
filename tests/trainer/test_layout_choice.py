"""Which models may share prompts: decided by asking them, for architectures that differ in what they obey."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402

from rewriter_trainer.layout_choice import choose_layout, why_not_packed  # noqa: E402
from rewriter_trainer.layouts import PackedLayout, PaddedLayout  # noqa: E402
from rewriter_trainer.scorer import CompletionScorer  # noqa: E402

from .test_layouts import PAIRS  # noqa: E402

pytestmark = pytest.mark.ml

CPU = torch.device("cpu")
SMALL = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}


def scorer(architecture: str, **config: Any) -> CompletionScorer:
    """A model of random weights, large enough ones that what it attends to shows in what it says."""
    torch.manual_seed(0)
    made = getattr(transformers, f"{architecture}Config")(**SMALL | {"initializer_range": 0.2} | config)
    return CompletionScorer(transformers.AutoModelForCausalLM.from_config(made).float().eval())


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one worker."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


GROUPED: dict[str, Any] = {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("Llama", GROUPED),
        ("Qwen2", GROUPED),
        ("Qwen3", GROUPED),
        ("Mistral", GROUPED | {"sliding_window": 4096}),
        ("Gemma3Text", GROUPED),
        ("GPT2", {}),
        ("GPTNeoX", {"intermediate_size": 64}),
    ],
)
def test_models_that_obey_mask_and_positions_are_packed(architecture: str, config: dict[str, Any]) -> None:
    assert why_not_packed(scorer(architecture, **config), PAIRS, PaddedLayout(0), CPU) == ""


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("Bloom", {}),  # ALiBi: distance is counted in columns
        ("Mamba", {"state_size": 4}),  # no attention at all
        ("Mistral", GROUPED | {"sliding_window": 8}),  # narrower than the sequences; a given mask overrides it
    ],
)
def test_models_that_would_be_wrong_are_not_packed(architecture: str, config: dict[str, Any]) -> None:
    assert why_not_packed(scorer(architecture, **config), PAIRS, PaddedLayout(0), CPU)


def test_the_choice_follows_the_model_and_tells_why(alone: None, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(choose_layout(scorer("Llama", **GROUPED), PAIRS, 0, CPU), PackedLayout)
    assert caplog.messages == []
    narrow = scorer("Mistral", **GROUPED, sliding_window=8)
    assert choose_layout(narrow, PAIRS, 0, CPU) == PaddedLayout(0)
    assert "sequences do not share their prompts" in caplog.text and "nats per token" in caplog.text
    assert choose_layout(scorer("Bloom"), PAIRS, 0, CPU) == PaddedLayout(0)
    assert "the model takes no block mask" in caplog.text


def test_one_query_alone_can_be_asked() -> None:
    assert why_not_packed(scorer("Llama", **GROUPED), PAIRS[:1], PaddedLayout(0), CPU) == ""
