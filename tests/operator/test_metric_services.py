"""Metrics services over real HTTP: a number is a number, all else is unknown with its reason, and no pass waits."""

import asyncio
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rewriter_operator.cluster.kube import Kube
from rewriter_operator.cluster.metric_access import MetricAccess
from rewriter_operator.cluster.metric_services import MAX_ANSWER_BYTES, MetricServices
from rewriter_operator.core.metric_calls import MetricCall
from rewriter_operator.core.world import MetricAnswer
from tests import odd_answers
from tests.odd_answers import odd_server

BODY = '{"share":10}'

WITHOUT = MetricAccess(Kube.__new__(Kube))
"""For calls that need nothing: it asks no API server."""


@contextmanager
def service(
    status: int = 200, body: bytes = b"{}", tls: ssl.SSLContext | None = None, **headers: str
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that always answers this; its URL, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            url = urlsplit(self.path)
            call = {"method": self.command, "path": url.path, "body": self.rfile.read(length).decode()}
            asked.append(call | {"query": parse_qs(url.query), "headers": dict(self.headers)})
            self.send_response_only(status)
            for name, text in ({"Date": self.date_time_string()} | headers).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/api/v1/query", asked
        finally:
            server.shutdown()


def query(url: str, of: str = "q", timeout: float = 2.0) -> MetricCall:
    return MetricCall(of, url, interval=30, timeout=timeout, query='up{job="a b"}')


def hook(url: str, timeout: float = 2.0) -> MetricCall:
    return MetricCall("h", url, interval=30, timeout=timeout, body=BODY)


def answered(*calls: MetricCall, access: MetricAccess | None = None) -> Mapping[str, MetricAnswer]:
    """What passes over these calls find, a little time after one another."""

    async def passes() -> Mapping[str, MetricAnswer]:
        services = MetricServices(access or WITHOUT)
        try:
            while len(found := services.answers("shop", calls, time.time())) < len(calls):
                await asyncio.sleep(0.01)
            return found
        finally:
            await services.close()

    return asyncio.run(passes())


def sample(value: Any, age: float = 0.0) -> bytes:
    return vector([{"metric": {}, "value": [time.time() - age, value]}])


def vector(result: Any, kind: str = "vector", **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}} | more).encode()


def test_an_instant_query_is_asked_and_its_one_number_is_the_value() -> None:
    with service(body=sample("0.125")) as (url, asked):
        answer = answered(query(url))["q"]
    assert (answer.value, answer.reason) == (0.125, "")
    assert abs(answer.asked_at - time.time()) < 10
    (call,) = asked
    assert (call["method"], call["path"], call["query"]) == ("GET", "/api/v1/query", {"query": ['up{job="a b"}']})


@pytest.mark.parametrize("text", ["1", "-2.5", "1.5e-05", "1e+06", "0"])
def test_every_way_in_which_prometheus_writes_a_number_is_read(text: str) -> None:
    for body in (sample(text), vector([time.time(), text], "scalar")):
        with service(body=body) as (url, _):
            assert answered(query(url))["q"].value == float(text)


ODD_NUMBERS = ["NaN", "+Inf", "-Inf", "1e999", "1_000", " 1", "0x10", "", "one", 1.5, None, True, [1]]


@pytest.mark.parametrize("value", ODD_NUMBERS, ids=repr)
def test_what_is_no_finite_number_is_unknown(value: Any) -> None:
    with service(body=sample(value)) as (url, _):
        answer = answered(query(url))["q"]
    assert answer.value is None and "no finite number" in answer.reason


@pytest.mark.parametrize("value", ["1e13", "-1e300", "1000000000001"])
def test_a_number_beyond_reason_is_no_measurement(value: str) -> None:
    with service(body=sample(value)) as (url, _):
        answer = answered(query(url))["q"]
    assert (answer.value, answer.reason) == (None, "answered a number beyond 1e+12, which is no measurement")


SERIES = {"metric": {"pod": "a"}, "value": [0, "1"]}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, vector([]), "answered with no series"),
        (200, vector([SERIES] * 3), "answered with 3 series; the query must give one, e.g. sum(...)"),
        (200, vector([], "matrix"), "answered with matrix, not with one number now"),
        (200, vector(["x"], "scalar"), "answered with no sample of a time and a value: ['x']"),
        (200, vector({}, "scalar"), "answered with an odd scalar"),
        (200, vector([{"metric": {}, "histogram": [0, {}]}]), "answered with vector, not with one number now"),
        (200, vector([], warnings=["2 stores out of 3"]), "answered with a warning: ['2 stores out of 3']"),
        (200, b"<html>sign in</html>", "answered 200 with no JSON object"),
        (200, b"[1]", "answered 200 with no JSON object"),
        (200, b"[" * 60000, "answered 200 with no JSON object"),
        (200, b"", "answered 200 with no JSON object"),
        (200, b"\xff\xfe", "answered 200 with no JSON object"),
        (200, b'{"status": "error", "error": "no"}', "answered 200: no"),
        (200, b'{"status": "success"}', "answered with no result"),
        (200, b'{"status": "success", "data": 7}', "answered with no result"),
        (400, b'{"status": "error", "error": "parse error:\\n unexpected"}', "answered 400: parse error: unexpected"),
        (503, b"", "answered 503 with no JSON object"),
        pytest.param(500, sample("1"), "answered 500: no error is named", id="500 with a sample"),
    ],
)
def test_every_other_answer_of_prometheus_is_unknown_with_its_reason(status: int, body: bytes, reason: str) -> None:
    with service(status, body) as (url, _):
        assert answered(query(url))["q"] == MetricAnswer(pytest.approx(time.time(), abs=10), reason=reason)


