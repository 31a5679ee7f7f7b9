"""A TLS connection holds no more memory than a few of its records need, and still carries answers of any size."""

import asyncio
import ssl
import subprocess
from asyncio import sslproto
from pathlib import Path

import pytest

from rewriter_operator import tls_buffers


@pytest.fixture(autouse=True)
def shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", sslproto.SSLProtocol.max_size)  # put back afterwards
    tls_buffers.shrink()


def test_a_connection_has_a_small_buffer_and_an_answer_many_times_as_large_comes_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        writer.close()

    async def play(certificate: ssl.SSLContext, trust: ssl.SSLContext) -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
        try:
            assert len(writer.transport._ssl_protocol._ssl_buffer) == tls_buffers.BUFFER_BYTES  # type: ignore[attr-defined]
            return await reader.read(-1)
        finally:
            writer.close()
            server.close()

    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_cert_chain(_pair(tmp_path))
    trust = ssl.create_default_context(cafile=str(tmp_path / "pair.pem"))
    assert asyncio.run(play(certificate, trust)) == content


def _pair(directory: Path) -> Path:
    """Key and certificate of localhost, in one file."""
    key, certificate, pair = (directory / name for name in ("key.pem", "certificate.pem", "pair.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    pair.write_text(key.read_text() + certificate.read_text())
    return pair
