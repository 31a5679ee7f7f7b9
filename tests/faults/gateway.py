"""A gateway without a data plane of its own: accepts routes as Envoy would, and divides requests by the live weights.

What it counts is the outside view of traffic: which revision answered which stage, and every request that found nobody.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.clock import Clock
from tests.faults.cluster_view import ClusterView
from tests.faults.gateway_controller import GatewayController, Shares
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
    rules: dict[str, Shares] = field(default_factory=dict)
    """Of each route, as taken over."""
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(stage, Service) -> requests."""
    failed: Counter[str] = field(default_factory=Counter)
    """Of each stage, `ROUTE STAGE`: requests that found no ready pod, after it had been answered once."""
    _begun: set[str] = field(default_factory=set)
    _remainders: dict[tuple[str, str], float] = field(default_factory=dict)
    _client: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        """Its routes."""
        self._controller = GatewayController(self.view, self._take_over)

    @property
    def busy(self) -> bool:
        """Whether a route is being accepted."""
        return self._controller.busy > 0

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
        self.rules[route] = shares or {}

    async def _requests(self) -> None:
        """Requests of every stage, divided exactly by weight."""
        last = self.clock.time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self.clock.time()
            for route, shares in list(self.rules.items()):
                for stage, backends in shares.items():
                    for service, weight in backends.items():
                        self._send(route, stage, service, REQUESTS_PER_SECOND * (now - last) * weight / 100)
            last = now

    def _send(self, route: str, stage: str, service: str, exact: float) -> None:
        exact += self._remainders.get((stage, service), 0.0)
        whole = int(exact)
        self._remainders[(stage, service)] = exact - whole
        if not whole:
            return
        servers = self.kubelet.servers(service)
        if servers:
            self.answered[(stage, service)] += whole
            self._begun.add(f"{route} {stage}")
            for index, server in enumerate(servers):
                server.answer(stage, whole // len(servers) + (index < whole % len(servers)))
        elif f"{route} {stage}" in self._begun:
            self.failed[f"{route} {stage}"] += whole
