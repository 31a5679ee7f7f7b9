"""Who plays which pod: releases that may become active have stand-ins with HTTP, all others have kwok's pods.

A thousand stand-ins would cost the machine more than what is measured; kwok's pods are only a status.
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from e2e.bench.scale.kwok import NODES
from tests.faults.cluster_client import Refused
from tests.faults.cluster_view import ClusterView


@dataclass
class PodSplit:
    """Binds some pods to kwok's nodes, as a scheduler would; shows all others to the stand-in kubelet."""

    view: ClusterView
    is_kwoks: Callable[[dict[str, Any]], bool]
    stand_ins: ClusterView | None = None
    """The kubelet's: it never watches by itself, and is told only of the pods that are its own."""
    _bound: set[str] = field(default_factory=set)
    _nodes: Any = field(default_factory=lambda: itertools.cycle(NODES))
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def start(self) -> None:
        """Begin."""
        self.view.listeners.append(self._see)

    async def stop(self) -> None:
        """End."""
        self.view.listeners.remove(self._see)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _see(self, happened: str, item: dict[str, Any]) -> None:
        if item["kind"] != "Pod":
            return
        uid = item["metadata"]["uid"]
        if not self.is_kwoks(item):
            for listener in self.stand_ins.listeners if self.stand_ins else ():
                listener(happened, item)
        elif happened == "ADDED" and uid not in self._bound:
            self._bound.add(uid)
            task = asyncio.create_task(self._bind(item["metadata"]["name"], next(self._nodes)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _bind(self, pod: str, node: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        try:
            await self.view.client.call(
                "POST", self.view.client.path("Pod", self.view.namespace, pod, "binding"), binding
            )
        except Refused as error:
            if error.status not in (404, 409):  # gone, or bound before
                raise
