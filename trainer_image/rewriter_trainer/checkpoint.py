"""Checkpoints of a running phase: DeepSpeed's state, and a mark that says what it is good for.

The mark (`latest.json`) is written last and in one step, so a checkpoint is complete or not there. It carries the
digest of the order and the number of workers: state of another order, or sharded for another number of workers, is
never resumed. Checkpoints are scratch of one phase on the release's own volume; weights that leave the pod are
published through rewriter_contract.weights and are safetensors.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rewriter_contract import wire
from rewriter_contract.agent import WorkFailed
from rewriter_contract.shards import replace_file, sync_directory, sync_file
from rewriter_trainer.loss import RunningMean

MARK: Final = "latest.json"


@dataclass(frozen=True)
class Mark:
    """latest.json"""

    order_sha256: str
    workers: int
    step: int
    """Optimizer steps done."""
    delta_total: float
    delta_count: int

    @property
    def tag(self) -> str:
        """Name of the checkpoint's directory."""
        return f"step-{self.step:06d}"

    @property
    def delta(self) -> RunningMean:
        """BCO's running mean as of the checkpoint."""
        return RunningMean(self.delta_total, self.delta_count)


def save(engine: Any, directory: Path, mark: Mark, writer: str) -> None:
    """Save the engine's state under `mark` and drop the checkpoint before it. Called by every worker."""
    frozen = has_frozen_weights(engine)
    engine.save_checkpoint(str(directory), tag=mark.tag, save_latest=False, exclude_frozen_parameters=frozen)
    if engine.global_rank != 0:
        return
    for path in (directory / mark.tag).iterdir():
        sync_file(path)
    sync_directory(directory / mark.tag)
    replace_file(directory / MARK, wire.dumps(mark).encode(), writer)
    for old in directory.glob("step-*"):
        if old.name != mark.tag:
            shutil.rmtree(old, ignore_errors=True)


def find(directory: Path, order_sha256: str, workers: int) -> Mark | None:
    """The checkpoint that this order may resume, or None."""
    try:
        mark = wire.loads(Mark, (directory / MARK).read_bytes(), MARK)
    except (FileNotFoundError, wire.WireError):
        return None
    return mark if (mark.order_sha256, mark.workers) == (order_sha256, workers) else None


def load(engine: Any, directory: Path, mark: Mark) -> None:
    """Bring the engine to the state of `mark`.

    Raises:
        WorkFailed: when it cannot be read; it is removed, so that the same order starts from the first step.
    """
    try:
        strict = not has_frozen_weights(engine)
        path, _ = engine.load_checkpoint(str(directory), tag=mark.tag, load_module_strict=strict)
        damage = "" if path else "files are missing"
    except Exception as error:  # torch and DeepSpeed raise whatever a damaged file makes them stumble over
        damage = f"{type(error).__name__}: {error}"
    if damage:
        discard(directory)
        raise WorkFailed(f"checkpoint {mark.tag} could not be read and was removed ({damage}); order the phase again")


def has_frozen_weights(engine: Any) -> bool:
    """Whether some weights are not trained: these are the base's, and in no checkpoint."""
    return any(not parameter.requires_grad for parameter in engine.module.parameters())


def discard(directory: Path) -> None:
    """Remove all checkpoints of a phase: after its weights are published, or when they can no longer be used."""
    (directory / MARK).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
