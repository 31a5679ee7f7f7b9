"""Between the operator and the API server: passes everything on, writes everything down, and does what the plan says.

Plain HTTP/1.1 towards the operator, the administrator's certificate towards the API server. Watches are relayed event
by event; a bookmark is sent as often as a real API server would by the operator's clock.
"""

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from rewriter_contract.agent import Route
from tests.faults.clock import Clock
from tests.faults.cluster_client import ClusterClient, lines
from tests.faults.plans import Fault, Plan
from tests.faults.poison import NO_POISON, Poison
from tests.faults.signatures import Write, kind_of, signature_of, target_of

BOOKMARK_SECONDS = 55.0
ORDER_SECONDS = 60.0
"""Of the world: a pod's thread waits no longer for the harness's loop."""
FAULT_SECONDS = 100.0
"""How long a fault that begins at a write lasts: longer than the operator's time-outs and its resync."""
STALE_SECONDS = 40.0
"""The same of stale lists, which change nothing of what the operator waits for: it tries the same again at once."""
HELD = 4
"""Events of a watch that are turned round."""
HELD_SECONDS = 5.0
"""How long the first of them waits at most."""
OLD_BY = 5
"""Events of a kind by which one that comes again lags."""
BREAK_SECONDS = 10.0
"""Between two ends of a watch."""
STALE_BY = 4
"""Writes by which a stale list lags."""


@dataclass
class Injector:
    """Decides, at each write, whether this is where the plan strikes. Asked from the proxy and from pods' threads."""

    plan: Plan
    clock: Clock
    kill: Callable[[], None]
    terminate: Callable[[], None]
    delete_release: Callable[[], Coroutine[Any, Any, None]]
    counter: Counter[str] = field(default_factory=Counter)
    writes: list[tuple[Write, bool]] = field(default_factory=list)
    """(write, effective)"""
    struck_at: float | None = None
    """When it struck first."""
    struck: list[Write] = field(default_factory=list)
    armed: bool = False
    """Kill at the operator's next request."""
    begun: int | None = None
    """Writes that came before the workload's own; None while it has not begun."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def begin(self) -> None:
        """From here on the writes are the workload's, and a fault that is not at a write may happen."""
        self.begun = len(self.writes)

    def own_writes(self) -> list[Write]:
        """The workload's, in order, without those that changed nothing."""
        return [write for write, effective in self.writes[self.begun or 0 :] if effective]

    def told(self) -> str:
        """Every write, for people: those in brackets changed nothing."""
        return "".join(f"{write}\n" if effective else f"({write})\n" for write, effective in self.writes)

    def arrives(self, signature: str) -> tuple[Write, Fault | None]:
        """A write is here; the fault that is to happen at it."""
        with self._lock:
            self.counter[signature] += 1
            write = Write(signature, self.counter[signature])
            hit = self._is_hit(write)
            if hit:
                self.struck.append(write)
                self.struck_at = self.struck_at or self.clock.time()
            return write, self.plan.fault if hit else None

    def _is_hit(self, write: Write) -> bool:
        if self.plan.at:
            return not self.struck and self.begun is not None and kind_of(write) == self.plan.at
        return write in self.plan.writes  # each comes once: a write that is tried again has another ordinal

    def at_orders(self, pod: str, route: Route) -> Route:
        """A pod's call; when it is an order, it is a write with the same crash points as those to the API server."""
        if route.method != "PUT":
            return route

        def ordered(match: re.Match[str], body: bytes) -> Any:
            write, fault = self.arrives(_order_signature(pod, match[0], body))
            if fault is Fault.KILLED_BEFORE:
                self.strike()
                raise ConnectionResetError
            if fault is Fault.TERMINATED:
                self.terminate()
            if fault is Fault.RELEASE_DELETED:
                asyncio.run_coroutine_threadsafe(self.delete_release(), self._loop).result(ORDER_SECONDS)
            answer = route.handler(match, body)
            self.writes.append((write, True))
            if fault in (Fault.KILLED_UNANSWERED, Fault.ANSWER_LOST):
                if fault is Fault.KILLED_UNANSWERED:
                    self.strike()
                raise ConnectionResetError
            self.armed = self.armed or fault is Fault.KILLED_AFTER
            return answer

        return Route(route.method, route.path, ordered)

    def lasts(self, fault: Fault) -> bool:
        """Whether a fault that goes on for a while is on now."""
        if self.plan.fault is not fault:
            return False
        at_once = not self.plan.writes and not self.plan.at
        if at_once and self.struck_at is None and self.begun is not None:
            self.struck_at = self.clock.time()
        seconds = STALE_SECONDS if fault is Fault.LISTS_STALE else FAULT_SECONDS
        return self.struck_at is not None and self.clock.time() - self.struck_at < seconds

    def strike(self) -> None:
        """Kill the operator."""
        self.armed = False
        self.kill()


