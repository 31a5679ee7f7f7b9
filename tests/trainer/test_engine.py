"""When ZeRO shards, and how gradients are clipped where it does not."""

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed")

from rewriter_contract.messages import OptimizerConfig, WeightsRef  # noqa: E402
from rewriter_trainer.engine import clip, engine_config, zero_stage  # noqa: E402

from . import builders  # noqa: E402

pytestmark = pytest.mark.ml

BASE = WeightsRef("base", "0" * 64)


@pytest.mark.parametrize(
    ("workers", "dtype", "asked", "stage"),
    [
        (1, "float32", 2, 0),
        (1, "float32", 3, 0),
        (1, "bfloat16", 2, 2),  # the flat copy is the float32 master weights
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
