"""Calls to trainer, sampler and serving pods. A pod that does not answer is None, never an exception: pods die.

Short deadlines, no redirects, bounded answers: a pod that hangs must not hold up a release.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp

from rewriter_contract import wire
from rewriter_contract.agent import EPOCH_HEADER

T = TypeVar("T")

CALL_SECONDS: Final = 5.0
ROWS_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
PORT: Final = 8080


@dataclass(frozen=True)
class Answer:
    """What a pod said: HTTP status and body."""

    status: int
    body: bytes


@dataclass
class Agents:
    """HTTP to pods by their addresses."""

    session: aiohttp.ClientSession
    epoch: int
    """Told with every call, so that a pod that knows a later leader refuses."""

    async def get(self, kind: type[T], ip: str, token: str, path: str, seconds: float = CALL_SECONDS) -> T | int | None:
        """The value at `path`; the HTTP status where it is an error; None where the pod does not answer."""
        answer = await self._call("GET", ip, token, path, None, seconds)
        if answer is None:
            return None
        if answer.status != 200:
            return answer.status
        try:
            return wire.loads(kind, answer.body, path)
        except wire.WireError:
            return None

    async def put(self, ip: str, token: str, path: str, body: Any, seconds: float) -> Answer | None:
        """Give an order; the caller reads what became of it with the next GET."""
        return await self._call("PUT", ip, token, path, wire.dumps(body).encode(), min(CALL_SECONDS, seconds))

    async def _call(
        self, method: str, ip: str, token: str, path: str, body: bytes | None, seconds: float
    ) -> Answer | None:
        url = f"http://{f'[{ip}]' if ':' in ip else ip}:{PORT}{path}"
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            EPOCH_HEADER: str(self.epoch),
        }
        timeout = aiohttp.ClientTimeout(total=seconds, connect=2.0)
        try:
            async with self.session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                data = await _whole(response)
                return None if data is None else Answer(response.status, data)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


async def _whole(response: aiohttp.ClientResponse) -> bytes | None:
    """The body to its end, however many pieces it comes in; None for one that is too long to be an answer of ours."""
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            return None
    return bytes(data)
