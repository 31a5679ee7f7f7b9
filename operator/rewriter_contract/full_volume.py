"""Tells a full volume from every other trouble, whichever library stumbled over it. Standard library only.

Only Python's own calls raise an OSError with a number. safetensors raises an error of its own that quotes the system's
words. torch, where it opens the file itself, says no more than that a stream failed (measured on a full file system):
that counts only where the file system is seen to be full.
"""

import errno
import os
from pathlib import Path
from typing import Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT)

LITTLE_BYTES: Final = 16 * 1024 * 1024
"""A file system with less than this is full: what failed to be written has mostly been larger, and is still there."""

_WORDS: Final = ("No space left on device", "Disk quota exceeded")

_VAGUE_WORDS: Final = ("iostream error", "PytorchStreamWriter failed writing file")


def is_full(error: BaseException, written_to: Path | None = None) -> bool:
    """Whether `error`, or what caused it, says that there was no room to write below `written_to`."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if (isinstance(found, OSError) and found.errno in FULL) or _says(found, _WORDS):
            return True
        if written_to is not None and _says(found, _VAGUE_WORDS):
            return _has_little_room(written_to)
        found = found.__cause__ or found.__context__
    return False


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return any(word in str(error) for word in words)


def _has_little_room(directory: Path) -> bool:
    told = os.statvfs(directory)
    return told.f_blocks > 0 and told.f_bavail * told.f_frsize < LITTLE_BYTES
