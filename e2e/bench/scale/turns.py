"""Takes turns with other users of a small machine: each step that is timed, or that loads it, holds one lock.

Without a file nobody waits. A step at rest holds nothing: what is counted there does not depend on who else works.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Turns:
    """Over a lock file (`flock`), which `flock FILE COMMAND` of other users takes too."""

    file: Path | None = None

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for the machine, while the loop (and whoever is played in it) goes on; give it back at the end."""
        if self.file is None:
            yield
            return
        with self.file.open("a") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield
