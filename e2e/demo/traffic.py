"""A consumer that asks for rewrites without pause: all three stages, at a bounded rate, through the gateway.

    python -m e2e.demo.traffic --gateway http://127.0.0.1:8080 --host rewrite.demo --queries gate.jsonl --out FILE

Every request becomes one line of FILE: when, which stage, HTTP status, latency, who answered. A request failed unless
it was answered with 200: an answer without rewrites is a good answer, silence is not. Each stage has one request under
way at a time, so a slow rewriter gets fewer requests, never a pile of them.
"""

import argparse
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TextIO

from e2e.demo.rewrites import Gateway
from rewriter_contract.messages import STAGES

TIMEOUT_SECONDS: Final = 15.0
"""Far above what a consumer would wait: a slow answer is seen as slow, not as lost."""


@dataclass(frozen=True)
class Request:
    """One answered or failed request."""

    at: float
    """Unix seconds when it was sent."""
    stage: str
    status: int
    """HTTP status; 0 when there was no answer."""
    milliseconds: float
    revision: str
    rewrites: int
    problem: str = ""


@dataclass(frozen=True)
class Totals:
    """All requests so far."""

    sent: int
    failed: int
    by_revision: dict[str, dict[str, int]]
    """Stage -> revision -> answers."""
    last_problem: str


class Traffic:
    """Runs in threads of its own between `start` and `stop`."""

    def __init__(self, gateway: Gateway, queries: Sequence[str], rate: Callable[[], float], out: Path) -> None:
        """`rate`: requests per second and stage, at most; asked before each request."""
        self._gateway = gateway
        self._queries = queries
        self._rate = rate
        self._out = out
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._answers: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
        self._failed = 0
        self._last_problem = ""
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send."""
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = self._out.open("a", buffering=1)
        for offset, stage in enumerate(STAGES):
            thread = threading.Thread(target=self._send, args=(stage, offset), name=f"traffic-{stage}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> Totals:
        """End after the requests that are under way; returns all there was."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS + 5)
        self._file.close()
        return self.totals()

    def totals(self) -> Totals:
        """What was sent so far."""
        with self._lock:
            answers = {stage: dict(counter) for stage, counter in self._answers.items()}
            sent = self._failed + sum(sum(counter.values()) for counter in answers.values())
            return Totals(sent, self._failed, answers, self._last_problem)

    def _send(self, stage: str, offset: int) -> None:
        due = time.monotonic() + offset / self._rate() / len(STAGES)
        for query in itertools.islice(itertools.cycle(self._queries), offset * 7, None):
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + 1 / self._rate(), time.monotonic())
            self._record(self._ask(stage, query))

    def _ask(self, stage: str, query: str) -> Request:
        at = time.time()
        got = self._gateway.rewrites(stage, query)
        problem = got.problem
        return Request(at, stage, got.status, got.milliseconds, got.revision, len(got.texts), problem)

    def _record(self, request: Request) -> None:
        with self._lock:
            if request.status == 200 and not request.problem:
                self._answers[request.stage][request.revision] += 1
            else:
                self._failed += 1
                self._last_problem = f"{request.stage}: {request.problem}"
            self._file.write(json.dumps(asdict(request)) + "\n")


def read_requests(path: Path) -> list[Request]:
    """What a run recorded, in the order of the answers."""
    return [Request(**json.loads(line)) for line in path.read_text().splitlines()]


def read_texts(path: Path) -> list[str]:
    """The queries of a train, validation or gate file."""
    return [json.loads(line)["query"] for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--host", default="")
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=2.0, help="requests per second and stage")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    gateway = Gateway(options.gateway, options.host, TIMEOUT_SECONDS)
    traffic = Traffic(gateway, read_texts(options.queries), lambda: options.rate, options.out)
    traffic.start()
    time.sleep(options.seconds)
    print(json.dumps(asdict(traffic.stop())))


if __name__ == "__main__":
    main()
