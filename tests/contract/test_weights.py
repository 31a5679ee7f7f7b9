"""A weight set is published whole or not at all, and everything that could be wrong with it is refused by name."""

import json
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rewriter_contract import weights, wire
from rewriter_contract.weights import Canary, Manifest, WeightsRefused

TENSORS = {"embed.weight": (4, 2), "head.weight": (2, 4)}


def safetensors(tensors: dict[str, tuple[int, int]]) -> bytes:
    """A safetensors file, written by hand: a header, then bytes."""
    header, offset = {}, 0
    for name, shape in tensors.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(256)) * 0 + b"\x07" * offset


def fill(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(safetensors(TENSORS))
    (directory / "config.json").write_text('{"model_type": "llama"}')
    (directory / "tokenizer.json").write_text("{}")


def describe(directory: Path) -> Manifest:
    return Manifest(
        version="r0001-p01",
        parent="base",
        dtype="float32",
        files=weights.file_entries(directory),
        tensors_sha256=weights.tensors_digest(directory),
        reward_revision="reward",
        seed=0,
        canary=Canary((1, 2), (-0.5,), 0.01),
        created_by="tests",
    )


def publish(root: Path, write: Callable[[Path], None] = fill) -> tuple[Path, str]:
    return root / "weights" / "r0001-p01", weights.publish(root, "r0001-p01", "uid", write, describe)


def republished(directory: Path) -> str:
    """A manifest that fits the spoiled files as they are: the damage was there before publication."""
    path = directory / "manifest.json"
    manifest = wire.loads(Manifest, path.read_bytes())
    files = tuple(
        replace(entry, size=(directory / entry.name).stat().st_size, sha256=weights.file_sha256(directory / entry.name))
        for entry in manifest.files
    )
    path.write_text(wire.dumps(replace(manifest, files=files)))
    return weights.manifest_digest(directory)


def test_a_published_set_verifies_and_leaves_nothing_temporary(tmp_path: Path) -> None:
    directory, digest = publish(tmp_path)
    assert weights.verify(directory, digest).version == "r0001-p01"
    assert [path.name for path in directory.parent.iterdir()] == ["r0001-p01"]
    assert weights.tensor_shapes(directory) == TENSORS


def test_a_version_that_is_published_is_never_written_again(tmp_path: Path) -> None:
    _, digest = publish(tmp_path)

    def must_not_run(directory: Path) -> None:
        raise AssertionError(directory)

    assert publish(tmp_path, must_not_run)[1] == digest


def test_a_failure_while_publishing_leaves_nothing(tmp_path: Path) -> None:
    def breaks(directory: Path) -> None:
        fill(directory)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        publish(tmp_path, breaks)
    assert list((tmp_path / "weights").iterdir()) == []


def test_files_are_described_while_they_are_written_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: described.wait(timeout=10) or pytest.fail("describing waited for fsync"))

    def describe_and_tell(directory: Path) -> Manifest:
        manifest = describe(directory)
        described.set()
        return manifest

    digest = weights.publish(tmp_path, "r0001-p01", "uid", fill, describe_and_tell)
    assert weights.verify(tmp_path / "weights" / "r0001-p01", digest)


@pytest.mark.parametrize("describable", [True, False])
def test_a_file_that_does_not_reach_the_disk_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, describable: bool
) -> None:
    def breaks(descriptor: int) -> None:
        raise OSError("no space left on device")

    def describe_or_not(directory: Path) -> Manifest:
        if not describable:
            raise WeightsRefused("truncated safetensors file")
        return describe(directory)

    monkeypatch.setattr(os, "fsync", breaks)
    with pytest.raises(OSError, match="no space left"):
        weights.publish(tmp_path, "r0001-p01", "uid", fill, describe_or_not)
    assert list((tmp_path / "weights").iterdir()) == []


def test_what_a_killed_writer_left_does_not_get_into_the_set(tmp_path: Path) -> None:
    left = tmp_path / "weights" / ".tmp-uid-r0001-p01"
    left.mkdir(parents=True)
    (left / "stale.json").write_text("{}")
    directory, digest = publish(tmp_path)
    assert not (directory / "stale.json").exists()
    weights.verify(directory, digest)


