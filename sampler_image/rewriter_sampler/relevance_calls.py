"""How relevance services are spoken to: our own batch call, and the re-rank and score calls that vLLM serves.

A format cuts requests into calls, writes a call's body, and reads scores out of an answer; what a score may be, and
what becomes of a bad one, is decided elsewhere (relevance.py), for all formats alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

DOCUMENTS_PER_CALL: Final = 256
CHARACTERS_PER_CALL: Final = 1_000_000
"""Keeps bodies at a few MB whatever the documents are."""


@dataclass(frozen=True)
class RelevanceRequest:
    """Score every document for this query."""

    query: str
    documents: tuple[str, ...]


class CallFormat(Protocol):
    """One way to ask."""

    def calls(self, requests: Sequence[RelevanceRequest]) -> Iterator[list[RelevanceRequest]]:
        """What is asked together; a request with too many documents comes in its `pieces`."""

    def body(self, call: Sequence[RelevanceRequest], model: str) -> dict[str, Any]:
        """JSON of a call; `model` is the one that must answer, empty for any."""

    def lists(self, call: Sequence[RelevanceRequest], answer: Mapping[str, Any]) -> Any:
        """Scores by request and document, not looked at; None for an answer of another shape."""


class BatchCall:
    """`{"requests": [{"query": ..., "documents": [...]}]}` -> `{"scores": [[...]]}` (docs/relevance-api.md)."""

    def calls(self, requests: Sequence[RelevanceRequest]) -> Iterator[list[RelevanceRequest]]:
        """Many queries a call, up to its size."""
        call: list[RelevanceRequest] = []
        documents = characters = 0
        for request in requests:
            for piece in pieces(request):
                size = sum(map(len, piece.documents))
                full = documents + len(piece.documents) > DOCUMENTS_PER_CALL or characters + size > CHARACTERS_PER_CALL
                if call and full:
                    yield call
                    call, documents, characters = [], 0, 0
                call.append(piece)
                documents, characters = documents + len(piece.documents), characters + size
        if call:
            yield call

    def body(self, call: Sequence[RelevanceRequest], model: str) -> dict[str, Any]:
        """The service has one model, and says which."""
        return {"requests": [{"query": request.query, "documents": list(request.documents)} for request in call]}

    def lists(self, call: Sequence[RelevanceRequest], answer: Mapping[str, Any]) -> Any:
        """As they are."""
        return answer.get("scores")


@dataclass(frozen=True)
class IndexedCall:
    """One query a call; the answer's items say by `index` which document they score, in any order.

    vLLM's re-rank call is that of Jina and Cohere: https://docs.vllm.ai/en/latest/models/pooling_models.html.
    """

    query: str
    documents: str
    items: str
    score: str

    def calls(self, requests: Sequence[RelevanceRequest]) -> Iterator[list[RelevanceRequest]]:
        """Every piece by itself."""
        for request in requests:
            yield from ([piece] for piece in pieces(request))

    def body(self, call: Sequence[RelevanceRequest], model: str) -> dict[str, Any]:
        """A server with several models is told which one to ask."""
        (request,) = call
        asked = {self.query: request.query, self.documents: list(request.documents)}
        return {"model": model, **asked} if model else asked

    def lists(self, call: Sequence[RelevanceRequest], answer: Mapping[str, Any]) -> Any:
        """A document that no item names has no score; an item of no document, or a second of one, spoils the answer."""
        (request,) = call
        items = answer.get(self.items)
        found: dict[int, Any] = {}
        if not isinstance(items, list):
            return None
        for item in items:
            index = item.get("index") if isinstance(item, dict) else None
            if type(index) is not int or not 0 <= index < len(request.documents) or index in found:
                return None
            found[index] = item.get(self.score)
        return [[found.get(index) for index in range(len(request.documents))]]


BATCH: Final = BatchCall()
FORMATS: Final[Mapping[str, CallFormat]] = {
    "Batch": BATCH,
    "Rerank": IndexedCall("query", "documents", "results", "relevance_score"),
    "Score": IndexedCall("text_1", "text_2", "data", "score"),
}
"""By `spec.reward.relevance.api`."""


def pieces(request: RelevanceRequest) -> Iterator[RelevanceRequest]:
    """The request, cut where it has more documents than a call takes."""
    for start in range(0, max(len(request.documents), 1), DOCUMENTS_PER_CALL):
        yield RelevanceRequest(request.query, request.documents[start : start + DOCUMENTS_PER_CALL])
