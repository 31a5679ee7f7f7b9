"""The gateway of many releases: accepts every route as a real one would, and gives held candidates their requests.

It has no data plane. What it stands for here is the answer that a release waits for, and counters that move.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from rewriter_operator.workloads import names
from tests.faults.cluster_client import Refused
from tests.faults.cluster_view import ClusterView
from tests.faults.kubelet import Kubelet
from tests.faults.pod_programs import Server

REQUESTS_PER_TICK: Final = 40
TICK_SECONDS: Final = 1.0

Shares = dict[str, dict[str, int]]
"""Stage -> Service -> weight."""


@dataclass
class ManyRoutes:
    """Of one namespace."""

    view: ClusterView
    kubelet: Kubelet
    routes: dict[str, Shares] = field(default_factory=dict)
    """Only those that divide a stage between two."""
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
        name, shares = item["metadata"]["name"], shares_of(item)
        self.routes.pop(name, None)
        if happened == "DELETED":
            return
        if any(len(backends) > 1 for backends in shares.values()):
            self.routes[name] = shares
        parents = item.get("status", {}).get("parents", [])
        if not parents or parents[0]["conditions"][0].get("observedGeneration") != item["metadata"]["generation"]:
            task = asyncio.create_task(self._accept(item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _accept(self, route: dict[str, Any]) -> None:
        condition = {
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "observedGeneration": route["metadata"]["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        parent = {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "rewriter.dev/stand-in",
            "conditions": [{"type": kind, **condition} for kind in ("Accepted", "ResolvedRefs")],
        }
        status = {"status": {"parents": [parent]}}
        try:
            await self.view.client.patch("HTTPRoute", self.view.namespace, route["metadata"]["name"], status, "status")
        except Refused as error:
            if error.status != 404:
                raise

    async def _requests(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            servers = self._servers()
            for shares in list(self.routes.values()):
                for stage, backends in shares.items():
                    for service, weight in backends.items():
                        _send(servers[service], stage, round(REQUESTS_PER_TICK * weight / 100))

    def _servers(self) -> dict[str, list[Server]]:
        """Service -> what runs behind it."""
        found: dict[str, list[Server]] = defaultdict(list)
        for pod in self.kubelet.running.values():
            if isinstance(pod.program, Server):
                cycle = pod.labels[names.LABEL_CYCLE]
                revision = -1 if cycle == "passthrough" else int(cycle)
                found[names.serving(pod.labels[names.LABEL_RELEASE], revision)].append(pod.program)
        return found


def _send(servers: Iterable[Server], stage: str, requests: int) -> None:
    for server in servers:
        server.answer(stage, requests)


def shares_of(route: dict[str, Any]) -> Shares:
    """Weights above 0, as the route's rules have them."""
    found: Shares = {}
    for rule in route["spec"]["rules"]:
        headers = [header["value"] for match in rule["matches"] for header in match.get("headers", [])]
        if headers:
            backends = {backend["name"]: int(backend.get("weight", 1)) for backend in rule["backendRefs"]}
            found[headers[0]] = {name: weight for name, weight in backends.items() if weight}
    return found
