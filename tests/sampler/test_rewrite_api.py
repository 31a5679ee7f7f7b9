"""The HTTP surface of serving pods, through the passthrough program as a real process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rewriter_contract import env
from tests.sampler.programs import Program, running

PASSTHROUGH = "rewriter_sampler.passthrough"
BRIEF_PASSTHROUGH = "tests.sampler.brief_passthrough"


@pytest.fixture(scope="module")
def passthrough() -> Iterator[Program]:
    with running(PASSTHROUGH) as program:
        program.wait_for("/readyz", seconds=20)
        yield program


def counters(program: Program, stage: str) -> dict[str, int]:
    stats = program.call("GET", "/v1/stats").json
    found: dict[str, int] = stats["stages"].get(stage, {"requests": 0, "errors": 0, "empty": 0})
    return found


def test_it_answers_no_rewrites(passthrough: Program) -> None:
    answer = passthrough.call("POST", "/v1/rewrite", {"query": "red shoes"}, token="")
    assert (answer.status, answer.json) == (200, {"rewrites": [], "revision": "passthrough"})


def test_an_answer_is_counted_once_for_its_stage(passthrough: Program) -> None:
    before = counters(passthrough, "recall")
    passthrough.call("POST", "/v1/rewrite", {"query": "red shoes", "stage": "recall", "n": 3})
    after = counters(passthrough, "recall")
    assert (after["requests"] - before["requests"], after["empty"] - before["empty"]) == (1, 1)


def test_the_header_says_the_stage_before_the_body_does(passthrough: Program) -> None:
    before = counters(passthrough, "rawrank")["requests"]
    body = {"query": "red shoes", "stage": "recall"}
    passthrough.call("POST", "/v1/rewrite", body, headers={"x-rewriter-stage": "rawrank"})
    assert counters(passthrough, "rawrank")["requests"] == before + 1


@pytest.mark.parametrize(
    ("host", "copies"),
    [
        ("rewrites-shadow", 1),
        ("rewrites.shop.example-shadow:80", 1),
        ("[::1]:8080-shadow", 1),
        ("rewrites", 0),
        ("rewrites-shadow.search.svc", 0),
        ("shadow", 0),
        ("", 0),
    ],
)
def test_a_request_that_a_router_marked_as_a_copy_is_no_answer(passthrough: Program, host: str, copies: int) -> None:
    def counted() -> list[int]:
        told = passthrough.call("GET", "/v1/stats").json
        return [told.get(kind, {}).get("rawrank", {"requests": 0})["requests"] for kind in ("stages", "shadowed")]

    answers, mirrored = counted()
    answer = passthrough.call("POST", "/v1/rewrite", {"query": "red shoes", "stage": "rawrank"}, headers={"Host": host})
    assert answer.status == 200
    assert counted() == [answers + 1 - copies, mirrored + copies]


def test_a_pod_without_copies_says_what_an_operator_from_before_them_reads() -> None:
    with running(PASSTHROUGH) as program:
        program.wait_for("/readyz", seconds=20)
        program.call("POST", "/v1/rewrite", {"query": "red shoes", "stage": "recall"})
        assert not {"shadowed", "order"} & program.call("GET", "/v1/stats").json.keys()


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b'{"query": ""}', 400, "BadQuery"),
        (b'{"query": "  \\n"}', 400, "BadQuery"),
        (b'{"query": "' + b"x" * 1025 + b'"}', 400, "BadQuery"),
        (rb'{"query": "caf\ud83d"}', 400, "BadQuery"),
        (b'{"query": ' + b"[" * 15000, 400, "BadBody"),
        (b'{"query": "x", "n": 0}', 400, "BadN"),
        (b'{"query": 5}', 400, "BadBody"),
        (b'{"query": "x", "stages": "recall"}', 400, "BadBody"),
        (b"{", 400, "BadBody"),
        (b"\xff", 400, "BadBody"),
        (b'{"query": "' + b"x" * 20000 + b'"}', 413, "BodyTooLarge"),
    ],
)
def test_a_bad_request_is_refused_with_a_sentence_and_counted(
    passthrough: Program, raw: bytes, status: int, reason: str
) -> None:
    before = counters(passthrough, "finerank")
    answer = passthrough.call("POST", "/v1/rewrite", raw=raw, headers={"x-rewriter-stage": "finerank"})
    after = counters(passthrough, "finerank")
    assert (answer.status, answer.json["reason"]) == (status, reason)
    assert answer.json["message"]
    assert (after["requests"] - before["requests"], after["errors"] - before["errors"]) == (1, 1)


def test_the_longest_query_is_accepted(passthrough: Program) -> None:
    assert passthrough.call("POST", "/v1/rewrite", {"query": "é" * 1024}).status == 200


def test_stats_want_the_token(passthrough: Program) -> None:
    assert passthrough.call("GET", "/v1/stats", token="another").status == 401
    stats = passthrough.call("GET", "/v1/stats").json
    assert (stats["revision"], stats["state"]) == ("passthrough", "Ready")
    assert "weights" not in stats


def test_metrics_are_open_and_name_the_revision(passthrough: Program) -> None:
    passthrough.call("POST", "/v1/rewrite", {"query": "red", "stage": "recall"})
    answer = passthrough.call("GET", "/metrics", token="")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'rewriter_requests_total{revision="passthrough",stage="recall"}' in answer.text


def test_it_ends_in_order_after_sigterm() -> None:
    with running(BRIEF_PASSTHROUGH) as program:
        assert program.wait_for("/readyz", seconds=20) < 15
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("/readyz", status=503, seconds=5)
        answer = program.call("POST", "/v1/rewrite", {"query": "still here"})
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert program.process.wait(timeout=20) == 0


def test_a_request_that_was_taken_before_sigterm_is_answered_however_long_it_may_take() -> None:
    with running("tests.sampler.slow_rewriter") as program, ThreadPoolExecutor(1) as pool:
        program.wait_for("/readyz", seconds=20)
        started = time.monotonic()
        answer = pool.submit(program.call, "POST", "/v1/rewrite", {"query": "red shoes"})
        time.sleep(0.5)
        program.process.send_signal(signal.SIGTERM)
        assert answer.result(timeout=30).status == 200
        assert time.monotonic() - started > 3.5, "longer than the drain and the least that every request gets"
        assert program.process.wait(timeout=20) == 0


def test_it_needs_neither_torch_nor_vllm() -> None:
    script = "import sys, rewriter_sampler.passthrough; print([m for m in ('torch', 'vllm') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_missing_variable_is_named() -> None:
    environ = {name: value for name, value in os.environ.items() if name != env.AGENT_TOKEN}
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-m", PASSTHROUGH], env=environ, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"{env.AGENT_TOKEN}: not set" in ended.stderr
    assert time.monotonic() - started < 30
