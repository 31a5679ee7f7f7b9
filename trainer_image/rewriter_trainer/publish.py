"""Publishes a trained policy as a weight set: the model's new tensors beside its parent's tokenizer files.

The tokenizer's files are copied byte by byte from the parent, so that a rewriter's tokens cannot drift from one
library version to the next.
"""

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from rewriter_contract import volume, weights, wire
from rewriter_contract.messages import PhaseOrder, WeightsRef
from rewriter_trainer import canary
from rewriter_trainer.tensor_files import INDEX, tensors_as_in, write_tensors

CONFIG: Final = "config.json"
MADE_BY_TRAINING: Final = frozenset({CONFIG, INDEX, volume.MANIFEST})
"""Files that are written anew, or that belong to the parent set alone."""


def publish_policy(root: Path, order: PhaseOrder, policy: Any, writer: str) -> WeightsRef:
    """Publish `policy` (a transformers model) as `order.out_version`, with a canary measured on the written files."""
    parent = root / volume.weights_dir(order.base.version)
    tensors = tensors_as_in(frozenset(weights.tensor_shapes(parent)), policy)
    hashed: dict[str, weights.FileEntry] = {}

    def write_files(directory: Path) -> None:
        if tensors is None:
            policy.save_pretrained(directory)
        else:
            hashed.update(write_tensors(directory, tensors))
            _write_config(parent, directory, order.dtype)
        for file in parent.iterdir():
            if file.suffix != ".safetensors" and file.name not in MADE_BY_TRAINING:
                shutil.copyfile(file, directory / file.name)

    def describe(directory: Path) -> weights.Manifest:
        token_ids = _canary_tokens(parent)
        if tensors is None or not on_this_machine(policy):
            found = look_at(directory, lambda: canary.measure(directory, order.dtype, token_ids), hashed)
        else:
            found = look_at(directory, lambda: canary.measure_in(policy, directory, order.dtype, token_ids), hashed)
        return weights.Manifest(
            version=order.out_version,
            parent=order.base.version,
            dtype=order.dtype,
            files=found.files,
            tensors_sha256=found.tensors_sha256,
            reward_revision=order.reward_revision,
            seed=order.seed,
            canary=found.canary,
            created_by=program(),
        )

    digest = weights.publish(root, order.out_version, writer, write_files, describe)
    return WeightsRef(version=order.out_version, digest=digest)


@dataclass(frozen=True)
class Look:
    """What the manifest says of the files' bytes, and of the model that they make."""

    files: tuple[weights.FileEntry, ...]
    tensors_sha256: str
    canary: weights.Canary


def look_at(
    directory: Path,
    measure: Callable[[], weights.Canary],
    hashed: Mapping[str, weights.FileEntry] = MappingProxyType({}),
) -> Look:
    """Hash the files on a thread of its own while the canary is measured: sha256 lets go of the interpreter.

    `hashed` are files whose entries are known.

    Raises:
        WeightsRefused, WorkFailed: the files must not be published.
    """
    weights.check_kinds(directory)  # both BEFORE the canary loads the files, because they say plainly what is wrong
    tensors_sha256 = weights.tensors_digest(directory)
    with ThreadPoolExecutor(max_workers=1) as pool:
        files = pool.submit(weights.file_entries, directory, hashed)
        measured = measure()
    return Look(files.result(), tensors_sha256, measured)


def on_this_machine(policy: Any) -> bool:
    """All of the model lies in this process's memory on the CPU, none of it sharded (ZeRO 3 marks what it shards)."""
    tensors = [*policy.parameters(), *policy.buffers()]
    return all(tensor.device.type == "cpu" and not hasattr(tensor, "ds_id") for tensor in tensors)


def _write_config(parent: Path, directory: Path, dtype: str) -> None:
    """The parent's, with the dtype that its descendant is in."""
    config = json.loads((parent / CONFIG).read_text())
    config.pop("torch_dtype", None)  # what `dtype` was called before
    (directory / CONFIG).write_text(json.dumps(config | {"dtype": dtype}, indent=2, sort_keys=True))


def _canary_tokens(parent: Path) -> tuple[int, ...]:
    """Those of the parent, whose tokenizer the set has: loading it takes longer than the canary's forward pass."""
    return wire.loads(weights.Manifest, (parent / volume.MANIFEST).read_bytes(), volume.MANIFEST).canary.token_ids


def program() -> str:
    """Name and version for `created_by`."""
    try:
        return f"rewriter-trainer {importlib.metadata.version('rewriter-operator')}"
    except importlib.metadata.PackageNotFoundError:
        return "rewriter-trainer (source tree)"
