"""Writes a model's tensors as safetensors files, hashed on the way, several files at a time.

The library's own writer makes a copy of every tensor first and leaves the file to be read once more for its sha256:
measured, three times what a plain copy of the file takes. A phase waits for this, so here each byte is hashed and
written from where it lies. Files are cut small, because whoever verifies the set hashes them side by side too.
The format is the library's: https://huggingface.co/docs/safetensors, an 8 byte length, a JSON header, the bytes.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch

from rewriter_contract.weights import FileEntry

FILE_BYTES: Final = 128 * 1024 * 1024
"""A file is ended before it grows over this; a tensor that is larger has one of its own."""

INDEX: Final = "model.safetensors.index.json"
"""Which tensor is in which file; there is none for a single file."""

DTYPES: Final[Mapping[torch.dtype, str]] = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names."""


def tensors_as_in(names: frozenset[str], policy: Any) -> dict[str, torch.Tensor] | None:
    """The tensors of `policy` under exactly these names; None where its own names are others.

    A tensor of the policy that is not among `names` must be the same memory as one that is (a tied head). Some
    architectures are renamed or fused when they are loaded: only the library that did it can undo it.
    """
    found: dict[str, torch.Tensor] = policy.state_dict()
    kept = {name: tensor for name, tensor in found.items() if name in names}
    memory = {tensor.data_ptr() for tensor in kept.values()}
    others = (tensor for name, tensor in found.items() if name not in names)
    if kept.keys() != names or not all(tensor.data_ptr() in memory for tensor in others):
        return None
    return kept if all(tensor.dtype in DTYPES for tensor in kept.values()) else None


def write_tensors(directory: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, FileEntry]:
    """Write `tensors` into `directory`; what was written, by file name, hashed from memory and not from the disk.

    On return the files are complete for every reader of this machine, and not yet synced.
    """
    parts = list(_parts(tensors))
    names = [f"model-{number:05d}-of-{len(parts):05d}.safetensors" for number in range(1, len(parts) + 1)]
    if len(parts) == 1:
        names = ["model.safetensors"]
    with ThreadPoolExecutor(max_workers=min(len(parts), len(os.sched_getaffinity(0)))) as pool:
        written = list(pool.map(_write_file, (directory / name for name in names), parts))
    if len(parts) > 1:
        where = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        index = {"metadata": {"total_size": sum(map(_size, tensors.values()))}, "weight_map": where}
        (directory / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True))
    return {entry.name: entry for entry in written}


def _parts(tensors: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors of each file, in order."""
    part: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if part and size + _size(tensor) > FILE_BYTES:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += _size(tensor)
    yield part


def _write_file(path: Path, tensors: Mapping[str, torch.Tensor]) -> FileEntry:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        pieces: Iterator[bytes | memoryview] = chain([_header(tensors)], map(_content, tensors.values()))
        for piece in pieces:
            digest.update(piece)  # lets go of the interpreter, as the write does
            file.write(piece)
        size = file.tell()
    return FileEntry(path.name, size, digest.hexdigest())


def _header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + _size(tensor)
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text


def _content(tensor: torch.Tensor) -> memoryview:
    """The tensor's bytes, where they lie if it is contiguous in the machine's memory."""
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
