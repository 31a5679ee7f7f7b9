import json
import socket

import pytest

from rewriter_sampler import relevance
from rewriter_sampler.relevance import RelevanceClient, RelevanceFailed
from rewriter_sampler.relevance_calls import RelevanceRequest
from rewriter_sampler.service_call import MAX_RESPONSE_BYTES, CallFailed, Service

from .reward_builder import honest, service

ONE = [RelevanceRequest("blue shoes", ("blue running shoes", "garden hose"))]


def client(url: str, timeout: float = 2.0) -> RelevanceClient:
    return RelevanceClient(url, timeout, backoff_seconds=0.01)


def missing(answer, requests=ONE) -> list[str]:
    with service(answer) as running:
        (scores,) = client(running.url).score(requests)
    assert all((score.value is None) == bool(score.missing) for score in scores)
    return [score.missing for score in scores]


def test_scores_come_back_in_order_over_kept_connections() -> None:
    many = [RelevanceRequest(f"query {i}", ("blue", f"{i}", "query")) for i in range(400)]
    with service(honest) as running:
        asking = client(running.url)
        scores = asking.score(many)
        asking.score(ONE)
    assert [[score.value for score in each] for each in scores] == [[0.0, 1.0, 1.0]] * 400
    assert len(running.bodies) > 4
    assert len(running.connections) <= relevance.CALLS_IN_FLIGHT


def test_request_with_many_documents_is_cut_and_joined() -> None:
    documents = tuple(f"d{i}" for i in range(600))
    with service(honest) as running:
        ((*scores,),) = client(running.url).score([RelevanceRequest("d7 d599", documents)])
    assert [index for index, score in enumerate(scores) if score.value == 1.0] == [7, 599]
    assert max(sum(len(r["documents"]) for r in body["requests"]) for body in running.bodies) <= 256


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ("NaN", "NotFinite"),
        ("Infinity", "NotFinite"),
        ('"0.5"', "NotANumber"),
        ("true", "NotANumber"),
        ("null", "NoScore"),
        ("1.2", "OutOfRange"),
        ("-0.3", "OutOfRange"),
        ("1e999", "NotFinite"),
    ],
)
def test_value_that_is_no_score_is_missing_with_its_reason(score: str, reason: str) -> None:
    assert missing(lambda _: f'{{"model": "m@1", "scores": [[0.5, {score}]]}}'.encode()) == ["", reason]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"model": "m@1", "scores": [[0.5]]}, "WrongCount"),
        ({"model": "m@1", "scores": [[0.5, 0.5, 0.5]]}, "WrongCount"),
        ({"model": "m@1", "scores": []}, "WrongShape"),
        ({"model": "m@1", "scores": {"0": [0.5, 0.5]}}, "WrongShape"),
        ({"model": "", "scores": [[0.5, 0.5]]}, "NoModelName"),
        ([1, 2], "NoModelName"),
        (b"<html>", "NotJson"),
    ],
)
def test_answer_of_another_shape_is_missing_with_its_reason(body, reason: str) -> None:
    assert missing(lambda _: body) == [reason, reason]


def test_rounding_outside_the_range_is_pulled_in() -> None:
    with service(lambda _: {"model": "m@1", "scores": [[1.0000002, -0.0000001]]}) as running:
        (scores,) = client(running.url).score(ONE)
    assert [score.value for score in scores] == [1.0, 0.0]


def test_server_errors_are_retried() -> None:
    with service(honest) as running:
        running.statuses += [500, 503, 429]
        (scores,) = client(running.url).score(ONE)
    assert scores[0].value == pytest.approx(2 / 3)
    assert len(running.bodies) == 4


def test_lasting_error_is_missing_not_zero() -> None:
    with service(honest) as running:
        running.statuses += [500] * 4
        (scores,) = client(running.url).score(ONE)
    assert [(score.value, score.missing) for score in scores] == [(None, "Http500")] * 2


