"""Defaults for the reward's tests, and a relevance service on a real socket that can be told to misbehave."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rewriter_contract.messages import DataRow, FusionTerm, RewardConfig

Answer = Callable[[Any], Any]
"""Request body -> response body (JSON-ready, or bytes sent as they are)."""


def config(url: str = "http://127.0.0.1:9/score", **changes: Any) -> RewardConfig:
    """One stage, lambda 0.5, clip log 4."""
    values: dict[str, Any] = {
        "relevance_url": url,
        "fusion": (FusionTerm(stage="finerank", a=1.0, b=0.3, gamma=1.0),),
        "negatives_weight": 0.5,
        "clip": 1.3862943611198906,
        "revision": "reward-1",
        "timeout_seconds": 2.0,
    }
    return RewardConfig(**(values | changes))


def row(**changes: Any) -> DataRow:
    """A query with one liked and one skipped document."""
    values: dict[str, Any] = {"id": "q1", "query": "blue shoes", "positives": ("d1",), "negatives": ("d2",)}
    return DataRow(**(values | changes))


CORPUS = {"d1": "blue running shoes", "d2": "garden hose", "d3": "red shoes"}


def overlap(query: str, document: str) -> float:
    """A relevance model: share of the document's words that the query has."""
    wanted, found = set(query.lower().split()), document.lower().split()
    return sum(word in wanted for word in found) / len(found)


def honest(body: Any) -> Any:
    """Answers as docs/relevance-api.md says."""
    scores = [[overlap(each["query"], text) for text in each["documents"]] for each in body["requests"]]
    return {"model": "overlap@1", "scores": scores}


@dataclass
class RunningService:
    """A service that answers, and what it was asked."""

    url: str
    bodies: list[Any] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers; 200 when empty."""
    delay: float = 0.0
    connections: set[Any] = field(default_factory=set)


@contextmanager
def service(answer: Answer) -> Iterator[RunningService]:
    """Serve `answer` on loopback."""
    running = RunningService("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            running.connections.add(self.client_address)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            running.bodies.append(body)
            time.sleep(running.delay)
            status = running.statuses.pop(0) if running.statuses else 200
            value = answer(body)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            try:
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", running.url)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the client gave up, as some tests want

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_address[1]}/score"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
