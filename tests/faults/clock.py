"""A clock for the operator and all who play with it: time flies while all wait, and crawls while anybody works.

Every wait of the operator (drain time, resync, backoff, deadlines) keeps its own length on this clock, so nothing of
the operator has to be configured or changed to make a release of minutes pass in seconds. The operator's event loops
say until when they sleep, and time flies no further than the first of them wants to be woken; a call that is under way
is work, so none runs into its time-out because whoever answers is slow. A busy machine makes a run longer, never
different. The harness moves the clock; the operator's process reads it from shared memory.
"""

import asyncio
import math
import mmap
import selectors
import signal
import struct
import threading
import time as real
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

TICK_SECONDS = 0.01
LONGEST_TICK_SECONDS = 0.03
"""Of the world: a harness that could not turn for longer lets no more time pass than this."""
CRAWL = 0.2
"""Speed while anybody works, so that no time-out of the operator is the fault of a busy machine."""
SHORTEST_SLEEP_SECONDS = 0.002
NOTICE_SECONDS = 2.0
"""Of the world: an answer that wakes nobody within this was for nobody."""
EPOCH = 1.6e9
AWAKE = -1.0
UNUSED = 0.0
SLOTS = 6
_CALLS, _HUNG = 2 + SLOTS, 3 + SLOTS
_FORM = f"dd{SLOTS}ddd"
"""Time; how often a loop woke; until when each loop sleeps (AWAKE, UNUSED, or seconds of `monotonic`); calls and work
in threads that are under way; how many of them nobody will ever answer."""


