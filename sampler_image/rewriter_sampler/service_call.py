"""One JSON POST to a service of the user's (relevance, search), with keep-alive, retries and hard limits.

For relevance.py and gold.py, which say what the bodies mean. It must never follow a redirect (queries would go to a
host that nobody configured), never read without a limit, and never wait without one: a service that drips its answer
must not hold a shard for hours.
"""

import http.client
import json
import queue
import random
import time
import weakref
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from rewriter_contract.timed_http import TimedConnection

MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
RETRYABLE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Client errors that are worth another try; all others mean that the same body fails again."""


class CallFailed(Exception):
    """No usable answer. `reason` is CamelCase and short: it ends up beside every value that is missing for it."""

    def __init__(self, reason: str, message: str, retryable: bool) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.retryable = reason, retryable


@dataclass
class Service:
    """A URL that answers JSON POSTs. Safe to use from several threads; idle connections end with this object."""

    url: str
    timeout: float
    """Seconds for one attempt, from connecting to the last byte of the answer."""
    attempts: int = 4
    backoff: float = 0.25
    """Seconds before the second attempt; doubles, with jitter so that many samplers do not return in step."""
    _idle: queue.SimpleQueue[TimedConnection] = field(default_factory=queue.SimpleQueue, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"service URL {self.url!r}: must be http://host[:port]/path or https://...")
        self._parts = parts
        weakref.finalize(self, _close_all, self._idle)

    def post(self, body: Any) -> Any:
        """The JSON value that the service answers to `body`. NaN and infinities come back as floats.

        Raises:
            CallFailed: when every attempt failed, or one failed in a way that another attempt cannot mend.
        """
        data = json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        for attempt in range(1, self.attempts + 1):
            try:
                return self._once(data)
            except CallFailed as failure:
                if not failure.retryable or attempt == self.attempts:
                    raise
                time.sleep(self.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        raise AssertionError("attempts must be at least 1")

    def _once(self, data: bytes) -> Any:
        connection = self._connection()
        connection.start(self.timeout)
        try:
            connection.request("POST", self._target(), data, {"Content-Type": "application/json"})
            with connection.getresponse() as response:  # an open one would block the next request
                answer = _read(response)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = "Timeout" if isinstance(error, TimeoutError) else "Unreachable"
            raise CallFailed(reason, f"{self.url}: {type(error).__name__} {error}", retryable=True) from error
        except CallFailed:
            connection.close()  # bytes of this answer may be left on the connection
            raise
        self._idle.put(connection)
        if response.status != HTTPStatus.OK:
            retryable = response.status >= 500 or response.status in RETRYABLE
            text = answer[:200].decode(errors="replace")
            raise CallFailed(f"Http{response.status}", f"{self.url} answered {response.status}: {text}", retryable)
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise CallFailed("NotJson", f"{self.url} answered 200 without JSON: {error}", retryable=False) from error

    def _target(self) -> str:
        query = f"?{self._parts.query}" if self._parts.query else ""
        return (self._parts.path or "/") + query

    def _connection(self) -> TimedConnection:
        """An idle connection, or a new one."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return TimedConnection(self._parts)


def _close_all(idle: "queue.SimpleQueue[TimedConnection]") -> None:
    while not idle.empty():
        idle.get_nowait().close()


def _read(response: http.client.HTTPResponse) -> bytes:
    """The body, in pieces: what is announced or sent beyond the limit is not taken into memory."""
    pieces, size = [], 0
    _check_size(response.length or 0)
    while piece := response.read1(65536):
        size += len(piece)
        _check_size(size)
        pieces.append(piece)
    if response.length:  # closed before Content-Length was reached
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)


def _check_size(size: int) -> None:
    if size > MAX_RESPONSE_BYTES:
        raise CallFailed("ResponseTooLarge", f"answer is over {MAX_RESPONSE_BYTES} bytes", retryable=False)
