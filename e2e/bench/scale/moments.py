"""When something became true of an object, as a watch from outside saw it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from e2e.bench.scale.latencies import Latencies
from tests.faults.cluster_view import ClusterView

Condition = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Awaited:
    """What is waited for: a condition of one object."""

    kind: str
    name: str
    is_so: Condition


@dataclass
class Moments:
    """Listens to a view. The time is taken when the event arrives, not when somebody gets to look at it."""

    view: ClusterView
    _awaited: dict[tuple[str, str], list[tuple[Condition, "asyncio.Future[float]"]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.view.listeners.append(self._see)

    def of(self, awaited: Awaited) -> "asyncio.Future[float]":
        """Monotonic seconds at which the condition was seen to hold; call it before what makes it hold."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        key = (awaited.kind, awaited.name)
        self._awaited.setdefault(key, []).append((awaited.is_so, future))
        return future

    def _see(self, happened: str, item: dict[str, Any]) -> None:
        key = (item["kind"], item["metadata"]["name"])
        waiting = self._awaited.get(key)
        if not waiting or happened == "DELETED":
            return
        now = time.monotonic()
        for is_so, future in list(waiting):
            if future.done() or is_so(item):
                waiting.remove((is_so, future))
                if not future.done():
                    future.set_result(now)

    async def after(self, since: float, futures: Sequence["asyncio.Future[float]"], limit: float) -> Latencies:
        """Seconds from `since` to each moment; what did not come within `limit` seconds is missed."""
        if futures:
            await asyncio.wait(futures, timeout=limit)
        seen = [future.result() - since for future in futures if future.done()]
        for future in futures:
            future.cancel()
        return Latencies(seen, missed=len(futures) - len(seen))

    async def one_by_one(
        self, acts: Sequence[tuple[Awaited, Callable[[], Awaitable[None]]]], pause: float, limit: float
    ) -> Latencies:
        """Each act alone: seconds from just before it is sent to what follows from it, then a pause."""
        seconds: list[float] = []
        missed = 0
        for awaited, act in acts:
            moment, since = self.of(awaited), time.monotonic()
            await act()
            one = await self.after(since, [moment], limit)
            seconds += one.seconds
            missed += one.missed
            await asyncio.sleep(pause)
        return Latencies(seconds, missed)

    async def all_at_once(
        self, acts: Sequence[tuple[Awaited, Callable[[], Awaitable[None]]]], limit: float
    ) -> Latencies:
        """All acts together: seconds from the moment at which the first is sent, whichever one it is."""
        moments, since = [self.of(awaited) for awaited, _ in acts], time.monotonic()
        await asyncio.gather(*(act() for _, act in acts))
        return await self.after(since, moments, limit)
