"""Publishes a trained policy again and again beside a plain copy with fsync: inside the trainer image, on one volume.

The product's side is `publish_policy` whole: serialise the model, fsync, sha256 of every file, canary, manifest,
rename. The plain side copies the files of the set that was published before, fsyncs each and the directory. Leaves two
sets with different weights, for the bench of the reload.
"""

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from e2e.bench.base_model import BenchModel, import_model
from e2e.bench.sync.rounds import Rounds, paired
from rewriter_contract import volume
from rewriter_contract.messages import (
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    WeightsRef,
)
from rewriter_contract.shards import sync_directory, sync_file

CYCLE: Final = 1
WRITER: Final = "bench"
CHANGE: Final = 1e-4
"""Standard deviation of the noise that stands for a phase of training, in parts of each tensor's own."""


@dataclass(frozen=True)
class Published:
    """What the publishing side hands to the rest of the bench."""

    rounds: Rounds
    set_bytes: int
    """Of all files of a published set."""
    sets: tuple[WeightsRef, WeightsRef]
    """Two sets of one model, with different weights, on the volume."""


def order_of(base: WeightsRef, model: BenchModel, phase: int) -> PhaseOrder:
    """The order of a phase: publishing reads its names, its dtype and its seed."""
    return PhaseOrder(
        base=base,
        reference=base,
        samples=(),
        pairs=PairsConfig(),
        mpo=MpoConfig(),
        optimizer=OptimizerConfig(),
        dtype=model.dtype,
        seed=model.seed,
        reward_revision=WRITER,
        out_version=volume.weights_version(CYCLE, phase),
    )


def copy_and_sync(source: Path, target: Path) -> None:
    """Copy the files of a directory into a new one; on return they are on the disk."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, target / file.name)
        sync_file(target / file.name)
    sync_directory(target)


def bytes_of(directory: Path) -> int:
    """Of all files in `directory`."""
    return sum(file.stat().st_size for file in directory.iterdir())


def change(policy: Any) -> None:
    """Move every weight a little, as training does."""
    import torch

    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * (CHANGE * parameter.std()))


def measure(root: Path, base: WeightsRef, model: BenchModel, rounds: int) -> Published:
    """`rounds` paired rounds on the volume at `root`, after one untimed publication of each of the two sets."""
    import torch
    from transformers import AutoModelForCausalLM

    from rewriter_trainer.heap import give_freed_memory_back, keep_freed_memory
    from rewriter_trainer.publish import publish_policy

    keep_freed_memory()
    directory, dtype = root / volume.weights_dir(base.version), getattr(torch, model.dtype)
    policy: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)

    def publish(phase: int) -> WeightsRef:
        change(policy)
        give_freed_memory_back()
        return publish_policy(root, order_of(base, model, phase), policy, WRITER)

    sets = publish(1), publish(2)
    source, copied = root / volume.weights_dir(sets[1].version), root / "copied"

    def product(number: int) -> None:
        publish_policy(root, order_of(base, model, number + 3), policy, WRITER)

    def tidy(number: int, side: str) -> None:
        version = volume.weights_version(CYCLE, number + 3)
        shutil.rmtree(root / volume.weights_dir(version) if side == "product" else copied)

    work = {"product": product, "plain": lambda _: copy_and_sync(source, copied)}
    return Published(paired(rounds, work, tidy=tidy), bytes_of(source), sets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    model = BenchModel(arguments.tiny)
    base = import_model(arguments.root, arguments.model, model, WRITER)
    done = measure(arguments.root, base, model, arguments.rounds)
    arguments.out.write_text(json.dumps(asdict(done)))


if __name__ == "__main__":
    main()
