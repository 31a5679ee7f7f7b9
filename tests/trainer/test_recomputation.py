"""Activation checkpointing changes memory and nothing else."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from rewriter_contract.agent import WorkFailed  # noqa: E402
from rewriter_contract.messages import OptimizerConfig, PhaseOrder  # noqa: E402
from rewriter_trainer.layouts import PackedLayout, sequences_of  # noqa: E402
from rewriter_trainer.recomputation import recompute_activations  # noqa: E402
from rewriter_trainer.scorer import CompletionScorer  # noqa: E402
from rewriter_trainer.sequences import TokenSequence  # noqa: E402

from . import builders  # noqa: E402
from .builders import rows_with_signal, write_samples  # noqa: E402
from .phase_program import steps, tensors, train  # noqa: E402
from .test_layouts import PAIRS  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml


LONG = [TokenSequence((number, *range(2, 60)), tuple(range(100, 140))) for number in range(10)]
"""Ten sequences that begin with different tokens: nothing of them is shared."""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, of those that are made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def deep_scorer(layers: int) -> CompletionScorer:
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=512, num_hidden_layers=layers, **shape)
    policy: Any = LlamaForCausalLM
    return CompletionScorer(policy(config).float()).eval()


def gradients_and_peak(scorer: CompletionScorer) -> tuple[list["torch.Tensor"], int]:
    batch = PackedLayout().batch(LONG)
    with LiveBytes() as live:
        (-scorer(batch).mean()).backward()
    return [parameter.grad for parameter in scorer.parameters()], live.peak


def test_gradients_are_the_same_bit_by_bit_and_take_less_memory_on_the_way() -> None:
    plain, recomputed = deep_scorer(layers=16), deep_scorer(layers=16)
    recompute_activations(recomputed.policy)
    expected, kept = gradients_and_peak(plain)
    found, dropped = gradients_and_peak(recomputed)
    assert all(map(torch.equal, found, expected))
    gradients = sum(gradient.nbytes for gradient in found)
    assert gradients < dropped < 0.5 * kept, f"{dropped} and {kept} bytes at the most, {gradients} of them gradients"


def test_without_a_gradient_nothing_is_kept_for_later() -> None:
    scorer = deep_scorer(layers=2)
    batch = PackedLayout().batch(sequences_of(PAIRS))
    with torch.inference_mode():
        expected = scorer(batch)
        recompute_activations(scorer.policy)
        assert torch.equal(scorer(batch), expected)


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(WorkFailed, match=r"Linear has no layers .*activationCheckpointing to false"):
        recompute_activations(torch.nn.Linear(2, 2))


@pytest.fixture(scope="module")
def volume_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, model = tmp_path_factory.mktemp("volume"), tmp_path_factory.mktemp("model")
    make_model(model)
    publish_base(root, model)
    return root


@pytest.mark.parametrize(
    ("dtype", "stage", "workers"),
    [("float32", 2, 1), ("bfloat16", 2, 1), ("float32", 3, 2)],
    ids=["float32", "bfloat16", "two workers at stage 3"],
)
def test_a_phase_has_the_same_losses_and_weights_bit_by_bit(
    volume_root: Path, dtype: str, stage: int, workers: int
) -> None:
    base = builders.base_ref(volume_root)
    shard = write_samples(volume_root, rows_with_signal(4), base.version)
    first = 1 + 2 * stage + 20 * (dtype == "bfloat16")

    def trained(phase: int, recomputes: bool | None) -> PhaseOrder:
        optimizer = OptimizerConfig(
            learning_rate=1e-3, pairs_per_step=3, zero_stage=stage, activation_checkpointing=recomputes
        )
        order = builders.order(base, shard, phase=phase, dtype=dtype, optimizer=optimizer)
        train(volume_root, replace(order, seed=7), phase, workers, micro_batch_tokens=60)
        return order

    plain, recomputed = trained(first, None), trained(first + 1, True)
    losses = [[step["loss"] for step in steps(volume_root, phase)] for phase in (first, first + 1)]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    assert tensors(volume_root, recomputed.out_version) == tensors(volume_root, plain.out_version)