@dataclass
class FaultProxy:
    """One operator's way to the API server."""

    client: ClusterClient
    injector: Injector
    clock: Clock
    poison: Poison = NO_POISON
    port: int = 0
    under_way: int = 0
    """Calls that are not watches."""
    newest: dict[str, int] = field(default_factory=dict)
    """Plural -> newest version that a write was answered with."""
    watch_log: list[str] = field(default_factory=list)
    past: dict[str, list[bytes]] = field(default_factory=dict)
    """Plural -> all events of its watches, one after the other."""
    _versions: list[int] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)
    _errors: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._runner = web.AppRunner(web.Application(client_max_size=64 * 1024 * 1024), access_log=None)
        assert isinstance(self._runner.app, web.Application)
        self._runner.app.router.add_route("*", "/{path:.*}", self._answer)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Close."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.injector.armed:
            self.injector.strike()
            return _vanish(request)
        if request.query.get("watch"):
            return await self._watch(request)
        self.under_way += 1
        try:
            if self.poison.errs(request.path_qs, await request.read()):
                return _error(500)
            if request.method == "GET":
                return await self._pass_on(request, self._path_of_read(request), b"")
            return await self._write(request)
        finally:
            self.under_way -= 1

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        target = target_of(request.path)
        if target is not None and target.plural == "leases":  # a heartbeat, and no write about any release
            return await self._pass_on(request, request.path_qs, body)
        write, fault = self.injector.arrives(signature_of(request.method, request.path, body))
        if fault is Fault.KILLED_BEFORE:
            self.injector.strike()
            return _vanish(request)
        if fault is Fault.TERMINATED:
            self.injector.terminate()
        if fault is Fault.RELEASE_DELETED:
            await self.injector.delete_release()
        if self.injector.lasts(Fault.ERRORS) and self._is_refused():
            return _error(self.injector.plan.code)
        response = await self._pass_on(request, request.path_qs, body)
        assert isinstance(response, web.Response)
        self.injector.writes.append((write, self._is_effective(request, response)))
        match fault:
            case Fault.KILLED_UNANSWERED:
                self.injector.strike()
                return _vanish(request)
            case Fault.ANSWER_LOST:
                return _vanish(request)
            case Fault.KILLED_AFTER:
                self.injector.armed = True
        return response

    def _is_refused(self) -> bool:
        self._errors += 1
        return self._errors % 2 == 1

    async def _pass_on(self, request: web.Request, path: str, body: bytes) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() in ("accept", "content-type")}
        async with self.client.session.request(
            request.method, URL(self.client.server + path, encoded=True), data=body or None, headers=headers
        ) as answer:
            data = await answer.read()
            if request.method == "GET" and answer.status == 200:
                data = self.poison.told(request.path, data)
            return web.Response(status=answer.status, body=data, content_type=answer.content_type)

    def _is_effective(self, request: web.Request, response: web.Response) -> bool:
        """Whether anything is different since: an answer without error, and a version that was not there before."""
        if response.status >= 400:
            return False
        assert isinstance(response.body, bytes)
        version = json.loads(response.body).get("metadata", {}).get("resourceVersion", "")
        if request.method == "DELETE":
            return True
        target = target_of(request.path)
        plural = target.plural if target else ""
        key = f"{plural}/{json.loads(response.body).get('metadata', {}).get('name', '')}"
        changed = bool(self._known.get(key) != version)
        self._known[key] = version
        if changed and version.isdigit():
            self._versions.append(int(version))
            self.newest[plural] = max(self.newest.get(plural, 0), int(version))
        return changed

    def _path_of_read(self, request: web.Request) -> str:
        """A list may be answered from the past: etcd still has it."""
        target = target_of(request.path)
        is_list = target is not None and not target.name
        if is_list and self.injector.lasts(Fault.LISTS_STALE) and len(self._versions) > STALE_BY:
            version = self._versions[-1 - STALE_BY]
            mark = "&" if request.query_string else "?"
            return f"{request.path_qs}{mark}resourceVersion={version}&resourceVersionMatch=Exact"
        return request.path_qs

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        url = URL(self.client.server + request.path_qs, encoded=True)
        target = target_of(request.path)
        plural = target.plural if target else request.path
        async with self.client.session.get(url) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            with contextlib.suppress(ConnectionError):  # the operator went away
                await response.prepare(request)
                await Relay(self, response, plural, request.query.get("resourceVersion", "")).run(answer)
            return response


