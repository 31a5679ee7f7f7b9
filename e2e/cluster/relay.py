"""Carries TCP connections from ports of the host to ports inside a cluster's network namespace.

The listening sockets are made before the process enters that namespace and stay in the host's; what it opens later is
inside. Bytes pass unchanged in both directions, and each direction is closed when its own source is.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping

CHUNK_BYTES = 1 << 18
# An image layer of gigabytes passes here; larger buffers mean fewer turns of the loop.
BUFFER_BYTES = 1 << 20


def listen(wanted_port: int) -> socket.socket:
    """A listening socket on loopback: on the wanted port if it is free (so that a restart keeps it), else on any."""
    for port in (wanted_port, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.listen(512)
        return listener
    raise OSError("no port is free on 127.0.0.1")


async def serve(targets: Mapping[socket.socket, int]) -> None:
    """Relays each listening socket to its port inside, until cancelled."""
    servers = [
        await asyncio.start_server(_Relay(port).connected, sock=listener, limit=BUFFER_BYTES)
        for listener, port in targets.items()
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


class _Relay:
    def __init__(self, port: int) -> None:
        self.port = port

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port, limit=BUFFER_BYTES)
        except OSError:
            _break(writer)
            return
        try:
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        except OSError:
            _break(writer)
            _break(inner_writer)
        finally:
            writer.close()
            inner_writer.close()


def _break(writer: asyncio.StreamWriter) -> None:
    """Resets the connection: the other side must see an error, not an answer that ends early."""
    if writer.transport.is_closing():
        return
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
