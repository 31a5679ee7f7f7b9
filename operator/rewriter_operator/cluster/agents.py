"""Calls to trainer, sampler and serving pods. A pod that does not answer is None, never an exception: pods die.

Short deadlines, no redirects, bounded answers: a pod that hangs must not hold up a release.
"""

import time
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

import aiohttp

from rewriter_contract import wire
from rewriter_contract.agent import EPOCH_HEADER
from rewriter_contract.messages import WorkReport
from rewriter_operator.cluster.http_answers import told_at, whole

T = TypeVar("T")

CALL_SECONDS: Final = 5.0
ROWS_SECONDS: Final = 30.0
CLOCKS_AGREE_SECONDS: Final = 30.0
"""HTTP's dates have whole seconds, and an answer takes its time."""

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""A longer one is no answer of ours."""

PORT: Final = 8080


@dataclass(frozen=True)
class Answer:
    """What a pod said: HTTP status and body."""

    status: int
    body: bytes
    ahead: float = 0.0
    """Seconds by which the pod's clock is ahead of ours; 0 where they agree, or where it cannot be told."""


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
            found = wire.loads(kind, answer.body, path)
        except wire.WireError:
            return None
        return cast("T", _in_our_time(found, answer)) if isinstance(found, WorkReport) else found

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
                data = await whole(response, MAX_ANSWER_BYTES)
                return None if data is None else Answer(response.status, data, _ahead(response))
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


def _in_our_time(report: WorkReport, answer: Answer) -> WorkReport:
    """Its heartbeat by our clock: a node whose clock is hours off must not look as if its pod had stopped."""
    return replace(report, heartbeat_at=report.heartbeat_at - answer.ahead) if report.heartbeat_at > 0 else report


def _ahead(response: aiohttp.ClientResponse) -> float:
    told = told_at(response)
    ahead = 0.0 if told is None else told - time.time()
    return ahead if abs(ahead) > CLOCKS_AGREE_SECONDS else 0.0
