"""Servers that answer badly, byte by byte on real sockets: what every client here has to survive."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket], None]
"""Answers one connection, whose request has been read as far as one read goes."""


@contextmanager
def odd_server(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server whose every connection is answered by the given function."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve_all() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=quietly, args=(answer, connection, tls, connections), daemon=True).start()

    threading.Thread(target=serve_all, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for connection in connections:
            connection.close()


def quietly(
    answer: Answer, connection: socket.socket, tls: ssl.SSLContext | None, connections: list[socket.socket]
) -> None:
    with suppress(OSError):
        connection = tls.wrap_socket(connection, server_side=True) if tls else connection
        connections.append(connection)
        with connection:
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


def drips_its_chunk_sizes(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"0")
        time.sleep(0.05)


def never_ends(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")


def sends_without_an_end_in_sight(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b" " * 0x100000)


def promises_a_gibibyte(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1073741824\r\n\r\n")
    says_nothing(connection)


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
