"""A gateway without a data plane of its own: accepts routes as Envoy would, and divides requests by the live weights.

What it counts is the outside view of traffic: which revision answered which stage, and every request that found nobody.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.clock import Clock
from tests.faults.cluster_client import Refused
from tests.faults.cluster_view import ClusterView
from tests.faults.kubelet import Kubelet

REQUESTS_PER_SECOND = 40
TICK_SECONDS = 0.06
"""Of the world's clock."""


@dataclass
class Gateway:
    """Of one namespace."""

    view: ClusterView
    kubelet: Kubelet
    clock: Clock
    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    """Stage -> Service -> weight, as taken over."""
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(stage, Service) -> requests."""
    failed: Counter[str] = field(default_factory=Counter)
    """Requests that found no ready pod, after the stage had been answered once."""
    busy: int = 0
    """Routes that are being accepted."""
    _remainders: dict[tuple[str, str], float] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def start(self) -> None:
        """Begin."""
        self.view.listeners.append(self._see)
        self._tasks.add(asyncio.create_task(self._requests()))

    async def stop(self) -> None:
        """End."""
        self.view.listeners.remove(self._see)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _see(self, happened: str, item: dict[str, Any]) -> None:
        if item["kind"] != "HTTPRoute":
            return
        if happened == "DELETED":
            self.rules = {}
            return
        parents = item.get("status", {}).get("parents", [])
        generation = item["metadata"]["generation"]
        if not parents or parents[0]["conditions"][0].get("observedGeneration") != generation:
            task = asyncio.create_task(self._accept(item, generation))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _accept(self, route: dict[str, Any], generation: int) -> None:
        self.rules = _rules(route)
        condition = {
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        parent = {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "rewriter.dev/stand-in",
            "conditions": [{"type": kind, **condition} for kind in ("Accepted", "ResolvedRefs")],
        }
        status = {"status": {"parents": [parent]}}
        self.busy += 1
        try:
            await self.view.client.patch("HTTPRoute", self.view.namespace, route["metadata"]["name"], status, "status")
        except Refused as error:
            if error.status != 404:
                raise
        finally:
            self.busy -= 1

    async def _requests(self) -> None:
        """Requests of every stage, divided exactly by weight."""
        last = self.clock.time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self.clock.time()
            for stage, backends in self.rules.items():
                for service, weight in backends.items():
                    self._send(stage, service, REQUESTS_PER_SECOND * (now - last) * weight / 100)
            last = now

    def _send(self, stage: str, service: str, exact: float) -> None:
        exact += self._remainders.get((stage, service), 0.0)
        whole = int(exact)
        self._remainders[(stage, service)] = exact - whole
        if not whole:
            return
        servers = self.kubelet.servers(service)
        if servers:
            self.answered[(stage, service)] += whole
            for index, server in enumerate(servers):
                server.answer(stage, whole // len(servers) + (index < whole % len(servers)))
        elif any(answered == stage for answered, _ in self.answered):
            self.failed[stage] += whole


def _rules(route: dict[str, Any]) -> dict[str, dict[str, int]]:
    found = {}
    for rule in route["spec"]["rules"]:
        headers = [header["value"] for match in rule["matches"] for header in match.get("headers", [])]
        if headers:
            found[headers[0]] = {backend["name"]: backend.get("weight", 1) for backend in rule["backendRefs"]}
    return found
