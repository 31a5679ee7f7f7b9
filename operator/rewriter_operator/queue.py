"""The work queue: keys in, one worker per key at a time, events coalesced, errors retried with backoff.

kopf's own timers, daemons and change handlers are not used because they die or freeze silently when one status patch
fails; its watches only put keys in here. Every key is looked at again within a minute of its last pass, so a lost event
costs at most that. Each at a time of its own: a thousand at once would stand in front of the one that somebody aborts.
And what a person has just changed goes ahead of all that is only due, and has workers of its own, until all that
follows from it is written.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from rewriter_operator import metrics
from rewriter_operator.errors import Retry, Stalled, Waiting

BACKOFF_SECONDS: Final = (0.5, 60.0)
RESYNC_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Again:
    """When a release wants its next pass."""

    seconds: float
    """Infinity: it is gone."""
    goes_on: bool = False
    """The pass wrote, and the next one carries on with it: as urgent as this one was."""


Reconcile = Callable[[str, bool], Awaitable[Again]]
"""Name of a release, and whether it is urgent."""


@dataclass(frozen=True)
class _Waiting:
    since: float
    urgent: bool


@dataclass
class WorkQueue:
    """Keys that want a reconcile."""

    reconcile: Reconcile
    workers: int = 16
    urgent_workers: int = 4
    """More of them, which take nothing but what is urgent: an abort does not wait for passes that are under way."""
    _ready: "asyncio.PriorityQueue[tuple[bool, int, str]]" = field(default_factory=asyncio.PriorityQueue)
    """The urgent ones first, each in its turn; the entry of a key that was overtaken by another of its own is void."""
    _urgent: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    """The urgent ones once more; likewise."""
    _turns: "count[int]" = field(default_factory=count)
    _dirty: dict[str, _Waiting] = field(default_factory=dict)
    """Keys that wait, or that were woken while being worked on."""
    _busy: set[str] = field(default_factory=set)
    _timers: "dict[str, asyncio.TimerHandle]" = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    last_pass: float = field(default_factory=time.monotonic)
    """Monotonic time of the last finished reconcile or idle look: what the liveness probe judges."""

    def wake(self, key: str, urgent: bool = False) -> None:
        """Reconcile `key` soon, an urgent one before those that are not; many wakes before it starts are one."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        waiting = self._dirty.get(key)
        if waiting and (waiting.urgent or not urgent):
            return
        self._dirty[key] = _Waiting(waiting.since if waiting else time.monotonic(), urgent)
        if key not in self._busy:
            self._line_up(key)

    def meet(self, key: str) -> None:
        """`key` exists: reconcile it soon if it is new here; one that has its time, or its turn, keeps it."""
        if key not in self._timers and key not in self._dirty and key not in self._busy:
            self.wake(key)

    def wake_after(self, key: str, seconds: float, urgent: bool = False) -> None:
        """Reconcile `key` after a while, unless something wakes it before."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.wake, key, urgent)

    def forget(self, key: str) -> None:
        """The object is gone."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        self._failures.pop(key, None)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.workers):
                group.create_task(self._work(self._next))
            for _ in range(self.urgent_workers):
                group.create_task(self._work(self._urgent.get))
            group.create_task(self._beat())

    async def _beat(self) -> None:
        """An idle queue is alive too, as long as its loop turns."""
        while True:
            if not self._busy:
                self.last_pass = time.monotonic()
            await asyncio.sleep(5)

    def _line_up(self, key: str) -> None:
        urgent = self._dirty[key].urgent
        self._ready.put_nowait((not urgent, next(self._turns), key))
        if urgent:
            self._urgent.put_nowait(key)
        metrics.DEPTH.set(len(self._dirty))

    async def _next(self) -> str:
        return (await self._ready.get())[2]

    async def _work(self, take: Callable[[], Awaitable[str]]) -> None:
        while True:
            key = await take()
            if key in self._busy or key not in self._dirty:
                continue
            waiting = self._dirty.pop(key)
            metrics.DEPTH.set(len(self._dirty))
            metrics.QUEUE_SECONDS.observe(time.monotonic() - waiting.since)
            self._busy.add(key)
            try:
                await self._one(key, waiting.urgent)
            finally:
                self._busy.discard(key)
                self.last_pass = time.monotonic()
            if key in self._dirty:
                self._line_up(key)

    async def _one(self, key: str, urgent: bool) -> None:
        """One reconcile, and the one place where an error becomes a time to look again."""
        try:
            with metrics.RECONCILE_SECONDS.time():
                again = await self.reconcile(key, urgent)
            self._failures.pop(key, None)
        except Waiting as waiting:
            again = Again(waiting.seconds)
        except Stalled as stalled:
            metrics.RECONCILE_ERRORS.labels("Stalled").inc()
            log.warning("%s: stalled: %s", key, stalled)
            again = Again(stalled.seconds)
        except Retry as error:
            metrics.RECONCILE_ERRORS.labels(type(error).__name__).inc()
            again = Again(self._backoff(key))
            log.warning("%s: %s; again in %.1f s", key, error, again.seconds)
        except Exception:  # the boundary: one poison object must not stop the others
            metrics.RECONCILE_ERRORS.labels("Bug").inc()
            again = Again(self._backoff(key))
            log.exception("%s: reconcile failed; again in %.1f s", key, again.seconds)
        self._plan_next(key, again, urgent)

    def _plan_next(self, key: str, again: Again, urgent: bool) -> None:
        """Whatever a pass asks for, its release is looked at within the resync time.

        One that was woken meanwhile has its turn already: an event of no urgency, of what the pass wrote perhaps, takes
        no urgency away.
        """
        goes_on = again.goes_on and urgent
        if again.seconds == math.inf:
            self.forget(key)
        elif key not in self._dirty:
            self.wake_after(key, min(again.seconds, RESYNC_SECONDS), goes_on)
        elif goes_on:
            self.wake(key, urgent=True)

    def _backoff(self, key: str) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        low, high = BACKOFF_SECONDS
        return min(high, low * 2.0 ** min(failures, 10)) * random.uniform(0.8, 1.2)
