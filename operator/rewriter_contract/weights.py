"""The format of a weight set: a versioned, immutable directory that is either published and checked, or not there.

The trainer publishes, the sampler and the serving pods verify BEFORE they touch a running engine: plain vLLM
reloads a directory with a missing tensor or a flipped bit and answers "200 OK" (measured), so every guarantee has
to come from here. Nothing in this module reads tensors with a library; the safetensors header is plain JSON.
"""

import hashlib
import json
import math
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from rewriter_contract import wire
from rewriter_contract.shards import sync_directory, sync_file
from rewriter_contract.volume import MANIFEST

ALLOWED_SUFFIXES: Final = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
"""Pickles, Python files and shared objects have no place in a weight set: loading them would run their code."""

MAX_HEADER_BYTES: Final = 64 * 1024 * 1024


class WeightsRefused(ValueError):
    """A weight set must not be loaded; the message names the file and the difference."""


@dataclass(frozen=True)
class FileEntry:
    """One file of the set."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Canary:
    """Log-probabilities of a fixed token sequence, so that a loaded engine can be compared with the files."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """log p(token[i+1] | token[..i]) in nats, one fewer than token_ids."""
    tolerance: float
    """Largest absolute difference that still counts as the same model (0.01 in float32, 0.1 in bfloat16)."""


@dataclass(frozen=True)
class Manifest:
    """manifest.json: written last, inside the temporary directory, before the rename."""

    version: str
    parent: str
    """Version that this one was trained from; empty for an imported base model."""
    dtype: str
    files: tuple[FileEntry, ...]
    tensors_sha256: str
    """Digest of the sorted `name dtype shape` lines of all tensors."""
    reward_revision: str
    seed: int
    canary: Canary
    created_by: str
    """Program and version that published the set."""


def publish(
    root: Path, version: str, writer: str, write_files: Callable[[Path], None], describe: Callable[[Path], Manifest]
) -> str:
    """Publish a weight set as `root/weights/<version>` and return the digest of its manifest.

    `write_files` fills an empty directory; `describe` makes its manifest (see `file_entries`, `tensors_digest`) while
    the files are written back. The manifest itself is written when they all are on the disk.
    A version that is already published is left alone and its digest returned: a repeated phase is harmless.
    A failure leaves nothing behind.
    """
    final = root / "weights" / version
    if (final / MANIFEST).exists():
        return manifest_digest(final)
    temporary = final.with_name(f".tmp-{writer}-{version}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write_files(temporary)
        with ThreadPoolExecutor(max_workers=1) as pool:  # the disk writes while `describe` hashes
            synced = pool.submit(_sync_files, tuple(temporary.iterdir()))
            try:
                manifest = describe(temporary)
            finally:
                synced.result()  # what the disk says comes first: it may be why the files cannot be described
        (temporary / MANIFEST).write_text(wire.dumps(manifest))
        sync_file(temporary / MANIFEST)
        sync_directory(temporary)
        temporary.rename(final)
        sync_directory(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest_digest(final)


def manifest_digest(directory: Path) -> str:
    """sha256 (hex) of manifest.json: the one name by which everything else refers to the set's content."""
    return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()


def verify(directory: Path, digest: str) -> Manifest:
    """Check a weight set completely and return its manifest; touch nothing.

    Checked: the manifest's own digest, the set of files, their kinds, sizes and sha256, the tensor names, dtypes and
    shapes, and that config.json asks for no code (`auto_map`).

    Raises:
        WeightsRefused: naming the first difference.
    """
    manifest = _read_manifest(directory, digest)
    listed = {entry.name for entry in manifest.files}
    present = {file.name for file in directory.iterdir()} - {MANIFEST}
    if listed != present:
        odd = ", ".join(sorted(listed ^ present))
        raise WeightsRefused(f"weight set {manifest.version}: files differ from the manifest: {odd}")
    with ThreadPoolExecutor(max_workers=4) as pool:  # sha256 releases the GIL; shards are hashed side by side
        list(pool.map(lambda entry: _verify_file(directory, entry), manifest.files))
    if tensors_digest(directory) != manifest.tensors_sha256:
        raise WeightsRefused(f"weight set {manifest.version}: tensor names, dtypes or shapes differ from the manifest")
    _refuse_code(directory)
    return manifest