def test_a_sample_of_another_time_is_unknown() -> None:
    for age in (400.4, -400.4):
        with service(body=sample("1", age)) as (url, _):  # HTTP's dates have whole seconds
            assert re.fullmatch(
                r"answered with a sample that is -?(400|399|401) s old", answered(query(url))["q"].reason
            )
    with service(body=sample("1", age=60)) as (url, _):
        assert answered(query(url))["q"].value == 1.0


def test_a_services_clock_that_is_off_makes_no_sample_late() -> None:
    with service(body=sample("1", age=-7200), Date="x") as (url, _):
        assert re.search(r"-7(199|200|201) s old", answered(query(url))["q"].reason)
    ahead = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))
    with service(body=sample("1", age=-7200), Date=ahead) as (url, _):
        assert answered(query(url))["q"].value == 1.0


@pytest.mark.parametrize(
    ("body", "value", "passes", "reason"),
    [
        ({"value": 3}, 3.0, None, ""),
        ({"value": -0.5, "more": 1}, -0.5, None, ""),
        ({"verdict": "Pass"}, None, True, ""),
        ({"verdict": "Fail", "reason": "12 of 40 failed\n"}, None, False, "12 of 40 failed"),
        ({"verdict": "Unknown", "reason": "still running"}, None, None, "still running"),
        ({"verdict": "Unknown"}, None, None, "it says so itself"),
        ({"verdict": "pass"}, None, None, "answered with the verdict pass; it must be Pass, Fail or Unknown"),
        ({"verdict": True}, None, None, "answered with the verdict True; it must be Pass, Fail or Unknown"),
        ({"verdict": "Pass", "value": 1}, None, None, "answered with a value and a verdict; it must be one of them"),
        ({"value": True}, None, None, "answered True, which is no finite number"),
        ({"value": "1"}, None, None, "answered 1, which is no finite number"),
        ({"value": None}, None, None, "answered None, which is no finite number"),
        ({"value": float("nan")}, None, None, "answered nan, which is no finite number"),
        ({"value": float("inf")}, None, None, "answered inf, which is no finite number"),
        ({"value": 10**400}, None, None, "answered a number beyond 1e+12, which is no measurement"),
        ({}, None, None, "answered with neither a value nor a verdict"),
        ([], None, None, "answered with no JSON object"),
    ],
)
def test_a_web_hook_answers_a_value_a_verdict_or_unknown(
    body: Any, value: float | None, passes: bool | None, reason: str
) -> None:
    with service(body=json.dumps(body).encode()) as (url, asked):
        answer = answered(hook(url))["h"]
    assert (answer.value, answer.passes, answer.reason) == (value, passes, reason)
    (call,) = asked
    assert (call["method"], call["body"], call["headers"]["Content-Type"]) == ("POST", BODY, "application/json")


@pytest.mark.parametrize("status", [201, 204, 301, 400, 404, 429, 500, 503])
def test_a_web_hook_that_answers_anything_but_200_is_unknown(status: int) -> None:
    with service(status, b"" if status == 204 else b'{"verdict": "Pass"}', Location="http://127.0.0.1:1/") as (url, _):
        assert answered(hook(url))["h"] == MetricAnswer(pytest.approx(time.time(), abs=10), reason=f"answered {status}")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("body", "words"),
    [(b"no org id\n", " (no org id)"), (b"<html>sign in</html>", ""), (b"", ""), (b"\xff\xfe", " (��)")],
)
def test_a_service_that_wants_credentials_is_unknown_and_says_what_to_set(status: int, body: bytes, words: str) -> None:
    with service(status, body) as (url, _):
        found = answered(query(url), hook(url))
    reason = f"answered {status}{words}; set authorization, or the headers it wants"
    assert [answer.reason for answer in found.values()] == [reason, reason]


