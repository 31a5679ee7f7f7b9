"""Asks the deployed relevance model for scores (docs/relevance-api.md), for the reward and for nobody else.

How a call looks on the wire is relevance_calls.py's business.

A score that is absent, not a number or out of range becomes a missing score with its reason: it is never replaced
by a number, because an outage that looks like a bad score would be learned as one. Two things end the whole order
instead: another model behind the URL than the cycle's reward is of (scores of two models must not be mixed) and a
service that stays away.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from rewriter_contract.agent import WorkFailed
from rewriter_sampler.relevance_calls import BATCH, CallFormat, RelevanceRequest, pieces
from rewriter_sampler.service_call import CallFailed, Service

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


class RelevanceClient:
    """The relevance model behind one URL, for the length of one order."""

    def __init__(
        self,
        url: str,
        timeout_seconds: float,
        backoff_seconds: float = 0.25,
        wanted: str | None = None,
        form: CallFormat = BATCH,
    ) -> None:
        """`wanted`: `name@digest` that every answer must be of; None takes the first answer's."""
        self._service, self._form = Service(url, timeout_seconds, backoff=backoff_seconds), form
        self._lost, self._wanted = 0, wanted
        self.model = ""
        """`name@digest` of the answers so far; empty before the first."""

    def score(self, requests: Sequence[RelevanceRequest]) -> list[list[Score]]:
        """Scores in [0, 1], shaped like `requests`.

        Raises:
            RelevanceFailed: when another model answers, or when calls keep failing.
        """
        calls = list(self._form.calls(requests))
        with ThreadPoolExecutor(CALLS_IN_FLIGHT) as pool:
            answers = list(pool.map(self._call, calls))  # in the order of the calls, so that results are repeatable
        scores: list[list[Score]] = []
        for call, answer in zip(calls, answers, strict=True):
            scores.extend(self._take(call, answer))
        return _joined(requests, scores)

    def _call(self, call: list[RelevanceRequest]) -> Any:
        try:
            return self._service.post(self._form.body(call, self._wanted or ""))
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
        lists = self._form.lists(call, answer)
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


def _joined(requests: Sequence[RelevanceRequest], of_pieces: list[list[Score]]) -> list[list[Score]]:
    """Undo `pieces`."""
    rest = iter(of_pieces)
    return [[score for _ in pieces(request) for score in next(rest)] for request in requests]


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
