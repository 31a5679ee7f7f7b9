"""Pods that hang: they take every connection, and never say a word."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from rewriter_contract.agent import Route
from tests.faults.clock import Clock

READ_BYTES = 65_536


@dataclass
class Silence:
    """Which pods hang, and what of the operator's calls waits for them."""

    clock: Clock
    hangs: Callable[[str], bool] = lambda pod: False
    """By a pod's name."""
    _servers: dict[str, asyncio.Server] = field(default_factory=dict)
    _calls: int = 0

    def at(self, pod: str, route: Route) -> Route:
        """A pod's call; on a connection from before it hung, none is answered, and no connection is kept."""

        def answer(*call: object) -> object:
            if self.hangs(pod):
                raise ConnectionResetError
            return route.handler(*call)  # type: ignore[arg-type]

        return Route(route.method, route.path, answer, route.open)

    async def begin(self, address: str, port: int) -> None:
        """From now on whoever calls here waits until it gives up."""
        self._servers[address] = await asyncio.start_server(self._take, address, port)

    def end(self, address: str) -> None:
        """The pod is gone."""
        server = self._servers.pop(address, None)
        if server:
            server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count(1)
        try:
            with contextlib.suppress(ConnectionError):
                while await reader.read(READ_BYTES):
                    pass
        finally:
            self._count(-1)
            writer.close()

    def _count(self, change: int) -> None:
        self._calls += change
        self.clock.hangs(self._calls)
