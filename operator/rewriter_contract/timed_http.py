"""An HTTP connection of the standard library whose whole exchange ends at a deadline, however the bytes come.

For everything that calls a service of the user's. A socket's own time-out begins anew with every byte that arrives, so
a service that drips its head, its body or the sizes of its chunks holds a call for hours; here each operation is given
what is left until the deadline. Redirects are never followed, proxies never asked. The names of hosts are looked up by
the system's resolver, which has time-outs of its own.
"""

import http.client
import socket
import ssl
import time
from functools import cache
from typing import Any, Final
from urllib.parse import SplitResult

HTTPS_PORT: Final = 443


class TimedConnection(http.client.HTTPConnection):
    """One connection to one host; may be kept for several exchanges, each begun with `start`."""

    def __init__(self, url: SplitResult) -> None:
        """Of `url`, http or https, only the host and its port."""
        self._tls = url.scheme == "https"
        if self._tls:
            self.default_port = HTTPS_PORT
        super().__init__(url.hostname or "", url.port or self.default_port)
        self._deadline = 0.0

    def start(self, seconds: float) -> None:
        """The exchange that begins now, from connecting to the last byte of the answer, takes at most so long.

        What does not is ended by TimeoutError, from whichever call waits then.
        """
        self._deadline = time.monotonic() + seconds
        if isinstance(self.sock, _TimedSocket):
            self.sock.deadline = self._deadline

    def connect(self) -> None:
        """Called by http.client with the first request, and with the next one after a `close`."""
        connected = _connected(self.host, self.port, self._deadline)
        if self._tls:
            connected.settimeout(_left(self._deadline))
            connected = _with_tls(connected, self.host)
        connected.deadline = self._deadline
        self.sock = connected


class _TimedSocket(socket.socket):
    deadline = 0.0
    """By time.monotonic(); 0 is over."""

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments, **named)

    def send(self, *arguments: Any, **named: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().send(*arguments, **named)

    def sendall(self, *arguments: Any, **named: Any) -> None:
        self.settimeout(_left(self.deadline))
        super().sendall(*arguments, **named)


class _TimedTlsSocket(_TimedSocket, ssl.SSLSocket):
    """The same through TLS; a record or handshake that comes in drips is one operation to ssl, with one time-out."""


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no whole answer in time")
    return left


def _connected(host: str, port: int, deadline: float) -> _TimedSocket:
    """A connection to the first of the host's addresses that takes it."""
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        attempt = _TimedSocket(family, kind, protocol)
        try:
            attempt.settimeout(_left(deadline))
            attempt.connect(address)
            attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return attempt
        except OSError as error:
            attempt.close()
            failure = error
    raise failure


def _with_tls(plain: _TimedSocket, host: str) -> _TimedSocket:
    try:
        wrapped = _tls_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
    assert isinstance(wrapped, _TimedTlsSocket)
    return wrapped


@cache
def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _TimedTlsSocket
    return context
