"""Services of the user's that answer badly on a real socket: a call ends by its time-out, and with bounded memory."""

import resource
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rewriter_contract import timed_http
from rewriter_sampler.relevance import RelevanceClient, RelevanceFailed
from rewriter_sampler.relevance_calls import RelevanceRequest
from rewriter_sampler.service_call import CallFailed, Service
from rewriter_trainer import check_services as health
from rewriter_trainer.check_services import check_services
from tests.odd_answers import (
    HEAD,
    Answer,
    drips_its_body,
    drips_its_chunk_sizes,
    drips_its_head,
    hangs_up,
    has_endless_headers,
    never_ends,
    odd_server,
    promises_a_gibibyte,
    promises_a_terabyte,
    says_nothing,
    sends_elsewhere,
    sends_without_an_end_in_sight,
    speaks_another_language,
)

SLOW = [says_nothing, drips_its_head, drips_its_body, drips_its_chunk_sizes]
BAD = [
    *((answer, "Timeout") for answer in SLOW),
    (never_ends, "ResponseTooLarge"),
    (sends_without_an_end_in_sight, "ResponseTooLarge"),
    (promises_a_gibibyte, "ResponseTooLarge"),
    (promises_a_terabyte, "ResponseTooLarge"),
    (has_endless_headers, "Unreachable"),
    (hangs_up, "Unreachable"),
    (speaks_another_language, "Unreachable"),
    (sends_elsewhere, "Http302"),
]


def once(port: int, seconds: float = 0.5, scheme: str = "http") -> Service:
    return Service(f"{scheme}://127.0.0.1:{port}/score", seconds, attempts=1)


@pytest.mark.parametrize(("answer", "reason"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_a_call_of_a_service_that_answers_badly_ends_in_its_time(answer: Answer, reason: str) -> None:
    seconds = 0.5 if reason == "Timeout" else 20.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with odd_server(answer) as port:
        began = time.monotonic()
        with pytest.raises(CallFailed) as failed:
            once(port, seconds).post({})
        took = time.monotonic() - began
    assert failed.value.reason == reason
    assert took < seconds + 4.5
    assert reason != "Timeout" or took >= seconds, "no sooner either"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024, f"{grown // 1024} MiB more"


def test_a_service_that_does_not_read_what_it_is_sent_holds_no_call() -> None:
    with odd_server(says_nothing) as port, pytest.raises(CallFailed, match="Timeout"):
        once(port).post({"text": "x" * 30_000_000})


def test_a_service_that_takes_no_connection_holds_no_call() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        address = full.getsockname()
        for _ in range(2):  # the queue is full; Linux drops what comes beyond it
            attempt = waiting.enter_context(socket.socket())
            attempt.setblocking(False)
            attempt.connect_ex(address)
        began = time.monotonic()
        with pytest.raises(CallFailed, match="Timeout"):
            once(address[1]).post({})
        assert 0.5 <= time.monotonic() - began < 5


def test_each_call_over_a_kept_connection_has_its_whole_time() -> None:
    def answers_after_a_while(connection: socket.socket) -> None:
        while True:
            time.sleep(0.3)
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            connection.recv(65536)

    with odd_server(answers_after_a_while) as port:
        service = once(port, 0.5)
        assert [service.post({}) for _ in range(4)] == [{}] * 4
        assert service._idle.qsize() == 1


def test_a_shard_waits_for_a_dripping_relevance_service_no_longer_than_its_calls_may_take() -> None:
    with odd_server(drips_its_head) as port:
        client = RelevanceClient(f"http://127.0.0.1:{port}/score", 0.2, backoff_seconds=0.001)
        began = time.monotonic()
        assert client.score([RelevanceRequest("q", ("d",))])[0][0].missing == "Timeout"
        client.score([RelevanceRequest("q", ("d",))])
        with pytest.raises(RelevanceFailed, match="3 calls in a row"):
            client.score([RelevanceRequest("q", ("d",))])
        assert time.monotonic() - began < 10, "three calls of four tries of 0.2 s each"


@pytest.mark.parametrize("answer", SLOW, ids=lambda answer: answer.__name__)
def test_nor_does_the_prepare_pod_wait_for_a_health_answer(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.5)
    with odd_server(answer) as port:
        began = time.monotonic()
        (problem,) = check_services({"relevance": f"http://127.0.0.1:{port}"}, "/healthz").problems
        assert time.monotonic() - began < 5
    assert problem.reason == "RelevanceServiceUnreachable" and "no whole answer within" in problem.message


# --- through TLS


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's side, whose certificate the client trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    asked = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=service"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*asked.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    timed_http._tls_context.cache_clear()
    yield context
    timed_http._tls_context.cache_clear()


def test_a_service_behind_tls_is_asked_as_any_other(tls: ssl.SSLContext) -> None:
    def answers(connection: socket.socket) -> None:
        while True:
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            if not connection.recv(65536):
                return

    with odd_server(answers, tls) as port:
        service = once(port, 10, "https")
        assert [service.post({}) for _ in range(3)] == [{}] * 3


@pytest.mark.parametrize("answer", SLOW, ids=lambda answer: answer.__name__)
def test_a_slow_one_behind_tls_ends_in_its_time_too(tls: ssl.SSLContext, answer: Answer) -> None:
    with odd_server(answer, tls) as port:
        began = time.monotonic()
        with pytest.raises(CallFailed, match="Timeout"):
            once(port, 1.0, "https").post({})
        assert time.monotonic() - began < 6


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    timed_http._tls_context.cache_clear()
    with odd_server(says_nothing, tls) as port, pytest.raises(CallFailed, match=r"Unreachable.*CERTIFICATE_VERIFY"):
        once(port, 5, "https").post({})