def flip(directory: Path) -> None:
    path = directory / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def link(directory: Path) -> None:
    target = directory.parent / "elsewhere.json"
    target.write_text((directory / "tokenizer.json").read_text())
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer.json").symlink_to(target)


@pytest.mark.parametrize(
    "spoil, says",
    [
        pytest.param(lambda d: (d / "tokenizer.json").unlink(), "differ from the manifest: tok", id="missing"),
        pytest.param(lambda d: (d / "extra.json").write_text("{}"), "differ from the manifest: extra.json", id="extra"),
        pytest.param(lambda d: (d / "model.py").write_text(""), "differ from the manifest: model.py", id="extra-code"),
        pytest.param(flip, "sha256 differs", id="flipped-bit"),
        pytest.param(
            lambda d: (d / "config.json").write_text("{"), r"config\.json: 1 bytes, the manifest says", id="truncated"
        ),
        pytest.param(link, r"tokenizer\.json: not a plain file", id="symlink"),
        pytest.param(lambda d: (d / "manifest.json").unlink(), "it was never published", id="no-manifest"),
        pytest.param(lambda d: (d / "manifest.json").write_text("{}"), "manifest digest", id="other-manifest"),
    ],
)
def test_a_set_that_changed_after_publication_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    directory, digest = publish(tmp_path)
    spoil(directory)
    with pytest.raises(WeightsRefused, match=says):
        weights.verify(directory, digest)


@pytest.mark.parametrize(
    "spoil, says",
    [
        pytest.param(
            lambda d: (d / "model.safetensors").write_bytes(safetensors({"embed.weight": (4, 2)})),
            "tensor names, dtypes or shapes",
            id="missing-tensor",
        ),
        pytest.param(
            lambda d: (d / "model.safetensors").write_bytes(safetensors({**TENSORS, "head.weight": (4, 4)})),
            "tensor names, dtypes or shapes",
            id="other-shape",
        ),
        pytest.param(lambda d: (d / "model.safetensors").write_bytes(b"abc"), "truncated", id="torn-header"),
        pytest.param(
            lambda d: (d / "model.safetensors").write_bytes(struct.pack("<Q", 2**40)), "is not a safetensors", id="huge"
        ),
        pytest.param(
            lambda d: (d / "model.safetensors").write_bytes(struct.pack("<Q", 3) + b"\x80\x04."),
            "broken safetensors header",
            id="pickle-in-disguise",
        ),
        pytest.param(lambda d: (d / "config.json").write_text('{"auto_map": {}}'), "auto_map", id="asks-for-code"),
    ],
)
def test_a_set_that_was_published_wrong_is_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    directory, _ = publish(tmp_path)
    spoil(directory)
    with pytest.raises(WeightsRefused, match=says):
        weights.verify(directory, republished(directory))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "modeling.py", "lib.so", "run.sh"])
def test_a_kind_of_file_that_could_carry_code_is_not_published(tmp_path: Path, name: str) -> None:
    def with_code(directory: Path) -> None:
        fill(directory)
        (directory / name).write_bytes(b"\x80\x04.")

    with pytest.raises(WeightsRefused, match=name):
        publish(tmp_path, with_code)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    directory, _ = publish(tmp_path)
    path = directory / "manifest.json"
    manifest = wire.loads(Manifest, path.read_bytes())
    outside = tuple(
        replace(entry, name="../tokenizer.json") if entry.name == "tokenizer.json" else entry
        for entry in manifest.files
    )
    path.write_text(wire.dumps(replace(manifest, files=outside)))
    with pytest.raises(WeightsRefused):
        weights.verify(directory, weights.manifest_digest(directory))


def test_a_set_without_tensors_is_no_weight_set(tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused, match="no tensor"):
        publish(tmp_path, lambda directory: (directory / "config.json").write_text("{}") and None)
