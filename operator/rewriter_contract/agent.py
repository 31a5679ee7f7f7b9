"""The control server of a pod: bearer token, routes, and long work that is started by PUT and read by GET.

PUT is idempotent by its path: the same body again answers with the same work, another body is refused with 409.
One piece of work runs at a time, in a thread of its own, so that GETs are answered while a GPU is busy.
Errors are JSON `{"reason", "message"}`. The server binds to all addresses because the operator calls the pod's own;
everything but the health endpoints wants the token.
"""

import hmac
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from rewriter_contract import wire
from rewriter_contract.full_volume import is_full
from rewriter_contract.messages import PEER_LOST, VOLUME_FULL, WorkReport, WorkState

MAX_BODY_BYTES: Final = 4 * 1024 * 1024

EPOCH_HEADER: Final = "X-Rewriter-Epoch"
"""Epoch of the operator that calls. Once a higher one was seen, calls with a lower one are refused."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """A call cannot be done; becomes an HTTP status with a reason and a sentence."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class Cancelled(Exception):
    """Raised inside work that was told to stop."""


class WorkFailed(Exception):
    """Work ended without a result; the message goes to the operator as it is."""

    reason: str | None = None
    """Of the report, where the operator has to tell it from other failures."""


class VolumeFull(WorkFailed):
    """There was no room on the volume; nothing half-written counts."""

    reason = VOLUME_FULL


class PeerLost(WorkFailed):
    """Another pod that the work needs went away in the middle of it."""

    reason = PEER_LOST


@dataclass
class Progress:
    """What running work tells about itself; safe to update from its thread."""

    _table: "WorkTable"
    _key: str
    cancelled: threading.Event = field(default_factory=threading.Event)

    def update(self, **changes: Any) -> None:
        """Set fields of the WorkReport (done, total, metrics, message); beats the heart.

        Raises:
            Cancelled: when the operator asked for an end, so that work stops at its next update.
        """
        self._table.report(self._key, **changes)
        if self.cancelled.is_set():
            raise Cancelled


Work = Callable[[Progress], WorkReport]
"""Long work: does it, and returns its final report (state DONE)."""


class WorkTable:
    """All long work of this pod's life, by key. Nothing survives a restart: the operator asks again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[str, str] = {}
        self._reports: dict[str, WorkReport] = {}
        self._progress: dict[str, Progress] = {}
        self._running = threading.Semaphore(1)

    def put(self, key: str, body: str, work: Work) -> WorkReport:
        """Start `work` under `key`, or answer with what already runs (or ran) there.

        Failed and cancelled work starts anew with the next PUT.

        Raises:
            Refused: 409 when the key is taken by another body.
        """
        with self._lock:
            known = self._reports.get(key)
            if known and known.state in (WorkState.RUNNING, WorkState.DONE):
                if self._bodies[key] != body:
                    message = f"{key} already has another body; use a new cycle, phase or shard number"
                    raise Refused(HTTPStatus.CONFLICT, "OtherBody", message)
                return known
            progress = Progress(self, key)
            self._bodies[key], self._progress[key] = body, progress
            self._reports[key] = WorkReport(state=WorkState.RUNNING, heartbeat_at=time.time())
            threading.Thread(target=self._run, args=(key, work, progress), name=key, daemon=True).start()
            return self._reports[key]

    def get(self, key: str) -> WorkReport:
        """The report of `key`.

        Raises:
            Refused: 404 when this pod knows nothing of it (it may have restarted).
        """
        with self._lock:
            if key not in self._reports:
                raise Refused(HTTPStatus.NOT_FOUND, "UnknownWork", f"{key} was never ordered from this process")
            return self._reports[key]

    def cancel(self, key: str) -> WorkReport:
        """Ask work to stop at its next safe point."""
        report = self.get(key)
        self._progress[key].cancelled.set()
        return report

    def cancel_all(self) -> None:
        """Ask all work to stop: for SIGTERM."""
        for progress in list(self._progress.values()):
            progress.cancelled.set()

    def active(self) -> int:
        """How many pieces of work are running or waiting."""
        with self._lock:
            return sum(report.state is WorkState.RUNNING for report in self._reports.values())

    def report(self, key: str, **changes: Any) -> None:
        """Update the report of running work."""
        with self._lock:
            self._reports[key] = replace(self._reports[key], heartbeat_at=time.time(), **changes)

    def _run(self, key: str, work: Work, progress: Progress) -> None:
        with self._running:
            try:
                final = work(progress)
                self.report(
                    key, **{name: getattr(final, name) for name in final.__dataclass_fields__ if name != "heartbeat_at"}
                )
            except Cancelled:
                self.report(key, state=WorkState.CANCELLED, message="cancelled by the operator")
            except WorkFailed as error:
                log.error("%s failed: %s", key, error)
                self._failed(key, str(error), VOLUME_FULL if is_full(error) else error.reason)
            except Exception as error:  # the boundary of the process: a bug becomes a report, never a silent thread
                log.exception("%s failed", key)
                self._failed(key, f"{type(error).__name__}: {error}", VOLUME_FULL if is_full(error) else None)

    def _failed(self, key: str, message: str, reason: str | None) -> None:
        self.report(key, state=WorkState.FAILED, message=message[:1000], reason=reason)


class EpochGate:
    """Lets in the calls of the newest operator that this pod has heard of, and of no earlier one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._highest = 0

    def check(self, given: str | None) -> None:
        """
        Raises:
            Refused: 412 for an operator that another one has replaced. A call that names no epoch is let in.
        """
        epoch = int(given) if given and given.isdecimal() else None
        if epoch is None:
            return
        with self._lock:
            self._highest = max(self._highest, epoch)
            if epoch < self._highest:
                message = (
                    f"epoch {epoch} is over, this pod has heard of {self._highest}; only the current leader may call"
                )
                raise Refused(HTTPStatus.PRECONDITION_FAILED, "StaleEpoch", message)


