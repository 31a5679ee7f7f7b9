"""Takes turns with other users of a small machine: what is timed, and what loads it, holds one lock.

Without a file nobody waits. At rest nothing is held: what is counted then does not depend on who else works.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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


@asynccontextmanager
async def turn_of(file: Path | None) -> AsyncIterator[Turn]:
    """Wait for a lock file (`flock`), which `flock FILE COMMAND` of other users takes too; the loop goes on."""
    lock = file.open("a") if file else None
    turn = Turn(lock)
    try:
        if lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield turn
    finally:
        turn.give_back()
