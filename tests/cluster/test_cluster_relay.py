"""The relay passes bytes both ways, keeps a port when it can, and shows a dead target as a broken connection."""

import asyncio
import contextlib
import socket

import pytest

from e2e.cluster import relay


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only when the client has finished sending, so that half-closing must pass too."""
    writer.write((await reader.read()).upper())
    writer.close()


async def through_relay(target: int, message: bytes) -> bytes:
    listener = relay.listen(0)
    relaying = asyncio.ensure_future(relay.serve({listener: target}))
    try:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(message)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer
    finally:
        relaying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await relaying


def test_bytes_pass_in_both_directions_with_half_close() -> None:
    async def story() -> bytes:
        server = await asyncio.start_server(upper, "127.0.0.1", 0)
        async with server:
            return await through_relay(server.sockets[0].getsockname()[1], b"layer" * 500_000)

    assert asyncio.run(story()) == b"LAYER" * 500_000


def test_a_target_that_is_not_there_breaks_the_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionError):
            asyncio.run(through_relay(unused.getsockname()[1], b"hello"))


def test_a_free_port_is_kept_and_a_taken_one_replaced() -> None:
    with relay.listen(0) as first:
        port = first.getsockname()[1]
        with relay.listen(port) as second:
            assert second.getsockname()[1] != port
    with relay.listen(port) as again:
        assert again.getsockname()[1] == port
