"""What a connection takes from the environment: a proxy where one is set, and nothing else."""

import asyncio
import http.server
import logging
import threading
from pathlib import Path

import pytest

from rewriter_operator.cluster.kube import connect
from rewriter_operator.errors import Retry
from tests.operator.test_rotated_tokens import service_account

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


__all__ = ["service_account"]

pytestmark = pytest.mark.usefixtures("service_account")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers everything itself: there are no releases."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        body = b'{"items": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


async def releases() -> int:
    kube = await connect("search", timeout=10.0)
    try:
        return len(await kube.list("RewriterRelease"))
    finally:
        await kube.api.close()


def test_the_api_server_is_asked_over_the_proxy_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        assert asyncio.run(releases()) == 0
        proxy.shutdown()
    path = "/apis/rewriter.dev/v1alpha1/namespaces/search/rewriterreleases"
    assert proxy.asked == [f"http://127.0.0.1:1{path}"]  # type: ignore[attr-defined]


def test_without_a_proxy_no_call_looks_for_a_file_of_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path))  # no file: whoever reads it complains
    with caplog.at_level(logging.WARNING, "aiohttp.client"), pytest.raises(Retry, match="ClientConnectorError"):
        asyncio.run(releases())
    assert caplog.messages == []
