"""Takes turns with other users of a small machine: what is timed, and what loads it, holds one lock.

Without a file nobody waits. At rest nothing is held: what is counted then does not depend on who else works.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Turn:
    """The machine is ours until this is given back, or until the block that took it ends."""

    def __init__(self, lock: IO[str] | None = None) -> None:
        self._lock = lock

    def give_back(self) -> None:
        """Let others work; a second time does nothing."""
        if self._lock:
            self._lock.close()
            self._lock = None


@contextmanager
def turn_of(file: Path | None) -> Iterator[Turn]:
    """Wait for a lock file (`flock`), which `flock FILE COMMAND` of other users takes too."""
    lock = file.open("a") if file else None
    turn = Turn(lock)
    try:
        if lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield turn
    finally:
        turn.give_back()
