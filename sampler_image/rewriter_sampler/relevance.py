"""Asks the deployed relevance model for scores (docs/relevance-api.md), for the reward and for nobody else.

A score that is absent, not a number or out of range becomes a missing score with its reason: it is never replaced
by a number, because an outage that looks like a bad score would be learned as one. Two things end the whole order
instead: another model behind the URL than the cycle's reward is of (scores of two models must not be mixed) and a
service that stays away.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from rewriter_contract.agent import WorkFailed
from rewriter_sampler.service_call import CallFailed, Service

DOCUMENTS_PER_CALL: Final = 256
CHARACTERS_PER_CALL: Final = 1_000_000
"""Keeps bodies at a few MB whatever the documents are."""
CALLS_IN_FLIGHT: Final = 4
LOST_CALLS: Final = 3
"""That many calls in a row without an answer (each retried) end the order: the service is down, not flaky."""
ROUNDING: Final = 1e-3
"""A cosine of 1.0000002, or of 1.0005 in half precision, is rounding; it is pulled to the end of [0, 1]."""


class RelevanceFailed(WorkFailed):
    """The order cannot be finished; the message goes to the operator."""


@dataclass(frozen=True)
class Score:
    """One number or the reason why there is none."""

    value: float | None
    missing: str = ""


@dataclass(frozen=True)
class RelevanceRequest:
    """Score every document for this query."""

    query: str
    documents: tuple[str, ...]


class RelevanceClient:
    """The relevance model behind one URL, for the length of one order."""

    def __init__(
        self, url: str, timeout_seconds: float, backoff_seconds: float = 0.25, wanted: str | None = None
    ) -> None:
        """`wanted`: `name@digest` that every answer must be of; None takes the first answer's."""
        self._service = Service(url, timeout_seconds, backoff=backoff_seconds)
        self._lost, self._wanted = 0, wanted
        self.model = ""
        """`name@digest` of the answers so far; empty before the first."""

    def score(self, requests: Sequence[RelevanceRequest]) -> list[list[Score]]:
        """Scores in [0, 1], shaped like `requests`.

        Raises:
            RelevanceFailed: when another model answers, or when calls keep failing.
        """
        calls = list(_calls(requests))
        with ThreadPoolExecutor(CALLS_IN_FLIGHT) as pool:
            answers = list(pool.map(self._call, calls))  # in the order of the calls, so that results are repeatable
        scores: list[list[Score]] = []
        for call, answer in zip(calls, answers, strict=True):
            scores.extend(self._take(call, answer))
        return _joined(requests, scores)

    def _call(self, call: list[RelevanceRequest]) -> Any:
        body = {"requests": [{"query": request.query, "documents": list(request.documents)} for request in call]}
        try:
            return self._service.post(body)
        except CallFailed as failure:
            return failure

    def _take(self, call: list[RelevanceRequest], answer: Any) -> list[list[Score]]:
        if isinstance(answer, CallFailed):
            self._lost += 1
            if self._lost >= LOST_CALLS:
                raise RelevanceFailed(f"relevance service failed {self._lost} calls in a row; the last: {answer}")
            return _all_missing(call, answer.reason)
        self._lost = 0
        if not isinstance(answer, dict) or not isinstance(answer.get("model"), str) or not answer["model"]:
            return _all_missing(call, "NoModelName")
        self._check_model(answer["model"])
        lists = answer.get("scores")
        if not isinstance(lists, list) or len(lists) != len(call):
            return _all_missing(call, "WrongShape")
        return [_read_scores(request, values) for request, values in zip(call, lists, strict=True)]

    def _check_model(self, model: str) -> None:
        if self._wanted is not None and model != self._wanted:
            raise RelevanceFailed(
                f"relevance model: {model} answers, but this cycle's rewards are of {self._wanted or '(no name)'}, "
                f"which /healthz named when the cycle was prepared; bring that model back, or start a new cycle, which "
                f"takes {model} from its beginning"
            )
        if self.model and model != self.model:
            raise RelevanceFailed(
                f"relevance model changed from {self.model} to {model} during the order; pin one model for a cycle"
            )
        self.model = model


def _calls(requests: Sequence[RelevanceRequest]) -> Iterator[list[RelevanceRequest]]:
    """Requests in groups that fit a call; a request with more documents than fit is cut into several."""
    call: list[RelevanceRequest] = []
    documents = characters = 0
    for request in requests:
        for piece in _pieces(request):
            size = sum(map(len, piece.documents))
            full = documents + len(piece.documents) > DOCUMENTS_PER_CALL or characters + size > CHARACTERS_PER_CALL
            if call and full:
                yield call
                call, documents, characters = [], 0, 0
            call.append(piece)
            documents, characters = documents + len(piece.documents), characters + size
    if call:
        yield call


def _pieces(request: RelevanceRequest) -> Iterator[RelevanceRequest]:
    for start in range(0, max(len(request.documents), 1), DOCUMENTS_PER_CALL):
        yield RelevanceRequest(request.query, request.documents[start : start + DOCUMENTS_PER_CALL])


def _joined(requests: Sequence[RelevanceRequest], pieces: list[list[Score]]) -> list[list[Score]]:
    """Undo `_pieces`."""
    rest = iter(pieces)
    return [[score for _ in _pieces(request) for score in next(rest)] for request in requests]


def _all_missing(call: list[RelevanceRequest], reason: str) -> list[list[Score]]:
    return [[Score(None, reason)] * len(request.documents) for request in call]


def _read_scores(request: RelevanceRequest, values: Any) -> list[Score]:
    if not isinstance(values, list) or len(values) != len(request.documents):
        return [Score(None, "WrongCount")] * len(request.documents)
    return [_read_score(value) for value in values]


def _read_score(value: Any) -> Score:
    if value is None:
        return Score(None, "NoScore")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Score(None, "NotANumber")
    if not math.isfinite(value):
        return Score(None, "NotFinite")
    if not -ROUNDING <= value <= 1 + ROUNDING:
        return Score(None, "OutOfRange")
    return Score(min(max(float(value), 0.0), 1.0))
