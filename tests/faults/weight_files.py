"""The volume's files.

Weight sets are of a few bytes, published and verified with the contract's own functions: only the model is missing.
"""

import hashlib
import json
import struct
from pathlib import Path

from rewriter_contract import weights
from rewriter_contract.messages import WeightsRef
from rewriter_contract.weights import Canary, Manifest


def fill_volume(root: Path) -> None:
    """A release's part of the volume as users fill it: a base model and the data files."""
    (root / "base/tiny").mkdir(parents=True)
    (root / "base/tiny/config.json").write_text('{"model_type": "stand-in"}')
    (root / "data").mkdir()
    for name in ("corpus", "train", "gate", "validation"):
        (root / f"data/{name}.jsonl").write_text(f'{{"id": "{name}"}}\n')


def publish(root: Path, version: str, parent: str, content: str, writer: str) -> WeightsRef:
    """A weight set that depends on nothing but `content`, so that a repeated phase gives the same digest."""

    def write(directory: Path) -> None:
        data = hashlib.sha256(content.encode()).digest()
        header = json.dumps({"w": {"dtype": "F32", "shape": [8], "data_offsets": [0, len(data)]}}).encode()
        (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
        (directory / "config.json").write_text("{}")

    def describe(directory: Path) -> Manifest:
        return Manifest(
            version=version,
            parent=parent,
            dtype="float32",
            files=weights.file_entries(directory),
            tensors_sha256=weights.tensors_digest(directory),
            reward_revision="reward",
            seed=0,
            canary=Canary((1, 2), (-1.0,), 0.01),
            created_by="stand-in",
        )

    return WeightsRef(version, weights.publish(root, version, writer, write, describe))


def verify(root: Path, ref: WeightsRef) -> None:
    """As a sampler or serving pod does before it touches its engine."""
    weights.verify(root / "weights" / ref.version, ref.digest)
