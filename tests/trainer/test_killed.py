"""A phase that is ended at any moment and ordered again has the weights of an undisturbed one, bit by bit."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract import volume  # noqa: E402
from rewriter_contract.messages import OptimizerConfig, PhaseOrder  # noqa: E402

from . import builders, dying_phase  # noqa: E402
from .builders import rows_with_signal, write_samples  # noqa: E402
from .phase_program import run, steps, tensors, train  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml

OUT = "r0001-p01"
MakeVolume = Callable[[], tuple[Path, PhaseOrder]]


@pytest.fixture(scope="module")
def make_volume(tmp_path_factory: pytest.TempPathFactory) -> MakeVolume:
    """Volumes that are equal, each with the order of a phase of nine steps, and a checkpoint after every fourth."""
    model = tmp_path_factory.mktemp("model")
    make_model(model)

    def make() -> tuple[Path, PhaseOrder]:
        root = tmp_path_factory.mktemp("volume")
        base = publish_base(root, model)
        optimizer = OptimizerConfig(learning_rate=1e-3, pairs_per_step=6, epochs=3)
        shard = write_samples(root, rows_with_signal(7), base.version)
        return root, builders.order(base, shard, optimizer=optimizer, checkpoint_every=4)

    return make


@pytest.fixture(scope="module")
def undisturbed(make_volume: MakeVolume) -> Path:
    root, order = make_volume()
    train(root, order)
    return root


def end_at(root: Path, order: PhaseOrder, point: str, workers: int = 1) -> int:
    """Run the phase to a point of dying_phase; its exit code."""
    return run(root, order, workers=workers, program=("tests.trainer.dying_phase", point))


def marked_step(root: Path) -> int:
    step: int = json.loads((root / volume.checkpoint_dir(1, 1) / "latest.json").read_text())["step"]
    return step


def assert_as_undisturbed(root: Path, undisturbed: Path) -> None:
    assert tensors(root, OUT) == tensors(undisturbed, OUT)
    assert not (root / volume.checkpoint_dir(1, 1)).exists()
    for name in ("loss", "delta", "grad_norm"):
        assert [step[name] for step in steps(root)] == [step[name] for step in steps(undisturbed)]


def test_sigterm_in_the_steps_saves_the_last_finished_one(undisturbed: Path, make_volume: MakeVolume) -> None:
    root, order = make_volume()
    assert end_at(root, order, "SIGTERM") == 0
    assert marked_step(root) == dying_phase.STEP and not (root / volume.weights_dir(OUT)).exists()
    train(root, order)
    assert_as_undisturbed(root, undisturbed)


def test_sigkill_in_the_steps_loses_what_came_after_the_last_checkpoint(
    undisturbed: Path, make_volume: MakeVolume
) -> None:
    root, order = make_volume()
    assert end_at(root, order, "SIGKILL") == -signal.SIGKILL
    assert marked_step(root) == 4 and not (root / volume.weights_dir(OUT)).exists()
    train(root, order)
    assert_as_undisturbed(root, undisturbed)


def test_two_workers_of_which_one_is_killed_are_resumed_by_two(make_volume: MakeVolume) -> None:
    whole, order = make_volume()
    train(whole, order, workers=2)
    root, _ = make_volume()
    assert end_at(root, order, "SIGKILL", workers=2) != 0
    assert marked_step(root) == 4 and not (root / volume.weights_dir(OUT)).exists()
    train(root, order, workers=2)
    assert_as_undisturbed(root, whole)


def test_a_phase_that_is_killed_again_and_again_while_it_publishes_publishes_once(
    undisturbed: Path, make_volume: MakeVolume
) -> None:
    root, order = make_volume()
    manifest = root / volume.weights_dir(OUT) / volume.MANIFEST
    for point in dying_phase.PUBLISHING:
        assert end_at(root, order, point) == -signal.SIGKILL
        assert manifest.exists() is (point == "with a weight set beside its checkpoint"), point
    published = manifest.stat()
    train(root, order)
    assert manifest.stat() == published, "a finished phase is answered, not trained again"
    assert tensors(root, OUT) == tensors(undisturbed, OUT)
