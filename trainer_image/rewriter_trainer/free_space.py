"""Is there room for what a cycle will write? Asked before anything is trained, when an answer costs nothing.

    needed = base set, where it is not imported yet
           + phases x (weight set + samples)
           + 2 x checkpoint
           + 2 x gate queries x 2 KiB

An upper bound: training may end early, and a checkpoint is gone when its phase has published. What other users of the
same volume write meanwhile is not foreseen; a volume that fills up all the same fails the cycle, and nothing else.
Standard library only: tensors are counted by the headers of their files.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rewriter_contract import volume, wire
from rewriter_contract.messages import VOLUME_FULL, PrepareOrder, Problem, StorageOrder
from rewriter_contract.weights import Manifest, WeightsRefused, parameters
from rewriter_trainer.check_model import ModelReport

NUMBER_BYTES: Final = {"float32": 4, "bfloat16": 2}

CHECKPOINT_BYTES: Final = {"float32": 16, "bfloat16": 14}
"""For each parameter: the model, a copy in float32, and two moments of AdamW in float32. DeepSpeed 0.19.8 wrote 16.05
and 14.05 bytes for each of a million parameters with ZeRO 1 and 2, 12.05 with ZeRO 3."""

CHECKPOINTS: Final = 2
"""A checkpoint is whole before the one before it goes."""

EVIDENCE_ROW_BYTES: Final = 2048


@dataclass(frozen=True)
class Need:
    """What a cycle writes, in bytes."""

    base: int
    """0 where the base model is imported already."""
    weight_set: int
    checkpoint: int
    phases: int
    phase_files: int
    evidence: int

    @property
    def total(self) -> int:
        """All of it."""
        trained = self.phases * (self.weight_set + self.phase_files)
        return self.base + trained + (CHECKPOINTS * self.checkpoint if self.phases else 0) + self.evidence


def need(root: Path, model: ModelReport, order: PrepareOrder, storage: StorageOrder, gate_queries: int) -> Need | None:
    """The room that the cycle needs; None where the model's files cannot be read, which is told elsewhere."""
    tensors = [path for path, name in zip(model.files, model.names, strict=True) if name.endswith(".safetensors")]
    try:
        count = parameters(tensors)
        sizes = {name: path.stat().st_size for path, name in zip(model.files, model.names, strict=True)}
    except (WeightsRefused, OSError):
        return None
    others = sum(size for name, size in sizes.items() if not name.endswith(".safetensors"))
    return Need(
        base=0 if _is_imported(root, sizes) else sum(sizes.values()),
        weight_set=count * NUMBER_BYTES.get(order.dtype, 4) + others,
        checkpoint=count * CHECKPOINT_BYTES.get(order.dtype, 16),
        phases=storage.phases,
        phase_files=storage.phase_bytes,
        evidence=2 * gate_queries * EVIDENCE_ROW_BYTES,
    )


def _is_imported(root: Path, sizes: dict[str, int]) -> bool:
    """Whether a base set with files of these names and sizes is there: its content is compared when it is imported."""
    for path in sorted((root / "weights").glob("base-*")):
        try:
            manifest = wire.loads(Manifest, (path / volume.MANIFEST).read_bytes(), volume.MANIFEST)
        except (OSError, wire.WireError):
            continue
        if {entry.name: entry.size for entry in manifest.files} == sizes:
            return True
    return False


def free_bytes(root: Path) -> int | None:
    """Bytes that may still be written below `root`; None where the file system does not tell."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def room_problem(needed: Need | None, free: int | None, storage: StorageOrder) -> Problem | None:
    """The sentence for a cycle that would not fit; None where it fits, or where one cannot tell."""
    if needed is None or free is None or free >= needed.total:
        return None
    parts = [
        f"{needed.phases} phases x ({shown(needed.weight_set)} weights + {shown(needed.phase_files)} samples) "
        f"+ {CHECKPOINTS} checkpoints x {shown(needed.checkpoint)}"
    ]
    if needed.base:
        parts.append(f"{shown(needed.base)} for the base model")
    what = f"cycle {storage.cycle} needs" if storage.cycle else "the base model needs"
    formula = f" ({' + '.join(parts)})" if needed.phases else ""
    return Problem(
        VOLUME_FULL,
        f"{storage.claim}: {shown(free)} free ({free} bytes), {what} {shown(needed.total)} ({needed.total} bytes)"
        f"{formula}; enlarge the volume, lower spec.retention.weights or spec.training.phases, or remove other files "
        "from it; it goes on by itself once there is room",
    )


def shown(size: int) -> str:
    """`1.50 GiB`"""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 // 10 else f"{size / 2**20:.1f} MiB"
