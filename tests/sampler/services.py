"""A small relevance service and a small search, as real HTTP servers of the test's own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], Any]


def letter_overlap(body: dict[str, Any]) -> dict[str, Any]:
    """Relevance by shared letters: differs between texts, which is all that the plumbing needs."""
    return {
        "model": "letters@1",
        "scores": [
            [_overlap(request["query"], document) for document in request["documents"]] for request in body["requests"]
        ],
    }


def broken(body: dict[str, Any]) -> dict[str, Any]:
    """A service that has no scores."""
    return {"model": "letters@1", "scores": [[None] * len(request["documents"]) for request in body["requests"]]}


def same_ranking(body: dict[str, Any]) -> dict[str, Any]:
    """A search that always finds the same."""
    return {"results": [["d1", "d2", "d3"] for _ in body["requests"]]}


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that answers every POST with `answer(body)`; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            data = json.dumps(answer(body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def _overlap(query: str, document: str) -> float:
    letters = set(document.lower())
    return len(letters & set(query.lower())) / max(len(letters), 1)
