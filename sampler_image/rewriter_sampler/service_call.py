"""One JSON POST to a service of the user's (relevance, search), with keep-alive, retries and hard limits.

For relevance.py and gold.py, which say what the bodies mean. It must never follow a redirect (queries would go to a
host that nobody configured), never read without a limit, and never wait without one.
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
    """Seconds for one attempt, from connecting to the last byte."""
    attempts: int = 4
    backoff: float = 0.25
    """Seconds before the second attempt; doubles, with jitter so that many samplers do not return in step."""
    _idle: queue.SimpleQueue[http.client.HTTPConnection] = field(default_factory=queue.SimpleQueue, repr=False)

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
        deadline = time.monotonic() + self.timeout
        connection = self._connection()
        try:
            connection.request("POST", self._target(), data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = _read(connection, response, deadline)
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

    def _connection(self) -> http.client.HTTPConnection:
        """An idle connection, or a new one."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            return kind(self._parts.hostname or "", self._parts.port, timeout=self.timeout)
        if connection.sock is not None:
            connection.sock.settimeout(self.timeout)  # the last answer's reading shortened it
        return connection


def _close_all(idle: "queue.SimpleQueue[http.client.HTTPConnection]") -> None:
    while not idle.empty():
        idle.get_nowait().close()


def _read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body, in pieces: a server that drips one byte a second must not hold a shard for hours."""
    pieces, size = [], 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no complete answer after {size} bytes")
        if connection.sock is not None:
            connection.sock.settimeout(left)
        piece = response.read1(65536)
        if not piece:
            break
        size += len(piece)
        if size > MAX_RESPONSE_BYTES:
            raise CallFailed("ResponseTooLarge", f"answer is over {MAX_RESPONSE_BYTES} bytes", retryable=False)
        pieces.append(piece)
    if response.length:  # closed before Content-Length was reached
        raise http.client.IncompleteRead(b"", response.length)
    response.close()  # read1 does not at the end of the body; an open response would block the next request
    return b"".join(pieces)
