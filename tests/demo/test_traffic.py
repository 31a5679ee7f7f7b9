"""The client counts what it got, and a consumer of rewrites fails open, whatever the other side does."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from e2e.demo.rewrites import Gateway
from e2e.demo.traffic import Traffic, read_requests
from rewriter_contract import agent
from rewriter_contract.messages import STAGES

ANSWER = {"rewrites": [{"text": "wireless mouse"}], "revision": "r0001"}


@contextmanager
def rewriter(answer: Callable[[], Any]) -> Iterator[str]:
    """A rewriter on loopback that answers like this."""

    def rewrite(_: re.Match[str], __: bytes) -> Any:
        return answer()

    server = agent.serve(0, "", [agent.Route("POST", "/v1/rewrite", rewrite, open=True)])
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def refuse() -> Any:
    raise agent.Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Busy", "no capacity")


def too_late() -> Any:
    time.sleep(0.5)
    return ANSWER


def test_rewrites_and_who_made_them_are_read() -> None:
    with rewriter(lambda: ANSWER) as url:
        got = Gateway(url, "shop.example", 2.0).rewrites("finerank", "wirless mouse")
    assert (got.texts, got.revision, got.status, got.problem) == (("wireless mouse",), "r0001", 200, "")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(refuse, "Service Unavailable"), (too_late, "TimeoutError"), (lambda: {"rewrites": "?"}, "rewrites")],
)
def test_a_consumer_goes_on_without_rewrites(answer: Callable[[], Any], problem: str) -> None:
    with rewriter(answer) as url:
        got = Gateway(url, "", 0.2).rewrites("recall", "tea")
    assert got.texts == ()
    assert problem in got.problem


def test_nobody_listening_is_no_rewrite_either() -> None:
    got = Gateway("http://127.0.0.1:9", "", 0.2).rewrites("recall", "tea")
    assert (got.texts, got.status) == ((), 0)
    assert got.problem


def test_every_request_of_every_stage_is_recorded(tmp_path: Path) -> None:
    with rewriter(lambda: ANSWER) as url:
        traffic = Traffic(Gateway(url, "", 2.0), ["tea", "mouse"], lambda: 50.0, tmp_path / "requests.jsonl")
        traffic.start()
        time.sleep(0.3)
        totals = traffic.stop()
    requests = read_requests(tmp_path / "requests.jsonl")
    assert totals.sent == len(requests) > 6
    assert totals.failed == 0
    assert {request.stage for request in requests} == set(STAGES)
    assert all(set(answers) == {"r0001"} for answers in totals.by_revision.values())


def test_the_rate_is_a_bound(tmp_path: Path) -> None:
    with rewriter(lambda: ANSWER) as url:
        traffic = Traffic(Gateway(url, "", 2.0), ["tea"], lambda: 10.0, tmp_path / "requests.jsonl")
        traffic.start()
        time.sleep(0.55)
        totals = traffic.stop()
    assert totals.sent <= 3 * 7


def test_failures_are_counted_and_told(tmp_path: Path) -> None:
    with rewriter(refuse) as url:
        traffic = Traffic(Gateway(url, "", 2.0), ["tea"], lambda: 50.0, tmp_path / "requests.jsonl")
        traffic.start()
        time.sleep(0.2)
        totals = traffic.stop()
    assert totals.failed == totals.sent > 0
    assert "Service Unavailable" in totals.last_problem
    assert json.loads((tmp_path / "requests.jsonl").read_text().splitlines()[0])["status"] == 503
