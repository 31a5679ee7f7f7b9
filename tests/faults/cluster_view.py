"""Everything that happens to a namespace's objects, seen once and told to all who play or judge."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults.cluster_client import ClusterClient, Refused

KINDS = (
    *("RewriterRelease", "RewriterRevision", "Pod", "Deployment", "Service", "PodDisruptionBudget", "Secret"),
    *("HTTPRoute", "Event"),
)

WITH_ISTIO = (*KINDS, "VirtualService")

Listener = Callable[[str, dict[str, Any]], None]


@dataclass
class ClusterView:
    """The live objects, and listeners who are told of every change."""

    client: ClusterClient
    namespace: str
    kinds: tuple[str, ...] = KINDS
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    known: set[tuple[str, str]] = field(default_factory=set)
    """Whatever was ever there."""
    seen: dict[str, int] = field(default_factory=dict)
    """Kind -> newest version that its watch has told of."""
    listeners: list[Listener] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [asyncio.create_task(self._watch(kind)) for kind in self.kinds]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The live objects of a kind."""
        return [item for (found, _), item in self.objects.items() if found == kind]

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One live object."""
        return self.objects.get((kind, name))

    async def until(self, is_so: Callable[[], bool], is_over: Callable[[], bool]) -> bool:
        """Wait for something to be true, looking after every change; False when it did not come true in time."""
        while not is_so():
            if is_over():
                return False
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 0.2)
        return True

    async def is_current(self) -> bool:
        """Whether this is what the API server has now."""
        for kind in self.kinds:
            listed = await self.client.call("GET", self.client.path(kind, self.namespace))
            there = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}
            if there != {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in self.of(kind)}:
                return False
        return True

    async def _watch(self, kind: str) -> None:
        """Again and again: a kind may not be installed yet, and an API server may go away for a while."""
        while True:
            with contextlib.suppress(Refused, aiohttp.ClientError, OSError):
                await self._watch_once(kind)
            await asyncio.sleep(0.5)

    async def _watch_once(self, kind: str) -> None:
        async for happened, item in self.client.watch(kind, self.namespace):
            key = (kind, item["metadata"]["name"])
            self.known.add(key)
            self.seen[kind] = max(self.seen.get(kind, 0), int(item["metadata"]["resourceVersion"]))
            if happened == "DELETED":
                self.objects.pop(key, None)
            else:
                self.objects[key] = item
            for listener in self.listeners:
                listener(happened, item)
            self.changed.set()