Handler = Callable[[re.Match[str], bytes], Any]
"""(match of the path, body) -> a wire value (200), or a `Reply`."""


@dataclass(frozen=True)
class Reply:
    """An answer with a status or content type of its own."""

    status: HTTPStatus
    body: Any
    content_type: str = "application/json"


@dataclass(frozen=True)
class Route:
    """One call. `open` calls need no token: health, metrics, and the rewrite API that the gateway forwards to."""

    method: str
    path: str
    """A regular expression that must match the whole path."""
    handler: Handler
    open: bool = False


def boot_id() -> str:
    """A new name for this life of the process."""
    return secrets.token_hex(8)


def serve(port: int, token: str, routes: list[Route], address: str = "0.0.0.0") -> ThreadingHTTPServer:
    """Start answering in a background thread and return the server (call `shutdown()` to stop)."""

    class PodHandler(_Handler):
        table = [(route, re.compile(route.path)) for route in routes]
        secret = token
        epochs = EpochGate()

    server = _Server((address, port), PodHandler)
    threading.Thread(target=server.serve_forever, name="control-server", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    table: list[tuple[Route, re.Pattern[str]]]
    secret: str
    epochs: EpochGate
    timeout = 65

    def do_GET(self) -> None:
        self._dispatch("GET")

    def do_PUT(self) -> None:
        self._dispatch("PUT")

    def do_POST(self) -> None:
        self._dispatch("POST")

    def do_DELETE(self) -> None:
        self._dispatch("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s %s", self.address_string(), format % args)

    def _dispatch(self, method: str) -> None:
        try:
            self._send(self._answer(method))
        except Refused as refusal:
            self._send(Reply(refusal.status, {"reason": refusal.reason, "message": refusal.message}))
        except wire.WireError as error:
            self._send(Reply(HTTPStatus.BAD_REQUEST, {"reason": "BadBody", "message": str(error)}))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception:  # the boundary of the process: one bad call must not end the server
            log.exception("%s %s failed", method, self.path)
            self._send(Reply(HTTPStatus.INTERNAL_SERVER_ERROR, {"reason": "InternalError", "message": "see the log"}))

    def _answer(self, method: str) -> Reply:
        body = self._body()
        path = self.path.split("?", 1)[0]
        for route, pattern in self.table:
            match = pattern.fullmatch(path)
            if match and route.method == method:
                if not route.open:
                    self._check_token(self.headers.get("Authorization", ""))
                    self.epochs.check(self.headers.get(EPOCH_HEADER))
                answer = route.handler(match, body)
                return answer if isinstance(answer, Reply) else Reply(HTTPStatus.OK, answer)
        raise Refused(HTTPStatus.NOT_FOUND, "NoSuchCall", f"{method} {path} is not served here")

    def _check_token(self, given: str) -> None:
        if not hmac.compare_digest(given.encode(), f"Bearer {self.secret}".encode()):
            raise Refused(HTTPStatus.UNAUTHORIZED, "BadToken", "this call needs the release's agent token")

    def _body(self) -> bytes:
        given = self.headers.get("Content-Length") or "0"
        if not given.isdecimal():
            self.close_connection = True
            raise Refused(HTTPStatus.BAD_REQUEST, "BadLength", f"Content-Length is {given[:20]!r}; send a whole number")
        length = int(given)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BodyTooLarge", f"at most {MAX_BODY_BYTES} bytes")
        return self.rfile.read(length)

    def _send(self, reply: Reply) -> None:
        is_json = reply.content_type == "application/json"
        data = json.dumps(wire.to_wire(reply.body), allow_nan=False).encode() if is_json else reply.body
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
