"""A consumer's side of the rewrite API: ask the gateway for one stage, and fail open.

Whatever goes wrong (no answer in time, an error, nonsense) the answer is "no rewrites" with a reason: search goes on
with the query alone. Never raises because of the network or of the other side.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from rewriter_contract import wire
from rewriter_contract.messages import STAGE_HEADER, RewriteResponse


@dataclass(frozen=True)
class Rewrites:
    """What one stage got."""

    texts: tuple[str, ...]
    revision: str
    """Who answered; empty when nobody did."""
    milliseconds: float
    status: int
    """HTTP status; 0 when there was no answer."""
    problem: str = ""
    """Why there is no answer; empty when there is one."""


class Gateway:
    """One rewriter behind one gateway."""

    def __init__(self, url: str, host: str, timeout: float) -> None:
        self._url = f"{url.rstrip('/')}/v1/rewrite"
        self._host = host
        self._timeout = timeout

    def rewrites(self, stage: str, query: str) -> Rewrites:
        """Rewrites of `query` for `stage`, or none with a problem."""
        started = time.monotonic()
        status, body, problem = self._post(stage, json.dumps({"query": query, "stage": stage}).encode())
        milliseconds = round((time.monotonic() - started) * 1000, 1)
        if status != 200:
            return Rewrites((), "", milliseconds, status, problem or f"HTTP {status}")
        try:
            answer = wire.loads(RewriteResponse, body)
        except wire.WireError as error:
            return Rewrites((), "", milliseconds, status, str(error))
        return Rewrites(tuple(rewrite.text for rewrite in answer.rewrites), answer.revision, milliseconds, status)

    def _post(self, stage: str, body: bytes) -> tuple[int, bytes, str]:
        headers = {"Content-Type": "application/json", STAGE_HEADER: stage}
        if self._host:
            headers["Host"] = self._host
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return answer.status, answer.read(), ""
        except urllib.error.HTTPError as error:
            return error.code, b"", error.reason
        except (OSError, http.client.HTTPException) as error:
            return 0, b"", f"{type(error).__name__}: {error}"
