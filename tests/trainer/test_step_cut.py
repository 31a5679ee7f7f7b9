"""A step trains the same, however it is cut into micro-batches and workers, and at whatever ZeRO stage."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load  # noqa: E402

from rewriter_contract.messages import OptimizerConfig, PhaseOrder  # noqa: E402

from . import builders  # noqa: E402
from .builders import rows_with_signal, write_samples  # noqa: E402
from .phase_program import steps, tensors, train  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml

ONE_PASS = 1024
"""Tokens that no step of these tests exceeds."""
MANY_PASSES = 20
"""Tokens that no pair of these tests stays below: every pair is a micro-batch of its own."""
TERMS = ("loss", "loss_preference", "loss_quality", "loss_generation", "grad_norm", "margin", "delta", "entropy")


@pytest.fixture(scope="module")
def volume_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, model = tmp_path_factory.mktemp("volume"), tmp_path_factory.mktemp("model")
    make_model(model)
    publish_base(root, model)
    return root


@pytest.fixture(scope="module")
def order(volume_root: Path) -> PhaseOrder:
    """13 pairs in steps of 3, 3, 3, 3 and 1, twice: workers have unequal shares, and one has none of the last."""
    rows = rows_with_signal(7)
    rows[-1] = replace(rows[-1], samples=(rows[-1].samples[0], rows[-1].samples[2]))
    base = builders.base_ref(volume_root)
    optimizer = OptimizerConfig(learning_rate=2e-4, pairs_per_step=3, epochs=2, zero_stage=2)
    return builders.order(base, write_samples(volume_root, rows, base.version), optimizer=optimizer)


def train_as(root: Path, order: PhaseOrder, phase: int, workers: int, tokens: int) -> None:
    train(root, replace(order, out_version=f"r0001-p{phase:02d}"), phase, workers, tokens)


@pytest.fixture(scope="module")
def whole(volume_root: Path, order: PhaseOrder) -> list[dict[str, float]]:
    """One worker, a step in one pass."""
    train_as(volume_root, order, 1, workers=1, tokens=ONE_PASS)
    return steps(volume_root, 1)


def assert_equal(root: Path, phase: int, whole: list[dict[str, float]]) -> None:
    found = steps(root, phase)
    assert len(found) == len(whole) == 10
    for name in TERMS:
        expected = [step[name] for step in whole]
        assert [step[name] for step in found] == pytest.approx(expected, rel=1e-5, abs=1e-6), name
    left, right = (load(tensors(root, f"r0001-p{number:02d}")) for number in (1, phase))
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-4, atol=2e-5)


def test_the_loss_of_a_step_of_many_micro_batches_is_that_of_one(
    volume_root: Path, order: PhaseOrder, whole: list[dict[str, float]]
) -> None:
    assert whole[-1]["loss"] < 0.99 * whole[0]["loss"] and whole[-1]["delta"] != 0.0, "it learns"
    train_as(volume_root, order, 2, workers=1, tokens=MANY_PASSES)
    assert_equal(volume_root, 2, whole)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_train_as_one_at_every_stage_although_their_passes_differ_in_number(
    volume_root: Path, order: PhaseOrder, whole: list[dict[str, float]], stage: int
) -> None:
    phase = 10 + stage
    sharded = replace(order, optimizer=replace(order.optimizer, zero_stage=stage))
    train_as(volume_root, sharded, phase, workers=2, tokens=MANY_PASSES)
    assert_equal(volume_root, phase, whole)
