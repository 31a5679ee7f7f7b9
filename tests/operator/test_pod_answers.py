"""What pods answer over real HTTP: a long answer arrives whole, and a pod that answers badly is a silent one, soon."""

import asyncio
import resource
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest

from rewriter_contract import wire
from rewriter_contract.agent import Route, serve
from rewriter_contract.messages import WorkReport, WorkState
from rewriter_operator.cluster import agents
from rewriter_operator.cluster.agents import Agents
from tests.odd_answers import (
    HEAD,
    Answer,
    drips_its_body,
    drips_its_chunk_sizes,
    drips_its_head,
    hangs_up,
    has_endless_headers,
    never_ends,
    odd_server,
    promises_a_terabyte,
    says_nothing,
    sends_elsewhere,
    speaks_another_language,
)

TOKEN = "secret"


@dataclass(frozen=True)
class Rows:
    """Something long."""

    text: str


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    """A pod whose /v1/rows are three million letters."""
    rows = Rows("r" * 3_000_000)
    server = serve(0, TOKEN, [Route("GET", "/v1/rows", lambda _match, _body: rows)], "127.0.0.1")
    monkeypatch.setattr(agents, "PORT", server.server_address[1])
    yield rows
    server.shutdown()
    server.server_close()


def fetched(kind: type[Any] = Rows, seconds: float = 20.0) -> Any:
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session:
            return await Agents(session, 1).get(kind, "127.0.0.1", TOKEN, "/v1/rows", seconds)

    return asyncio.run(ask())


def test_an_answer_that_comes_in_many_pieces_is_read_to_its_end(pod: Rows) -> None:
    assert fetched() == pod


def test_an_answer_above_the_limit_is_none(pod: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MAX_ANSWER_BYTES", len(pod.text) - 1)
    assert fetched() is None


# --- pods that answer badly


@pytest.fixture
def odd_pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """A pod whose every connection is answered by the given function, byte by byte."""
    with ExitStack() as servers:

        def answered_by(answer: Answer) -> None:
            monkeypatch.setattr(agents, "PORT", servers.enter_context(odd_server(answer)))

        yield answered_by


def packs_much_into_little(connection: socket.socket) -> None:
    """A quarter of a gibibyte in a quarter of a mebibyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join([*(packer.compress(b" " * 0x100000) for _ in range(256)), packer.flush()])
    connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


BAD = [
    says_nothing,
    drips_its_head,
    drips_its_body,
    drips_its_chunk_sizes,
    never_ends,
    promises_a_terabyte,
    has_endless_headers,
    hangs_up,
    speaks_another_language,
]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
def test_a_pod_that_answers_badly_is_silent_after_a_moment(
    odd_pod: Callable[[Answer], None],
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents, "MAX_ANSWER_BYTES", 4_000_000)
    odd_pod(answer)
    began = time.monotonic()
    assert fetched(seconds=0.5) is None
    assert time.monotonic() - began < 5


def test_a_pod_is_never_followed_to_another_address(
    odd_pod: Callable[[Answer], None],
) -> None:
    odd_pod(sends_elsewhere)
    assert fetched(seconds=2) == 302


def test_an_answer_that_grows_when_unpacked_takes_no_memory(
    odd_pod: Callable[[Answer], None],
) -> None:
    odd_pod(packs_much_into_little)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fetched(seconds=20) is None
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024, f"{grown // 1024} MiB more"


@pytest.mark.parametrize("hours", [-2, 0, 2])
def test_a_heartbeat_is_told_by_our_clock_whatever_the_pods_says(odd_pod: Callable[[Answer], None], hours: int) -> None:
    now = time.time()
    theirs = now + hours * 3600
    body = wire.dumps(WorkReport(WorkState.RUNNING, heartbeat_at=theirs - 10)).encode()
    date = formatdate(theirs, usegmt=True).encode()

    def works(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Date: " + date + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    odd_pod(works)
    found = fetched(WorkReport, seconds=5)
    assert isinstance(found, WorkReport)
    assert abs(found.heartbeat_at - (now - 10)) < 10