@dataclass
class Relay:
    """One watch."""

    proxy: FaultProxy
    response: web.StreamResponse
    plural: str
    version: str
    template: dict[str, str] = field(default_factory=dict)
    held: list[bytes] = field(default_factory=list)
    """Events that wait for later ones, which come before them."""

    async def run(self, answer: aiohttp.ClientResponse) -> None:
        """Until either side ends it."""
        reading = asyncio.create_task(self._relay(answer))
        marking = asyncio.create_task(self._bookmarks())
        breaking = asyncio.create_task(self._break())
        releasing = asyncio.create_task(self._release_in_time())
        tasks = {reading, marking, breaking, releasing}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.exception()

    async def _relay(self, answer: aiohttp.ClientResponse) -> None:
        injector = self.proxy.injector
        async for line in lines(answer):
            event = json.loads(line)
            kind, found = event["type"], event["object"]
            self.version = found.get("metadata", {}).get("resourceVersion", self.version)
            self.template = {"kind": found.get("kind", ""), "apiVersion": found.get("apiVersion", "")}
            name = found.get("metadata", {}).get("name", "")
            self.proxy.watch_log.append(f"{self.plural} {kind} {name}")
            if injector.plan.kind == f"{self.plural} {kind}" and injector.lasts(Fault.EVENTS_DROPPED):
                continue
            if not injector.lasts(Fault.WATCHES_FROZEN):
                for sent in self.told(line):
                    await self._write(sent)

    def told(self, line: bytes) -> list[bytes]:
        """What is sent for an event: itself, and whatever the plan says beside, before or instead of it."""
        injector = self.proxy.injector
        if injector.lasts(Fault.EVENTS_TWICE):
            return [line, line]
        if injector.lasts(Fault.EVENTS_OLD):
            past = self.proxy.past.setdefault(self.plural, [])
            past.append(line)
            return [line, *past[-1 - OLD_BY : -OLD_BY]]
        self.held.append(line)
        if injector.lasts(Fault.EVENTS_REORDERED):
            return self._turned_round() if len(self.held) == HELD else []
        return self._turned_round()

    def _turned_round(self) -> list[bytes]:
        turned, self.held = self.held[::-1], []
        return turned

    async def _write(self, line: bytes) -> None:
        await self.response.write(line + b"\n")
        self.proxy.clock.tell()

    async def _release_in_time(self) -> None:
        """No event is held for ever."""
        while True:
            first = self.held[:1]
            await self.proxy.clock.sleep(HELD_SECONDS)
            if first and self.held[:1] == first:
                for line in self._turned_round():
                    await self._write(line)

    async def _bookmarks(self) -> None:
        """As a real API server does about every minute."""
        while True:
            await self.proxy.clock.sleep(BOOKMARK_SECONDS)
            if self.version and self.template and not self.proxy.injector.lasts(Fault.WATCHES_FROZEN):
                body = {**self.template, "metadata": {"resourceVersion": self.version}}
                await self.response.write(json.dumps({"type": "BOOKMARK", "object": body}).encode() + b"\n")

    async def _break(self) -> None:
        """Ends the watch again and again while the plan says so."""
        injector, clock = self.proxy.injector, self.proxy.clock
        while True:
            await clock.sleep(BREAK_SECONDS)
            if injector.lasts(Fault.WATCHES_CUT):
                return
            for fault, code in ((Fault.WATCHES_EXPIRED, 410), (Fault.WATCHES_BROKEN, 500)):
                if injector.lasts(fault):
                    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
                    told = {"type": "ERROR", "object": {**status, "reason": "Expired", "message": "by the plan"}}
                    await self.response.write(json.dumps(told).encode() + b"\n")
                    return


def _order_signature(pod: str, path: str, body: bytes) -> str:
    """`ORDER shop-c0001-sampler-0 /v1/weights r0001-p01`"""
    version = json.loads(body).get("version", "") if path == "/v1/weights" else ""
    return f"ORDER {pod} {path} {version}".rstrip()


def _vanish(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _error(code: int) -> web.Response:
    reasons = {403: "Forbidden", 409: "Conflict", 422: "Invalid", 429: "TooManyRequests", 503: "ServiceUnavailable"}
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reasons.get(code, "")}
    headers = {"Retry-After": "1"} if code == 429 else {}
    return web.json_response({**body, "message": "by the plan"}, status=code, headers=headers)