BAD = [
    odd_answers.says_nothing,
    odd_answers.drips_its_head,
    odd_answers.drips_its_body,
    odd_answers.drips_its_chunk_sizes,
    odd_answers.never_ends,
    odd_answers.sends_without_an_end_in_sight,
    odd_answers.promises_a_terabyte,
    odd_answers.has_endless_headers,
    odd_answers.hangs_up,
    odd_answers.speaks_another_language,
    odd_answers.sends_elsewhere,
]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
def test_a_service_that_answers_badly_is_unknown_in_its_time(answer: odd_answers.Answer) -> None:
    with odd_server(answer) as port:
        began = time.monotonic()
        url = f"http://127.0.0.1:{port}/"
        found = answered(query(url, timeout=0.5), hook(url, timeout=0.5))
    assert time.monotonic() - began < 5
    assert all(item.value is None and item.passes is None and item.reason for item in found.values())
    assert all(len(item.reason) < 256 and item.reason.isprintable() for item in found.values())


def test_nobody_there_is_unknown() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert "ClientConnectorError" in answered(query(url))["q"].reason
    assert answered(query("http://no-such-name.invalid/"))["q"].reason


def test_an_answer_above_the_limit_is_unknown() -> None:
    with service(body=b" " * (MAX_ANSWER_BYTES + 1)) as (url, _):
        assert answered(query(url))["q"].reason == "answered with more than 65536 bytes"


# --- passes


def played(story: Callable[[MetricServices], Any]) -> None:
    async def run() -> None:
        services = MetricServices(WITHOUT)
        try:
            await story(services)
        finally:
            await services.close()

    asyncio.run(run())


def test_a_pass_never_waits_for_a_service_that_hangs() -> None:
    async def story(services: MetricServices) -> None:
        began = time.monotonic()
        for second in range(20):
            assert services.answers("shop", [query(url, timeout=30)], 1000.0 + second) == {}
            await asyncio.sleep(0)
        assert time.monotonic() - began < 1

    with odd_server(odd_answers.says_nothing) as port:
        url = f"http://127.0.0.1:{port}/"
        played(story)


def test_one_look_is_one_call_until_it_is_counted_and_then_it_is_forgotten() -> None:
    async def story(services: MetricServices) -> None:
        while not services.answers("shop", [query(url)], 1000.0):
            await asyncio.sleep(0.01)
        assert services.answers("shop", [query(url)], 1029.0)["q"].value == 1.0, "a status write was lost"
        assert services.answers("shop", [], 1030.0) == {}
        assert services.asked == {}
        assert len(asked) == 1

    with service(body=sample("1")) as (url, asked):
        played(story)


def test_an_answer_that_nobody_counted_in_time_is_asked_for_again() -> None:
    async def story(services: MetricServices) -> None:
        while not services.answers("shop", [query(url)], 1000.0):
            await asyncio.sleep(0.01)
        assert services.answers("shop", [query(url)], 1030.0) == {}
        while not services.answers("shop", [query(url)], 1030.0):
            await asyncio.sleep(0.01)
        assert len(asked) == 2

    with service(body=sample("1")) as (url, asked):
        played(story)


def test_what_is_not_due_any_more_is_let_go_and_a_release_is_forgotten() -> None:
    async def story(services: MetricServices) -> None:
        for of in ("share-10", "share-25"):
            services.answers("shop", [query(url, of, timeout=30)], 1000.0)
            await asyncio.sleep(0.05)
        services.answers("other", [query(url, "x", timeout=30)], 1000.0)
        assert [list(calls) for calls in services.asked.values()] == [["share-25"], ["x"]]
        services.forget("shop")
        assert list(services.asked) == ["other"]

    with odd_server(odd_answers.says_nothing) as port:
        url = f"http://127.0.0.1:{port}/"
        played(story)


def test_a_service_that_hangs_keeps_nobody_from_another_one() -> None:
    async def story(services: MetricServices) -> None:
        for number in range(50):
            services.answers(f"hanging-{number}", [query(hanging, str(number), timeout=30)], 1000.0)
        began = time.monotonic()
        while not services.answers("shop", [query(url)], 1000.0):
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 2

    with odd_server(odd_answers.says_nothing) as port, service(body=sample("1")) as (url, _):
        hanging = f"http://127.0.0.1:{port}/"
        played(story)


def test_a_name_server_that_hangs_takes_no_thread_that_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = threading.Event()

    async def story(services: MetricServices) -> None:
        for number in range(60):
            services.answers(f"r{number}", [query(f"http://name-{number}.test/", timeout=0.5)], 1000.0)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await asyncio.to_thread(lambda: "planned") == "planned"
        assert time.monotonic() - began < 1
        while not (found := services.answers("r0", [query("http://name-0.test/", timeout=0.5)], 1000.0)):
            await asyncio.sleep(0.01)
        assert found["q"].reason == "no whole answer within 0.5 s"

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ends.wait(20) and [])
    try:
        played(story)
    finally:
        ends.set()
