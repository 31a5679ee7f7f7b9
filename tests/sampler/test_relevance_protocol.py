"""What is sent to a server of vLLM's kind is what the vLLM of this image reads, and its answers are what is read."""

import json
import warnings
from types import ModuleType

import pytest

from rewriter_sampler.relevance_calls import FORMATS, RelevanceRequest

pytestmark = pytest.mark.ml

REQUEST = RelevanceRequest("blue shoes", ("blue running shoes", "garden hose"))


@pytest.fixture(scope="module")
def protocol() -> ModuleType:
    """vLLM's own words, without the warnings that its imports give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.entrypoints.pooling.scoring import protocol
    return protocol


def test_vllm_reads_a_rerank_call(protocol: ModuleType) -> None:
    read = protocol.RerankRequest.model_validate(FORMATS["Rerank"].body([REQUEST], "bge@3"))
    assert (read.model, read.query, read.documents) == ("bge@3", REQUEST.query, list(REQUEST.documents))
    assert not read.top_n, "every document is scored"


def test_vllm_reads_a_score_call(protocol: ModuleType) -> None:
    read = protocol.ScoreTextRequest.model_validate(FORMATS["Score"].body([REQUEST], "bge@3"))
    assert (read.model, read.text_1, read.text_2) == ("bge@3", REQUEST.query, list(REQUEST.documents))


def test_a_rerank_answer_of_vllm_is_read(protocol: ModuleType) -> None:
    results = [
        protocol.RerankResult(index=index, document=protocol.RerankDocument(text=text), relevance_score=score)
        for index, text, score in ((1, "garden hose", 0.75), (0, "blue running shoes", 0.5))
    ]
    answer = protocol.RerankResponse(
        id="1", model="bge@3", usage=protocol.RerankUsage(prompt_tokens=1, total_tokens=1), results=results
    )
    assert FORMATS["Rerank"].lists([REQUEST], json.loads(answer.model_dump_json())) == [[0.5, 0.75]]


def test_a_score_answer_of_vllm_is_read(protocol: ModuleType) -> None:
    data = [protocol.ScoreResponseData(index=index, score=score) for index, score in ((0, 0.5), (1, 0.75))]
    usage = protocol.UsageInfo(prompt_tokens=1, total_tokens=1)
    answer = protocol.ScoreResponse(model="bge@3", data=data, usage=usage)
    assert FORMATS["Score"].lists([REQUEST], json.loads(answer.model_dump_json())) == [[0.5, 0.75]]
