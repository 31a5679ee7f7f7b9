"""Imports the base model as a weight set, named by its content. Loads torch, for the canary."""

import hashlib
import shutil
from pathlib import Path

from rewriter_contract import volume, weights
from rewriter_contract.messages import WeightsRef
from rewriter_trainer import canary
from rewriter_trainer.check_model import ModelReport
from rewriter_trainer.finite import refuse_what_is_not_finite
from rewriter_trainer.publish import look_at, program


def content_digest(model: ModelReport, dtype: str) -> str:
    """Digest over names and bytes of the model's files, and the dtype that it is run in: the canary depends on both."""
    lines = [f"{name} {weights.file_sha256(path)}" for name, path in zip(model.names, model.files, strict=True)]
    return hashlib.sha256("\n".join([dtype, *lines]).encode()).hexdigest()


def import_base(root: Path, model: ModelReport, dtype: str, seed: int, writer: str) -> WeightsRef:
    """Publish the model's files as `base-<digest>`; does nothing when that set is there already.

    Files are copied, never linked: a write to the user's file must not reach a set that other pods have verified.
    """
    version = volume.base_version(content_digest(model, dtype))

    def write_files(directory: Path) -> None:
        for name, path in zip(model.names, model.files, strict=True):
            shutil.copyfile(path, directory / name)

    def describe(directory: Path) -> weights.Manifest:
        refuse_what_is_not_finite(directory)  # BEFORE the canary, which would only say that something is wrong
        found = look_at(directory, lambda: canary.measure(directory, dtype, canary.token_ids_of(directory)))
        return weights.Manifest(
            version=version,
            parent="",
            dtype=dtype,
            files=found.files,
            tensors_sha256=found.tensors_sha256,
            reward_revision="",
            seed=seed,
            canary=found.canary,
            created_by=program(),
        )

    return WeightsRef(version=version, digest=weights.publish(root, version, writer, write_files, describe))
