"""Asks Prometheus and the user's web hooks for the metrics of spec.rollout.metrics, beside the passes that need them.

A pass never waits here: it says what is due, and is given what has been answered by now; the next pass, a second or two
later, finds the rest. So a service that hangs holds up no release, and least of all one that is being taken back. What
is under way is in no status: an operator that starts anew asks again, and what was not counted counts once.

Short deadlines, small answers, no redirects, no proxies, few connections to one host, and threads of its own for names:
a name server that hangs must not take the threads that plan. What goes with a call (credentials, CAs, headers) is read
beside the pass, too, and is in nothing that a pass sees.
"""

import asyncio
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from rewriter_operator.cluster.http_answers import told_at, whole
from rewriter_operator.cluster.metric_access import (
    Access,
    MetricAccess,
    NoAccess,
    authority,
    credentials,
    server_name,
)
from rewriter_operator.cluster.metric_tls import failure
from rewriter_operator.core.metric_answers import of_prometheus, of_refusal, of_web_hook, shown, words
from rewriter_operator.core.metric_calls import MetricCall
from rewriter_operator.core.world import MetricAnswer

MAX_ANSWER_BYTES: Final = 64 * 1024
"""An answer with one number has some hundred."""

CONNECTIONS: Final = 64
CONNECTIONS_TO_A_HOST: Final = 8
NAME_THREADS: Final = 4

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class _Asked:
    task: "asyncio.Task[MetricAnswer]"
    at: float


@dataclass
class MetricServices:
    """The calls that are under way, or answered and not counted yet, of every release."""

    access: MetricAccess
    asked: dict[str, dict[str, _Asked]] = field(default_factory=dict)
    """Release -> digest of what is asked."""
    session: aiohttp.ClientSession | None = None
    """Since the first call."""

    def answers(self, release: str, calls: Sequence[MetricCall], now: float) -> dict[str, MetricAnswer]:
        """What is known of all that is due; what is not asked yet is asked from now on, what is not due is let go."""
        before, kept = self.asked.pop(release, {}), {}
        for call in calls:
            asked = before.pop(call.of, None)
            if asked is not None and asked.task.done() and not 0 <= now - asked.at < call.interval:
                asked = None  # nobody counted it in time: it says nothing of now
            kept[call.of] = asked or _Asked(asyncio.create_task(self._ask(call)), now)
        for asked in before.values():
            asked.task.cancel()
        if kept:
            self.asked[release] = kept
        return {of: asked.task.result() for of, asked in kept.items() if asked.task.done()}

    def forget(self, release: str) -> None:
        """A release is gone."""
        self.answers(release, (), 0.0)

    async def close(self) -> None:
        """End every call."""
        tasks = [asked.task for calls in self.asked.values() for asked in calls.values()]
        self.asked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.session is not None:
            await self.session.close()
            self.session = None

    async def _ask(self, call: MetricCall) -> MetricAnswer:
        asked_at = time.time()
        try:
            access = await self.access.of(call)
        except NoAccess as refusal:
            return MetricAnswer(asked_at, reason=str(refusal))
        return await self._look(call, access, asked_at)

    async def _look(self, call: MetricCall, access: Access, asked_at: float) -> MetricAnswer:
        try:
            return await self._answer(call, access, asked_at)
        except TimeoutError:
            reason = f"no whole answer within {call.timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            reason = _failure(call, access, error)
        return MetricAnswer(asked_at, reason=reason)

    async def _answer(self, call: MetricCall, access: Access, asked_at: float) -> MetricAnswer:
        """
        Raises:
            TimeoutError, aiohttp.ClientError, OSError: when there is no whole answer.
        """
        timeout = aiohttp.ClientTimeout(total=call.timeout)
        content = {} if call.body is None else {"Content-Type": "application/json"}
        asking = self._session().request(
            "GET" if call.body is None else "POST",
            call.url,
            params=None if call.query is None else {"query": call.query},
            data=call.body,
            headers={**access.headers, **_HEADERS, **content},
            timeout=timeout,
            allow_redirects=False,  # least of all with credentials
            ssl=access.tls or True,
            server_hostname=access.server_name,
        )
        async with asking as response:
            body = await whole(response, MAX_ANSWER_BYTES)
            if body is None:
                return MetricAnswer(asked_at, reason=f"answered with more than {MAX_ANSWER_BYTES} bytes")
            if response.status in (401, 403):
                said = access.without_secrets(words(body))
                return of_refusal(response.status, said, asked_at, credentials(call.service))
            if call.body is not None:
                answer = of_web_hook(response.status, body, asked_at)
            else:
                answer = of_prometheus(response.status, body, asked_at, _answered_at(response))
            return replace(answer, reason=access.without_secrets(answer.reason))

    def _session(self) -> aiohttp.ClientSession:
        if self.session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Names(),
                limit=CONNECTIONS,
                limit_per_host=CONNECTIONS_TO_A_HOST,
                force_close=True,  # a kept one that the service has closed meanwhile would fail a look
            )
            self.session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self.session


class _Names(AbstractResolver):
    """The system's resolver on threads of its own: aiohttp's takes the event loop's, on which plan() runs."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(NAME_THREADS, thread_name_prefix="metric-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self.threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)


def _answered_at(response: aiohttp.ClientResponse) -> float:
    """By the clock of the server, so that a clock that is off makes no sample late; by ours where it tells none."""
    told = told_at(response)
    return time.time() if told is None else told


def _failure(call: MetricCall, access: Access, error: Exception) -> str:
    trusted = authority(call.service.ca_bundle if call.service else None)
    of_tls = failure(error, server_name(call), trusted)
    if of_tls is not None:
        return of_tls
    if isinstance(error, aiohttp.ClientConnectorError):  # its own words have an SSLContext in them
        return f"{type(error).__name__}: {error.host}:{error.port}: {shown(error.strerror or 'no connection')}"
    return f"{type(error).__name__}: {access.without_secrets(shown(str(error)))}"
