"""Whether a program is ready, asked where it says so itself: its health URL, or the socket it serves."""

import http.client
import socket
import ssl
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 1.0


def is_ready(target: str) -> bool:
    """`http(s)://...` must answer 200; `unix:PATH` and `tcp:HOST:PORT` must accept a connection."""
    scheme, _, rest = target.partition(":")
    try:
        match scheme:
            case "http" | "https":
                return _answers(target)
            case "unix":
                return _accepts(socket.AF_UNIX, rest)
            case "tcp":
                host, _, port = rest.rpartition(":")
                return _accepts(socket.AF_INET, (host, int(port)))
            case _:
                raise ValueError(f"readiness target {target!r} starts with none of http, https, unix, tcp")
    except (OSError, http.client.HTTPException):
        return False


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        # Only "is it up" is asked, on loopback: who answers is checked by the clients that then use it.
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_SECONDS, context=unverified
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def _accepts(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_SECONDS)
        client.connect(address)
    return True
