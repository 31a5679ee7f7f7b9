"""When ZeRO shards, how gradients are clipped where it does not, and that what was saved goes on bit by bit."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
deepspeed = pytest.importorskip("deepspeed")

from transformers import AutoModelForCausalLM  # noqa: E402

from rewriter_contract.messages import OptimizerConfig, PhaseOrder, WeightsRef  # noqa: E402
from rewriter_trainer import checkpoint  # noqa: E402
from rewriter_trainer.engine import clip, engine_config, finish_step, start_engine, zero_stage  # noqa: E402
from rewriter_trainer.layouts import PackedLayout, sequences_of  # noqa: E402
from rewriter_trainer.scorer import CompletionScorer  # noqa: E402

from . import builders  # noqa: E402
from .test_layouts import PAIRS  # noqa: E402
from .tiny_model import make_model  # noqa: E402

pytestmark = pytest.mark.ml

BASE = WeightsRef("base", "0" * 64)


@pytest.mark.parametrize(
    ("workers", "dtype", "asked", "stage"),
    [
        (1, "float32", 2, 0),
        (1, "float32", 3, 0),
        (1, "bfloat16", 2, 2),  # the flat copy is the float32 master weights
        (2, "float32", 0, 0),
        (2, "float32", 1, 1),
        (2, "float32", 3, 3),
    ],
)
def test_zero_is_left_out_where_there_is_nothing_to_share(workers: int, dtype: str, asked: int, stage: int) -> None:
    order = builders.order(BASE, dtype=dtype, optimizer=OptimizerConfig(zero_stage=asked, max_grad_norm=0.5))
    assert zero_stage(order, workers) == stage
    config = engine_config(order, workers)
    assert config["zero_optimization"]["stage"] == stage
    assert config["gradient_clipping"] == (0.5 if stage else 0.0)


def parameters(*gradients: list[float]) -> list[torch.nn.Parameter]:
    """Parameters that have these gradients, and one that has none."""
    made = [torch.nn.Parameter(torch.zeros(len(gradient))) for gradient in (*gradients, [0.0])]
    for parameter, gradient in zip(made[:-1], gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return made


def test_gradients_that_are_too_long_together_are_scaled_down() -> None:
    made = parameters([3.0, 0.0], [4.0])
    assert clip(made, 1.0) == pytest.approx(5.0)
    assert made[0].grad.tolist() == pytest.approx([0.6, 0.0]) and made[1].grad.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("limit", [5.0, 7.0, 0.0])
def test_gradients_that_are_short_enough_are_left_alone(limit: float) -> None:
    made = parameters([3.0, 0.0], [4.0])
    assert clip(made, limit) == pytest.approx(5.0)
    assert made[0].grad.tolist() == [3.0, 0.0] and made[1].grad.tolist() == [4.0]


def test_a_norm_that_is_not_finite_is_told() -> None:
    assert math.isnan(clip(parameters([math.nan], [1.0]), 1.0))
    assert clip(parameters([math.inf], [1.0]), 1.0) == math.inf


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model(directory)
    return directory


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """A group of one worker."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_RANK", "0")
        deepspeed.init_distributed(dist_backend="gloo", verbose=False)
        yield
    torch.distributed.destroy_process_group()


def engine_of(model_dir: Path, order: PhaseOrder) -> Any:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, order.dtype))
    return start_engine(CompletionScorer(model).eval(), order, workers=1)


def take_steps(engine: Any, order: PhaseOrder, count: int) -> list[float]:
    """Steps of two micro-batches; their gradient norms."""
    norms = []
    for _ in range(count):
        for pairs in (PAIRS[:4], PAIRS[4:]):
            engine.backward(-engine(PackedLayout().batch(sequences_of(pairs))).mean() / 2)
        norms.append(finish_step(engine, order))
    return norms


def weights_of(engine: Any) -> list[Any]:
    parameters = list(engine.module.parameters())
    with deepspeed.zero.GatheredParameters(parameters, enabled=engine.zero_optimization_stage() == 3):
        return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # DeepSpeed's and torch's own
@pytest.mark.parametrize(("dtype", "asked"), [("float32", 2), ("bfloat16", 1), ("bfloat16", 2), ("bfloat16", 3)])
def test_an_engine_that_was_saved_and_loaded_goes_on_bit_by_bit(
    alone: None, model_dir: Path, tmp_path: Path, dtype: str, asked: int
) -> None:
    optimizer = OptimizerConfig(learning_rate=1e-3, zero_stage=asked, max_grad_norm=1.0)
    order = builders.order(BASE, dtype=dtype, optimizer=optimizer)
    undisturbed = engine_of(model_dir, order)
    assert take_steps(undisturbed, order, 3)[0] > 1.0, "clipping takes part"
    mark = checkpoint.Mark("order", 1, 3, 0.0, 0)
    checkpoint.save(undisturbed, tmp_path, mark, "writer")
    norms = take_steps(undisturbed, order, 3)

    resumed = engine_of(model_dir, order)
    checkpoint.load(resumed, tmp_path, mark)
    assert take_steps(resumed, order, 3) == norms
    pairs = list(
        zip(weights_of(resumed), weights_of(undisturbed), weights_of(engine_of(model_dir, order)), strict=True)
    )
    assert all(torch.equal(found, expected) for found, expected, _ in pairs)
    assert not any(torch.equal(found, fresh) for found, _, fresh in pairs if fresh.dim() == 2)
