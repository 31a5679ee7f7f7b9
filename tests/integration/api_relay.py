"""A relay between one operator and the API server: it notes writes, can be cut, and can keep a write on the wire."""

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import yaml

from e2e.cluster import ControlPlane

NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive", "host", "authorization"}


@dataclass(frozen=True)
class Write:
    """One request that was no GET, and what the API server said."""

    method: str
    path: str
    status: int
    sent_at: float
    """When it went on to the API server, monotonic."""

    @property
    def is_lease(self) -> bool:
        return "/leases" in self.path

    @property
    def succeeded(self) -> bool:
        return self.status < 400


@dataclass
class Hold:
    """Keeps the first write that matches on the wire until it is let go."""

    matches: Callable[[str, str], bool]
    arrived: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


class ApiRelay:
    """Plain HTTP in, the API server's TLS out."""

    def __init__(self, api: ControlPlane, directory: Path, name: str) -> None:
        self.writes: list[Write] = []
        self.hold: Hold | None = None
        self.is_cut = False
        self._target = _Target(api.kubeconfig)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.kubeconfig = directory / f"{name}.kubeconfig"
        self.kubeconfig.write_text(_kubeconfig(self._server.server_address[1]))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def acts(self, after: float = 0.0) -> list[Write]:
        """What was written besides the Lease, and taken by the API server, after this time."""
        return [write for write in self.writes if write.succeeded and not write.is_lease and write.sent_at > after]

    def keep(self, matches: Callable[[str, str], bool]) -> Hold:
        """Keep the next write with such a method and path."""
        self.hold = Hold(matches)
        return self.hold

    def _wait(self, method: str, path: str) -> None:
        hold = self.hold
        if hold and method != "GET" and hold.matches(method, path) and not hold.arrived.is_set():
            hold.arrived.set()
            assert hold.go.wait(900)

    def _handler(relay) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on()

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                relay._wait(self.command, self.path)
                if relay.is_cut:
                    self.close_connection = True
                    return
                sent_at = time.monotonic()
                connection = relay._target.connect()
                headers = {key: value for key, value in self.headers.items() if key.lower() not in NOT_PASSED_ON}
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                if self.command != "GET":
                    relay.writes.append(Write(self.command, self.path, answer.status, sent_at))
                try:
                    self._answer(answer)
                except (OSError, http.client.HTTPException):  # one of the two ends is gone
                    self.close_connection = True
                finally:
                    connection.close()

            def _answer(self, answer: http.client.HTTPResponse) -> None:
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while (data := answer.read1(65536)) and not relay.is_cut:
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")

        return Handler


class _Target:
    """The API server as the admin's kubeconfig names it."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        with TemporaryDirectory() as directory:  # the ssl module reads a key from a file only
            files = [Path(directory, name) for name in ("client-certificate-data", "client-key-data")]
            for file in files:
                file.write_bytes(base64.b64decode(user[file.name]))
            self._tls.load_cert_chain(*files)

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, context=self._tls, timeout=700)


def _kubeconfig(port: int) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "relay", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "nobody", "user": {"token": "none"}}],
            "contexts": [{"name": "relay", "context": {"cluster": "relay", "user": "nobody"}}],
            "current-context": "relay",
        }
    )
