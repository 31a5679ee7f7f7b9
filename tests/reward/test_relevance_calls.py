"""The calls of vLLM's kind: one query each, items in any order, the model by name, bad answers missing."""

import threading
from typing import Any

import pytest

from rewriter_sampler.relevance import RelevanceClient, RelevanceFailed
from rewriter_sampler.relevance_calls import DOCUMENTS_PER_CALL, FORMATS, RelevanceRequest
from rewriter_sampler.reward import Scorer
from rewriter_trainer.check_services import check_services

from .reward_builder import CORPUS, config, honest, overlap, row, service

REQUESTS = [RelevanceRequest("blue shoes", ("blue running shoes", "garden hose")), RelevanceRequest("hose", ("hose",))]


def reranked(body: Any) -> Any:
    """As vLLM answers `/rerank`: best first."""
    scored = [
        {"index": index, "document": {"text": text}, "relevance_score": overlap(body["query"], text)}
        for index, text in enumerate(body["documents"])
    ]
    best_first = sorted(scored, key=lambda item: -item["relevance_score"])
    return {"id": "score-1", "model": "overlap@1", "results": best_first, "usage": {"total_tokens": 3}}


def scored(body: Any) -> Any:
    """As vLLM answers `/score`."""
    data = [
        {"index": index, "object": "score", "score": overlap(body["text_1"], text)}
        for index, text in enumerate(body["text_2"])
    ]
    return {"id": "embd-1", "object": "list", "created": 1, "model": "overlap@1", "data": data, "usage": {}}


ANSWERS = {"Batch": honest, "Rerank": reranked, "Score": scored}


@pytest.mark.parametrize("api", ANSWERS)
def test_every_api_gives_the_same_scores(api: str) -> None:
    with service(ANSWERS[api]) as running:
        found = RelevanceClient(running.url, 2.0, wanted="overlap@1", form=FORMATS[api]).score(REQUESTS)
    assert [[score.value for score in scores] for scores in found] == [[pytest.approx(2 / 3), 0.0], [1.0]]


@pytest.mark.parametrize("api", ANSWERS)
def test_the_reward_is_the_same_whichever_api_is_asked(api: str) -> None:
    with service(ANSWERS[api]) as running:
        scorer = Scorer(config(running.url, relevance_api=api, relevance_model="overlap@1"), CORPUS)
        ((score,),) = scorer.score([(row(), ["blue running shoes"])])
    with service(honest) as running:
        ((expected,),) = Scorer(config(running.url), CORPUS).score([(row(), ["blue running shoes"])])
    assert score == expected and score.value


def test_a_server_of_several_models_is_told_which_one_to_ask() -> None:
    with service(reranked) as running:
        RelevanceClient(running.url, 2.0, wanted="overlap@1", form=FORMATS["Rerank"]).score(REQUESTS)
        RelevanceClient(running.url, 2.0, form=FORMATS["Rerank"]).score(REQUESTS[1:])
    bodies = sorted(running.bodies, key=lambda body: ("model" not in body, len(body["documents"])))
    assert [body.get("model") for body in bodies] == ["overlap@1", "overlap@1", None]
    assert bodies[0] == {"model": "overlap@1", "query": "hose", "documents": ["hose"]}


def test_a_query_with_many_documents_is_cut_and_put_together_again() -> None:
    documents = tuple(["hose"] * DOCUMENTS_PER_CALL + ["garden hose"])
    with service(reranked) as running:
        (found,) = RelevanceClient(running.url, 2.0, form=FORMATS["Rerank"]).score(
            [RelevanceRequest("hose", documents)]
        )
    assert [score.value for score in found] == [1.0] * DOCUMENTS_PER_CALL + [0.5]
    assert len(running.bodies) == 2


def items(*found: Any) -> Any:
    return {"model": "overlap@1", "results": list(found)}


@pytest.mark.parametrize(
    "answer, missing",
    [
        (items({"index": 1, "relevance_score": 0.5}), ["NoScore", ""]),
        (items(), ["NoScore", "NoScore"]),
        (items({"index": 0, "relevance_score": 2.0}, {"index": 1, "relevance_score": 0.5}), ["OutOfRange", ""]),
        (items({"index": 0, "relevance_score": "1"}, {"index": 1}), ["NotANumber", "NoScore"]),
        (items({"index": 2, "relevance_score": 0.5}), ["WrongShape"] * 2),
        (items({"index": -1, "relevance_score": 0.5}), ["WrongShape"] * 2),
        (items({"index": True, "relevance_score": 0.5}), ["WrongShape"] * 2),
        (items({"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.6}), ["WrongShape"] * 2),
        (items("best"), ["WrongShape"] * 2),
        ({"model": "overlap@1", "results": {"0": 0.5}}, ["WrongShape"] * 2),
        ({"model": "overlap@1", "scores": [[0.5, 0.5]]}, ["WrongShape"] * 2),
        ({"results": []}, ["NoModelName"] * 2),
    ],
)
def test_a_bad_answer_is_missing_scores(answer: Any, missing: list[str]) -> None:
    with service(lambda _: answer) as running:
        (found,) = RelevanceClient(running.url, 2.0, form=FORMATS["Rerank"]).score(REQUESTS[:1])
    assert [score.missing for score in found] == missing


def test_another_model_behind_the_name_ends_the_order() -> None:
    client_of = {"wanted": "overlap@2", "form": FORMATS["Score"]}
    with service(scored) as running, pytest.raises(RelevanceFailed, match="overlap@1 answers"):
        RelevanceClient(running.url, 2.0, **client_of).score(REQUESTS)


@pytest.mark.parametrize(
    "listed, model",
    [
        (b'{"object": "list", "data": [{"id": "bge@3", "object": "model"}, {"id": "other"}]}', "bge@3"),
        (b'{"data": []}', ""),
        (b'{"data": [{"id": ""}]}', ""),
        (b'{"data": {"id": "bge"}}', ""),
        (b'{"model": "bge@3"}', ""),
        (b"ok", ""),
    ],
)
def test_the_model_is_the_first_that_the_server_lists(listed: bytes, model: str) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(listed)))
            self.end_headers()
            self.wfile.write(listed)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        report = check_services({"relevance": base, "search": base}, "/healthz", "/v1/models")
        server.shutdown()
    assert asked == ["/v1/models", "/healthz"]
    assert report.relevance_model == model
    reasons = [problem.reason for problem in report.problems]
    assert reasons == ([] if model else ["RelevanceModelUnnamed"])
    assert model or '{"data": [{"id": "name@digest"}]}' in report.problems[0].message
