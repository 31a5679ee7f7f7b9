"""The gateway of many releases: accepts every route as a real one would, and gives held candidates their requests.

It has no data plane. What it stands for here is the answer that a release waits for, and counters that move.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from rewriter_operator.workloads import names
from tests.faults.cluster_view import ClusterView
from tests.faults.gateway_controller import GatewayController, Shares
from tests.faults.kubelet import Kubelet
from tests.faults.pod_programs import Server

REQUESTS_PER_TICK: Final = 40
TICK_SECONDS: Final = 1.0
PASSTHROUGH: Final = names.serving("", -1)


@dataclass
class ManyRoutes:
    """Of one namespace."""

    view: ClusterView
    kubelet: Kubelet
    routes: dict[str, Shares] = field(default_factory=dict)
    """Only those that give a revision requests; weights above 0."""
    _client: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        """Its routes."""
        self._controller = GatewayController(self.view, self._take_over)

    def start(self) -> None:
        """Begin."""
        self._controller.start()
        self._client = asyncio.create_task(self._requests())

    async def stop(self) -> None:
        """End."""
        await self._controller.stop()
        if self._client:
            self._client.cancel()
            await asyncio.gather(self._client, return_exceptions=True)

    def _take_over(self, route: str, shares: Shares | None) -> None:
        self.routes.pop(route, None)
        live = serving(shares or {})
        if serves_a_revision(live):
            self.routes[route] = live

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


def serving(shares: Shares) -> Shares:
    """Those Services of each stage whose weight is above 0."""
    return {stage: {name: weight for name, weight in backends.items() if weight} for stage, backends in shares.items()}


def serves_a_revision(live: Shares) -> bool:
    """Whether anything but the passthrough gets requests: only then does somebody look at what they became."""
    return any(not name.endswith(PASSTHROUGH) for backends in live.values() for name in backends)