def check_kinds(directory: Path) -> tuple[Path, ...]:
    """Every file in `directory` but the manifest, sorted by name.

    Raises:
        WeightsRefused: for a symlink, a directory, or a kind of file that could carry code.
    """
    paths = tuple(path for path in sorted(directory.iterdir()) if path.name != MANIFEST)
    for path in paths:
        if path.is_symlink() or not path.is_file() or path.suffix not in ALLOWED_SUFFIXES:
            raise WeightsRefused(
                f"{path.name}: only plain files ending in {', '.join(sorted(ALLOWED_SUFFIXES))} belong in a weight set"
            )
    return paths


def file_entries(directory: Path, known: Mapping[str, FileEntry] = MappingProxyType({})) -> tuple[FileEntry, ...]:
    """Entries of every file in `directory` but the manifest, sorted by name; `known` ones, by name, are not read.

    Raises:
        WeightsRefused: see `check_kinds`.
    """
    return tuple(
        known.get(path.name) or FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path))
        for path in check_kinds(directory)
    )


def tensors_digest(directory: Path) -> str:
    """Digest over `name dtype shape` of every tensor in the set's safetensors files, order-independent."""
    lines = []
    for path in sorted(directory.glob("*.safetensors")):
        for name, entry in _safetensors_header(path).items():
            if name != "__metadata__":
                lines.append(f"{name} {entry['dtype']} {entry['shape']}")
    if not lines:
        raise WeightsRefused(f"{directory.name}: no tensor in any *.safetensors file")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def tensor_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in the set's safetensors files, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        for name, entry in _safetensors_header(path).items():
            if name != "__metadata__":
                shapes[name] = tuple(cast("list[int]", entry["shape"]))
    return shapes


def parameters(files: Iterable[Path]) -> int:
    """How many numbers the tensors of these safetensors files hold.

    Raises:
        WeightsRefused: for a file whose header cannot be read.
    """
    count = 0
    for path in files:
        try:
            shapes = [entry["shape"] for name, entry in _safetensors_header(path).items() if name != "__metadata__"]
            sizes = [size for shape in shapes for size in cast("list[int]", shape)]
        except (AttributeError, KeyError, TypeError) as error:
            raise WeightsRefused(f"{path.name}: broken safetensors header") from error
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise WeightsRefused(f"{path.name}: broken safetensors header")
        count += sum(math.prod(cast("list[int]", shape)) for shape in shapes)
    return count


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(directory: Path, digest: str) -> Manifest:
    try:
        found = manifest_digest(directory)
    except FileNotFoundError as error:
        raise WeightsRefused(f"weight set {directory.name}: no {MANIFEST}; it was never published") from error
    if found != digest:
        raise WeightsRefused(f"weight set {directory.name}: manifest digest {found[:12]}, expected {digest[:12]}")
    try:
        return wire.loads(Manifest, (directory / MANIFEST).read_bytes(), MANIFEST)
    except wire.WireError as error:
        raise WeightsRefused(f"weight set {directory.name}: {error}") from error


def _verify_file(directory: Path, entry: FileEntry) -> None:
    path = directory / entry.name
    if path.parent != directory or path.suffix not in ALLOWED_SUFFIXES or path.is_symlink() or not path.is_file():
        raise WeightsRefused(f"{entry.name}: not a plain file of an allowed kind")
    size = path.stat().st_size
    if size != entry.size:
        raise WeightsRefused(f"{entry.name}: {size} bytes, the manifest says {entry.size}")
    if file_sha256(path) != entry.sha256:
        raise WeightsRefused(f"{entry.name}: sha256 differs from the manifest; the file is damaged")


def _refuse_code(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    if "auto_map" in config:
        raise WeightsRefused("config.json: has auto_map, which would load code; export the model without custom code")


def _safetensors_header(path: Path) -> dict[str, dict[str, object]]:
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise WeightsRefused(f"{path.name}: truncated safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > MAX_HEADER_BYTES:
            raise WeightsRefused(f"{path.name}: header of {length} bytes is not a safetensors file")
        try:
            header: dict[str, dict[str, object]] = json.loads(file.read(length))
        except ValueError as error:
            raise WeightsRefused(f"{path.name}: broken safetensors header") from error
    return header


def _sync_files(paths: Iterable[Path]) -> None:
    for path in paths:
        sync_file(path)
