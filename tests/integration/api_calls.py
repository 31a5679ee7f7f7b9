"""Calls to the API server without kubectl: a hundred refusals take seconds, and the words are the server's own."""

import base64
import json
import ssl
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@dataclass
class ApiCalls:
    """One API server, over one kept connection per thread."""

    host: str
    tls: ssl.SSLContext
    _own: threading.local = field(default_factory=threading.local)
    _opened: list[HTTPSConnection] = field(default_factory=list)

    @staticmethod
    def to(kubeconfig: Path) -> "ApiCalls":
        """With the address and the certificates of a kubeconfig."""
        read = yaml.safe_load(kubeconfig.read_text())
        cluster, user = read["clusters"][0]["cluster"], read["users"][0]["user"]
        tls = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w") as file:  # the ssl module takes a client's certificate from files only
            file.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            file.flush()
            tls.load_cert_chain(file.name)
        return ApiCalls(urlsplit(cluster["server"]).netloc, tls)

    def call(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        text = None if body is None else json.dumps(body)
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            return self._ask(self._connection(), method, target, text)
        except (ConnectionError, ssl.SSLEOFError):
            # The server ends connections that were idle, before it reads the next request: seen while one is sent
            # (SSLEOFError, BrokenPipeError) or when its answer is waited for (RemoteDisconnected).
            return self._ask(self._connection(anew=True), method, target, text)

    def _connection(self, anew: bool = False) -> HTTPSConnection:
        kept: HTTPSConnection | None = getattr(self._own, "connection", None)
        if kept is None or anew:
            kept = self._own.connection = HTTPSConnection(self.host, context=self.tls, timeout=60)
            self._opened.append(kept)
        return kept

    @staticmethod
    def _ask(connection: HTTPSConnection, method: str, target: str, text: str | None) -> Answer:
        connection.request(method, target, text, {"Content-Type": "application/json", "Accept": "application/json"})
        response = connection.getresponse()
        read = response.read()
        try:
            return Answer(response.status, json.loads(read))
        except ValueError:
            return Answer(response.status, {"message": read.decode(errors="replace")})

    def close(self) -> None:
        for connection in self._opened:
            connection.close()

    def write(self, method: str, namespace: str, body: Mapping[str, Any], dry_run: bool = False) -> Answer:
        """POST or PUT a release, unknown fields refused as kubectl and Argo CD do it."""
        path = f"/apis/{body['apiVersion']}/namespaces/{namespace}/rewriterreleases"
        target = path if method == "POST" else f"{path}/{body['metadata']['name']}"
        return self.call(method, target, body, fieldValidation="Strict", **({"dryRun": "All"} if dry_run else {}))


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
