"""The control server over real HTTP: token, idempotence, one piece of work at a time, and an end to all of it."""

import errno
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from rewriter_contract.agent import (
    EPOCH_HEADER,
    MAX_BODY_BYTES,
    Progress,
    Reply,
    Route,
    VolumeFull,
    WorkFailed,
    WorkTable,
    serve,
)
from rewriter_contract.messages import WorkReport, WorkState

TOKEN = "secret"


class Client:
    """Calls one server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(
        self, method: str, path: str, body: bytes = b"", token: str = TOKEN, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, {"Authorization": f"Bearer {token}", **(headers or {})})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data)

    def state_of(self, path: str, wanted: WorkState) -> dict[str, Any]:
        """Waits until the work is in this state."""
        for _ in range(200):
            _, report = self.call("GET", path)
            if report.get("state") == wanted:
                found: dict[str, Any] = report
                return found
            time.sleep(0.02)
        raise AssertionError(f"{path} is not {wanted}: {report}")


@pytest.fixture
def pod() -> Iterator[Callable[[Callable[[Progress], WorkReport]], Client]]:
    """Starts a server whose PUT /v1/work/N does the given work."""
    servers = []

    def start(work: Callable[[Progress], WorkReport]) -> Client:
        table = WorkTable()

        def broken(*_: Any) -> Any:
            raise RuntimeError("a bug")

        routes = [
            Route("PUT", r"/v1/work/\d+", lambda match, body: table.put(match[0], body.decode(), work)),
            Route("GET", r"/v1/work/\d+", lambda match, _: table.get(match[0])),
            Route("DELETE", r"/v1/work/\d+", lambda match, _: table.cancel(match[0])),
            Route("GET", r"/healthz", lambda *_: {"ok": True}, open=True),
            Route("GET", r"/bug", broken),
            Route("GET", r"/text", lambda *_: Reply(HTTPStatus.OK, {"a": 1})),
        ]
        server = serve(0, TOKEN, routes)
        servers.append(server)
        return Client(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def done(progress: Progress) -> WorkReport:
    progress.update(done=1, total=2)
    return WorkReport(WorkState.DONE, done=2, total=2, metrics={"loss": 0.5})


def until_cancelled(progress: Progress) -> WorkReport:
    while True:
        progress.update(done=1)
        time.sleep(0.01)


def test_work_is_started_by_put_and_read_by_get(pod: Any) -> None:
    client = pod(done)
    assert client.call("PUT", "/v1/work/1", b"{}")[0] == 200
    report = client.state_of("/v1/work/1", WorkState.DONE)
    assert (report["done"], report["metrics"]) == (2, {"loss": 0.5})
    assert report["heartbeatAt"] > 0


def test_the_same_put_again_is_the_same_work_and_another_body_is_refused(pod: Any) -> None:
    client = pod(done)
    client.call("PUT", "/v1/work/1", b"one")
    client.state_of("/v1/work/1", WorkState.DONE)
    assert client.call("PUT", "/v1/work/1", b"one")[1]["state"] == "Done"
    status, answer = client.call("PUT", "/v1/work/1", b"two")
    assert (status, answer["reason"]) == (409, "OtherBody")


def test_work_that_was_never_ordered_is_not_found(pod: Any) -> None:
    assert pod(done).call("GET", "/v1/work/9")[0] == 404
    assert pod(done).call("GET", "/v1/nothing")[1]["reason"] == "NoSuchCall"


@pytest.mark.parametrize("token", ["", "wrong", "secret2"])
def test_without_the_token_only_health_is_answered(pod: Any, token: str) -> None:
    client = pod(done)
    assert client.call("GET", "/healthz", token=token)[0] == 200
    assert client.call("GET", "/v1/work/1", token=token)[0] == 401
    assert client.call("PUT", "/v1/work/1", b"{}", token=token)[0] == 401
    assert client.call("GET", "/v1/work/1")[0] == 404, "the refused order was not started"


def test_cancelled_work_stops_at_its_next_update_and_can_be_ordered_again(pod: Any) -> None:
    client = pod(until_cancelled)
    client.call("PUT", "/v1/work/1", b"{}")
    client.call("DELETE", "/v1/work/1")
    client.state_of("/v1/work/1", WorkState.CANCELLED)
    assert client.call("PUT", "/v1/work/1", b"{}")[1]["state"] == "Running"
    client.call("DELETE", "/v1/work/1")
    client.state_of("/v1/work/1", WorkState.CANCELLED)


def test_failed_work_says_why_and_can_be_ordered_again(pod: Any) -> None:
    tries: list[int] = []

    def second_time_lucky(progress: Progress) -> WorkReport:
        tries.append(1)
        if len(tries) == 1:
            raise WorkFailed("the relevance model does not answer")
        return done(progress)

    client = pod(second_time_lucky)
    client.call("PUT", "/v1/work/1", b"{}")
    assert client.state_of("/v1/work/1", WorkState.FAILED)["message"] == "the relevance model does not answer"
    client.call("PUT", "/v1/work/1", b"{}")
    client.state_of("/v1/work/1", WorkState.DONE)


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "VolumeFull"),
        (VolumeFull("phase 2: basic_ios::clear: iostream error"), "VolumeFull"),
        (OSError(errno.EIO, "Input/output error"), None),
        (WorkFailed("the relevance model does not answer"), None),
    ],
)
def test_work_that_found_no_room_says_so_by_its_reason(pod: Any, error: Exception, reason: str | None) -> None:
    def failing(_: Progress) -> WorkReport:
        raise error

    client = pod(failing)
    client.call("PUT", "/v1/work/1", b"{}")
    report = client.state_of("/v1/work/1", WorkState.FAILED)
    assert report.get("reason") == reason, "left out where it is another reason: an older operator reads the report"


def test_one_piece_of_work_runs_at_a_time(pod: Any) -> None:
    running, most, lock = [0], [0], threading.Lock()

    def counted(progress: Progress) -> WorkReport:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return done(progress)

    client = pod(counted)
    for number in range(3):
        client.call("PUT", f"/v1/work/{number}", b"{}")
    for number in range(3):
        client.state_of(f"/v1/work/{number}", WorkState.DONE)
    assert most == [1]


def test_a_body_that_is_too_large_is_refused_unread(pod: Any) -> None:
    headers = {"Content-Length": str(MAX_BODY_BYTES + 1)}
    assert pod(done).call("PUT", "/v1/work/1", b"", headers=headers)[0] == 413


def test_a_bug_in_one_call_does_not_end_the_server(pod: Any) -> None:
    client = pod(done)
    assert client.call("GET", "/bug") == (500, {"reason": "InternalError", "message": "see the log"})
    assert client.call("GET", "/text") == (200, {"a": 1})


def test_a_pod_that_has_heard_of_a_new_leader_refuses_the_old_one(
    pod: Callable[[Callable[[Progress], WorkReport]], Client],
) -> None:
    client = pod(done)
    assert client.call("PUT", "/v1/work/1", b"{}", headers={EPOCH_HEADER: "4"})[0] == 200
    assert client.call("GET", "/v1/work/1", headers={EPOCH_HEADER: "5"})[0] == 200
    status, problem = client.call("PUT", "/v1/work/2", b"{}", headers={EPOCH_HEADER: "4"})
    assert (status, problem["reason"]) == (412, "StaleEpoch")
    assert client.call("GET", "/v1/work/2")[0] == 404, "nothing was started; who names no epoch may ask"
    assert client.call("PUT", "/v1/work/2", b"{}", headers={EPOCH_HEADER: "5"})[0] == 200


def test_a_call_with_a_wrong_token_moves_no_epoch(
    pod: Callable[[Callable[[Progress], WorkReport]], Client],
) -> None:
    client = pod(done)
    assert client.call("GET", "/text", token="wrong", headers={EPOCH_HEADER: "99"})[0] == 401
    assert client.call("PUT", "/v1/work/1", b"{}", headers={EPOCH_HEADER: "1"})[0] == 200