class Clock:
    """Unix seconds in a file that two processes map. `speed` is how fast time flies."""

    def __init__(self, path: Path, speed: float) -> None:
        self.path, self.speed = path, speed
        self._places: memoryview[float] | None = None
        self._lock = threading.Lock()
        self._slots = self._working = 0
        self._told: tuple[float, float] | None = None
        self.waited = 0.0
        """Seconds of this clock in which everybody waited: nobody's work, however slow, is in it."""

    @classmethod
    def create(cls, path: Path, speed: float) -> "Clock":
        """Set to the world's time."""
        path.write_bytes(struct.pack(_FORM, real.time(), 0.0, *[UNUSED] * SLOTS, 0, 0))
        return cls(path, speed)

    def __getstate__(self) -> tuple[Path, float]:
        return self.path, self.speed

    def __setstate__(self, state: tuple[Path, float]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def time(self) -> float:
        """Unix seconds on this clock."""
        return self._get(0)

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.time() - EPOCH

    async def sleep(self, seconds: float) -> None:
        """Sleep on this clock, in a process that does not live by it."""
        end = self.time() + seconds
        while (left := end - self.time()) > 0:
            await asyncio.sleep(max(left / self.speed, TICK_SECONDS))

    # --- the harness --------------------------------------------------------------------------------------------------

    async def run(self, everybody_waits: Callable[[], bool]) -> None:
        """Move on until cancelled: fast while everybody waits."""
        last = real.perf_counter()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = real.perf_counter()
            passed, last = min(now - last, LONGEST_TICK_SECONDS), now
            flies = everybody_waits() and not self._is_unnoticed()
            slow, fast = self.time() + passed * CRAWL, self.time() + passed * self.speed
            passes = (max(slow, min(fast, self._first_wake())) if flies else slow) - self.time()
            self.waited += passes if flies else 0.0
            self.advance(passes)

    def advance(self, seconds: float) -> None:
        """Move on by so much."""
        self._set(0, self.time() + seconds)

    def begin_life(self) -> None:
        """A process is about to start: it works until its loops say that they sleep."""
        self.end_life()
        self._set(2, AWAKE)

    def end_life(self) -> None:
        """The process is gone: nobody is asleep, and nobody works."""
        for slot in range(SLOTS):
            self._set(2 + slot, UNUSED)
        self._set(_CALLS, 0)

    def hangs(self, calls: int) -> None:
        """So many calls wait for pods that never answer: whoever waits for them only waits."""
        self._set(_HUNG, calls)

    def tell(self) -> None:
        """An event was sent to the operator: time does not fly before it has woken."""
        self._told = (self._get(1), real.perf_counter())

    def _is_unnoticed(self) -> bool:
        if self._told is None:
            return False
        wakes, at = self._told
        if self._get(1) != wakes or real.perf_counter() - at > NOTICE_SECONDS:
            self._told = None
        return self._told is not None

    def _first_wake(self) -> float:
        """When the first sleeper wants to be woken; now, while one is awake, or waits for an answer that will come."""
        if self._get(_CALLS) > self._get(_HUNG):
            return EPOCH + AWAKE
        sleepers = [until for slot in range(SLOTS) if (until := self._get(2 + slot)) != UNUSED]
        return EPOCH + min(sleepers, default=math.inf)

    # --- the operator's process ---------------------------------------------------------------------------------------

    def install(self) -> None:
        """Make this process live by this clock: its time, its event loops, every timer of these loops, its alarm."""
        from tests.faults import borrowed_time  # not in the harness, which lives by the world's time

        borrowed_time.follow(self.time, self.monotonic)
        asyncio.set_event_loop_policy(_Policy(self))
        # Work in a thread is work, though the loop sleeps; and so is waiting for an answer.
        asyncio.to_thread = self._counted(asyncio.to_thread)
        aiohttp.ClientSession._request = self._counted(aiohttp.ClientSession._request)  # type: ignore[method-assign]
        in_world = signal.setitimer

        def set_timer(which: int, seconds: float, interval: float = 0.0) -> tuple[float, float]:
            """The kernel knows the world's time only: while a write is under way, this clock is that much slower."""
            return in_world(which, seconds / CRAWL, interval)

        signal.setitimer = set_timer

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any, **named: Any) -> Any:
            self._works(1)
            try:
                return await function(*arguments, **named)
            finally:
                self._works(-1)

        return counted

    def new_slot(self) -> int:
        """For a loop of this process."""
        with self._lock:
            self._slots += 1
            return 1 + min(self._slots, SLOTS)

    def asleep(self, slot: int, until: float) -> None:
        """A loop sleeps until a time of `monotonic`."""
        self._set(slot, until)

    def awake(self, slot: int) -> None:
        """A loop works."""
        self._set(slot, AWAKE)
        self._set(1, self._get(1) + 1)

    def _works(self, change: int) -> None:
        with self._lock:
            self._working += change
            self._set(_CALLS, self._working)

    def _get(self, place: int) -> float:
        found: float = self._shared()[place]
        return found

    def _set(self, place: int, value: float) -> None:
        """In one piece: `struct.pack_into` would write zeros first, and whoever reads them takes it to be 1970."""
        self._shared()[place] = value

    def _shared(self) -> "memoryview[float]":
        if self._places is None:
            with self.path.open("r+b") as file:
                self._places = memoryview(mmap.mmap(file.fileno(), struct.calcsize(_FORM))).cast("d")
        return self._places


class _Selector(selectors.DefaultSelector):
    """Sleeps by the clock, and says until when."""

    clock: Clock
    slot: int

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        until = math.inf if timeout is None else self.clock.monotonic() + timeout
        self.clock.asleep(self.slot, min(until, 1e18))
        ready: Any = []
        while not ready and (left := until - self.clock.monotonic()) > 0:
            ready = super().select(max(min(left, 20.0) / self.clock.speed, SHORTEST_SLEEP_SECONDS))
        self.clock.awake(self.slot)
        return ready


class _Policy(asyncio.DefaultEventLoopPolicy):
    """Event loops that sleep by the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        selector = _Selector()
        selector.clock, selector.slot = self.clock, self.clock.new_slot()
        return asyncio.SelectorEventLoop(selector)
