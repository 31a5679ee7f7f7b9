"""Tells a full volume from every other trouble, whichever library stumbled over it. Standard library only.

Only Python's own calls raise an OSError with a number. safetensors raises an error of its own that quotes the system's
words, and torch one that says no more than that a file could not be written.
"""

import errno
from typing import Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_WORDS: Final = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing file")


def is_full(error: BaseException) -> bool:
    """Whether `error`, or what caused it, says that there was no room to write."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if (isinstance(found, OSError) and found.errno in FULL) or any(words in str(found) for words in _WORDS):
            return True
        found = found.__cause__ or found.__context__
    return False
