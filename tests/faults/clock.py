"""A clock for the operator and all who play with it: time flies while all wait, and goes as usual while one works.

Every wait of the operator (drain time, resync, backoff, deadlines) keeps its own length on this clock, so nothing of
the operator has to be configured or changed to make a release of minutes pass in seconds; and a busy machine makes a
run longer, never different. The harness moves the clock; the operator's process reads it from shared memory.
"""

import asyncio
import mmap
import selectors
import struct
import time as real
from collections.abc import Callable
from pathlib import Path
from typing import Any

TICK_SECONDS = 0.005
LONGEST_TICK_SECONDS = 0.02
"""Of the world: a harness that could not turn for longer lets no more time pass than this."""
EPOCH = 1.6e9


class Clock:
    """Unix seconds in a file that two processes map. `speed` is how fast time flies."""

    def __init__(self, path: Path, speed: float) -> None:
        self.path, self.speed = path, speed
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls, path: Path, speed: float) -> "Clock":
        """Set to the world's time."""
        path.write_bytes(struct.pack("d", real.time()))
        return cls(path, speed)

    def __getstate__(self) -> tuple[Path, float]:
        return self.path, self.speed

    def __setstate__(self, state: tuple[Path, float]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def time(self) -> float:
        """Unix seconds on this clock."""
        now: float = struct.unpack_from("d", self._shared())[0]
        return now

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.time() - EPOCH

    async def run(self, everybody_waits: Callable[[], bool]) -> None:
        """Move on until cancelled: fast while everybody waits."""
        last = real.perf_counter()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = real.perf_counter()
            passed, last = min(now - last, LONGEST_TICK_SECONDS), now
            struct.pack_into("d", self._shared(), 0, self.time() + passed * (self.speed if everybody_waits() else 1.0))

    async def sleep(self, seconds: float) -> None:
        """Sleep on this clock, in a process that does not live by it."""
        end = self.time() + seconds
        while (left := end - self.time()) > 0:
            await asyncio.sleep(max(left / self.speed, TICK_SECONDS))

    def install(self) -> None:
        """Make this process live by this clock: its time, its event loop, every timer of that loop."""
        real.time = self.time
        real.monotonic = self.monotonic
        asyncio.set_event_loop_policy(_Policy(self.speed))

    def _shared(self) -> mmap.mmap:
        if self._map is None:
            with self.path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 8)
        return self._map


class _Selector(selectors.DefaultSelector):
    """Wakes as early as the clock can be there; the loop looks at the clock and sleeps again if it is not."""

    speed = 1.0

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout if timeout is None else timeout / self.speed)


class _Policy(asyncio.DefaultEventLoopPolicy):
    """Event loops that sleep no longer than their clock."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self.speed = speed

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        selector = _Selector()
        selector.speed = self.speed
        return asyncio.SelectorEventLoop(selector)