@pytest.mark.parametrize("status", [302, 400, 404])
def test_redirects_and_refusals_are_neither_followed_nor_repeated(status: int) -> None:
    with service(honest) as running:
        running.statuses += [status]
        (scores,) = client(running.url).score(ONE)
    assert scores[0].missing == f"Http{status}"
    assert len(running.bodies) == 1


def test_slow_service_times_out() -> None:
    with service(honest) as running:
        running.delay = 0.3
        (scores,) = client(running.url, timeout=0.05).score(ONE)
    assert scores[0].missing == "Timeout"


def test_huge_answer_is_refused() -> None:
    assert missing(lambda _: b" " * (MAX_RESPONSE_BYTES + 1)) == ["ResponseTooLarge"] * 2


def test_service_that_stays_away_ends_the_order() -> None:
    lonely = RelevanceClient("http://127.0.0.1:9/score", 0.2, backoff_seconds=0.001)
    assert lonely.score(ONE)[0][0].missing == "Unreachable"
    lonely.score(ONE)
    with pytest.raises(RelevanceFailed, match="3 calls in a row"):
        lonely.score(ONE)


def test_one_good_answer_forgives_lost_calls() -> None:
    with service(honest) as running:
        asking = client(running.url)
        for _ in range(4):
            running.statuses += [404, 404]
            asking.score(ONE)
            asking.score(ONE)
            assert asking.score(ONE)[0][0].value is not None


def test_changed_model_ends_the_order() -> None:
    names = iter(["m@1", "m@2"])
    with service(lambda _: {"model": next(names), "scores": [[0.5, 0.5]]}) as running:
        asking = client(running.url)
        asking.score(ONE)
        with pytest.raises(RelevanceFailed, match=r"m@1 to m@2"):
            asking.score(ONE)


def wanting(url: str, wanted: str | None) -> RelevanceClient:
    return RelevanceClient(url, 2.0, backoff_seconds=0.01, wanted=wanted)


@pytest.mark.parametrize("wanted", ["minilm@abc", "overlap@", ""])
def test_another_model_than_the_cycles_ends_the_order_at_its_first_answer_and_says_what_to_do(wanted: str) -> None:
    with service(honest) as running, pytest.raises(RelevanceFailed) as refused:
        wanting(running.url, wanted).score(ONE)
    assert len(running.bodies) == 1
    words = str(refused.value)
    assert "overlap@1 answers" in words and (wanted or "(no name)") in words
    assert "bring that model back, or start a new cycle" in words


def test_the_cycles_model_scores_and_an_answer_without_a_name_is_none_of_its() -> None:
    with service(honest) as running:
        assert wanting(running.url, "overlap@1").score(ONE)[0][0].value is not None
    with service(lambda _: {"scores": [[0.5, 0.5]]}) as running:
        asking = wanting(running.url, "overlap@1")
        assert [score.missing for score in asking.score(ONE)[0]] == ["NoModelName"] * 2
        assert asking.model == "", "what answered, not what was wanted"


def test_texts_arrive_as_they_are() -> None:
    query = 'naïve "quotes" \u200b 日本語'
    with service(honest) as running:
        client(running.url).score([RelevanceRequest(query, ("x",))])
    assert running.bodies[0] == {"requests": [{"query": query, "documents": ["x"]}]}
    assert json.dumps(running.bodies[0])


def test_closed_connection_is_opened_again() -> None:
    with service(honest) as running:
        service_of = Service(running.url, 2.0, backoff=0.01)
        service_of.post({"requests": []})
        idle = service_of._idle.get_nowait()
        idle.sock.shutdown(socket.SHUT_RDWR)  # the server's idle timeout, as the client sees it
        service_of._idle.put(idle)
        assert service_of.post({"requests": []})["model"] == "overlap@1"


@pytest.mark.parametrize("url", ["ftp://host/x", "relevance:8080", "http:///score"])
def test_url_that_is_no_http_service_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="service URL"):
        Service(url, 1.0)


def test_call_failure_names_the_service() -> None:
    with pytest.raises(CallFailed, match=r"127.0.0.1:9/score"):
        Service("http://127.0.0.1:9/score", 0.2, attempts=1).post({})
