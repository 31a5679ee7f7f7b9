"""What pods answer over real HTTP: a long answer arrives whole, and a pod that answers badly is a silent one, soon."""

import asyncio
import resource
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
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
def odd_pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[socket.socket], None]], None]]:
    """A pod whose every connection is answered by the given function, byte by byte."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(agents, "PORT", listener.getsockname()[1])
    connections: list[socket.socket] = []

    def answered_by(answer: Callable[[socket.socket], None]) -> None:
        def serve_all() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    threading.Thread(target=quietly, args=(answer, connection), daemon=True).start()

        threading.Thread(target=serve_all, daemon=True).start()

    yield answered_by
    listener.close()
    for connection in connections:
        connection.close()


def quietly(answer: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with suppress(OSError):
        connection.recv(65536)
        answer(connection)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def says_nothing(connection: socket.socket) -> None:
    threading.Event().wait(30)


def drips_its_head(connection: socket.socket) -> None:
    for byte in HEAD * 100:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def drips_its_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.05)


def never_ends(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")


def promises_a_terabyte(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
    while True:
        connection.sendall(b" " * 0x100000)


def has_endless_headers(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    while True:
        connection.sendall(b"X-Odd: " + b"x" * 1000 + b"\r\n")


def hangs_up(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
    connection.close()


def speaks_another_language(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 50)


def sends_elsewhere(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n")


def packs_much_into_little(connection: socket.socket) -> None:
    """A quarter of a gibibyte in a quarter of a mebibyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join([*(packer.compress(b" " * 0x100000) for _ in range(256)), packer.flush()])
    connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


BAD = [
    says_nothing,
    drips_its_head,
    drips_its_body,
    never_ends,
    promises_a_terabyte,
    has_endless_headers,
    hangs_up,
    speaks_another_language,
]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
def test_a_pod_that_answers_badly_is_silent_after_a_moment(
    odd_pod: Callable[[Callable[[socket.socket], None]], None],
    answer: Callable[[socket.socket], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents, "MAX_ANSWER_BYTES", 4_000_000)
    odd_pod(answer)
    began = time.monotonic()
    assert fetched(seconds=0.5) is None
    assert time.monotonic() - began < 5


def test_a_pod_is_never_followed_to_another_address(
    odd_pod: Callable[[Callable[[socket.socket], None]], None],
) -> None:
    odd_pod(sends_elsewhere)
    assert fetched(seconds=2) == 302


def test_an_answer_that_grows_when_unpacked_takes_no_memory(
    odd_pod: Callable[[Callable[[socket.socket], None]], None],
) -> None:
    odd_pod(packs_much_into_little)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fetched(seconds=20) is None
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024, f"{grown // 1024} MiB more"


@pytest.mark.parametrize("hours", [-2, 0, 2])
def test_a_heartbeat_is_told_by_our_clock_whatever_the_pods_says(
    odd_pod: Callable[[Callable[[socket.socket], None]], None], hours: int
) -> None:
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
