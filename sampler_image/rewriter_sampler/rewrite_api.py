"""The HTTP surface that serving pods and the passthrough share: POST /v1/rewrite, health, stats, metrics.

Consumers call POST /v1/rewrite through the gateway, without a token; the operator reads GET /v1/stats with one.
A request that runs into the deadline is a 504, not an empty 200: the consumer goes on without rewrites either way,
but only an error shows in the counters by which a rollout is judged. Queries are never logged.
"""

import hmac
import logging
import re
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rewriter_contract import wire
from rewriter_contract.agent import boot_id
from rewriter_contract.messages import (
    STAGE_HEADER,
    LoadState,
    Rewrite,
    RewriteRequest,
    RewriteResponse,
    ServingStats,
    WeightsRef,
)
from rewriter_sampler.stage_counters import UNKNOWN_STAGE, Answer, Counters

MAX_QUERY_CHARS = 1024
MAX_BODY_BYTES = 16 * 1024
SHADOW_SUFFIX = "-shadow"

log = logging.getLogger(__name__)


class RewriteFailed(Exception):
    """A request cannot be answered with rewrites; becomes a status with a reason and a sentence."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Rewrites:
    """What a backend found for one query."""

    rewrites: tuple[Rewrite, ...]
    copies: int = 0
    """How many were left out because they equal the query."""


@dataclass(frozen=True)
class Condition:
    """Whether a backend can answer."""

    state: LoadState
    weights: WeightsRef | None
    message: str = ""
    order: str = ""
    """Digest of the order that it serves by; empty while that is none, and for what is served once and for all."""


class Backend(Protocol):
    """Where rewrites come from."""

    @property
    def revision(self) -> str: ...

    @property
    def lives(self) -> int:
        """How many orders have changed it since its start: with each one it counts anew."""
        ...

    def condition(self) -> Condition: ...

    async def rewrite(self, query: str, n: int) -> Rewrites:
        """At most n rewrites. Raises RewriteFailed."""
        ...


class RewriteApi:
    """One pod's API over one backend."""

    def __init__(self, backend: Backend, token: str, life: str) -> None:
        self._backend, self._token, self._boot_id = backend, token, life
        self._counters, self._life = Counters(backend.revision), backend.lives
        self.draining = False
        """Set on SIGTERM: not ready any more, but whatever still arrives is answered."""

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/rewrite", self._post_rewrite)
        app.router.add_get("/v1/stats", self._get_stats)
        app.router.add_get("/healthz", self._get_healthz)
        app.router.add_get("/readyz", self._get_readyz)
        app.router.add_get("/metrics", self._get_metrics)
        return app

    def _counted(self) -> Counters:
        """Of what is served now: a pod that is given another order counts anew, as another life, so that nothing that
        one revision has answered is counted for the other.

        Also where the revision stays: whoever counts from a moment in which the pod served nobody would take all that
        it has ever answered for new.
        """
        if self._life != self._backend.lives:
            self._life = self._backend.lives
            self._counters, self._boot_id = Counters(self._backend.revision), boot_id()
        return self._counters

    async def _post_rewrite(self, request: web.Request) -> web.Response:
        started = time.perf_counter()
        counters, revision = self._counted(), self._backend.revision  # the backend changes only between requests
        stage = request.headers.get(STAGE_HEADER, "")
        answer = Answer(seconds=0.0, ok=False, timeout=True)  # what stands when the consumer hangs up
        try:
            body = _rewrite_request(await request.read())
            stage = stage or body.stage
            found = await self._backend.rewrite(body.query, body.n)
            answer = Answer(seconds=0.0, ok=True, empty=not found.rewrites, copies=found.copies)
            return self._json(HTTPStatus.OK, RewriteResponse(found.rewrites, revision))
        except RewriteFailed as error:
            answer = Answer(seconds=0.0, ok=False, timeout=error.status is HTTPStatus.GATEWAY_TIMEOUT)
            return self._json(error.status, {"reason": error.reason, "message": str(error)})
        except web.HTTPRequestEntityTooLarge:
            answer = Answer(seconds=0.0, ok=False)
            message = f"body: more than {MAX_BODY_BYTES} bytes"
            return self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"reason": "BodyTooLarge", "message": message})
        except Exception:  # the boundary of the process: one bad request must not end the server
            log.exception("POST /v1/rewrite failed")
            answer = Answer(seconds=0.0, ok=False)
            return self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"reason": "InternalError", "message": "see the log"})
        finally:
            took = replace(answer, seconds=time.perf_counter() - started)
            counters.add(stage or UNKNOWN_STAGE, took, is_mirrored(request.headers.get("Host", "")))

    async def _get_stats(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            body = {"reason": "BadToken", "message": "this call needs the release's agent token"}
            return self._json(HTTPStatus.UNAUTHORIZED, body)
        now, counters = self._backend.condition(), self._counted()
        stats = ServingStats(
            boot_id=self._boot_id,
            revision=self._backend.revision,
            state=now.state,
            weights=now.weights,
            stages=counters.by_stage(),
            message=now.message,
            shadowed=counters.shadowed(),
            order=now.order,
        )
        told = wire.to_wire(stats)
        for later in ("shadowed", "order"):  # an operator that needs none of them may be from before such a field
            if not told[later]:
                del told[later]
        return self._json(HTTPStatus.OK, told)

    async def _get_healthz(self, _: web.Request) -> web.Response:
        return self._json(HTTPStatus.OK, {"status": "ok"})

    async def _get_readyz(self, _: web.Request) -> web.Response:
        now = self._backend.condition()
        if self.draining:
            return self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"reason": "Draining", "message": "the pod is ending"})
        if now.state is not LoadState.READY:
            return self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"reason": now.state, "message": now.message})
        return self._json(HTTPStatus.OK, {"status": "ready"})

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._counted().registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    def _json(self, status: HTTPStatus, body: Any) -> web.Response:
        response = web.Response(status=status, text=wire.dumps(body), content_type="application/json")
        if self.draining:
            response.force_close()  # the client's next request must find another pod
        return response


def is_mirrored(host: str) -> bool:
    """Whether a router marked the request as a copy: Envoy appends this to the host's name, before its port."""
    return re.sub(r":[0-9]+$", "", host).endswith(SHADOW_SUFFIX)


def _rewrite_request(data: bytes) -> RewriteRequest:
    try:
        request = wire.loads(RewriteRequest, data)
    except wire.WireError as error:
        raise RewriteFailed(HTTPStatus.BAD_REQUEST, "BadBody", str(error)) from error
    length = len(request.query)
    if not request.query.strip() or length > MAX_QUERY_CHARS:
        message = f"query: {length} characters; must be 1 to {MAX_QUERY_CHARS}, not all white space"
        raise RewriteFailed(HTTPStatus.BAD_REQUEST, "BadQuery", message)
    try:
        request.query.encode("utf-8")
    except UnicodeEncodeError as error:
        message = f"query: character {error.start + 1} is half of one (a surrogate alone); send the whole character"
        raise RewriteFailed(HTTPStatus.BAD_REQUEST, "BadQuery", message) from error
    if request.n < 1:
        raise RewriteFailed(HTTPStatus.BAD_REQUEST, "BadN", f"n: got {request.n}; must be at least 1")
    return request
