"""Gold: how well the REAL search ranks with a query's rewrites beside it, by labels that training never sees.

For the gate's evidence only. The search is asked over HTTP (docs/search-api.md); an answer that could not be had, or
that names a document twice, gives no gold rather than a low one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rewriter_contract.agent import WorkFailed
from rewriter_contract.messages import DataRow
from rewriter_sampler.service_call import CallFailed, Service

DEPTH: Final = 100
QUERIES_PER_CALL: Final = 16
LOST_CALLS: Final = 3


class SearchFailed(WorkFailed):
    """The search stays away; the message goes to the operator."""


@dataclass(frozen=True)
class Gold:
    """Metrics of one query; None where there is no ranking or no label."""

    ndcg10: float | None
    recall100: float | None
    target_first: bool | None = None
    """The first document has the best grade of the labels; None without a positive grade."""
    ranking: tuple[str, ...] | None = None
    """What was found, best first; None where the answer could not be had or trusted."""


NO_GOLD: Final = Gold(None, None)


class SearchClient:
    """The search behind one URL."""

    def __init__(self, url: str, timeout_seconds: float, backoff_seconds: float = 0.25) -> None:
        self._service = Service(url, timeout_seconds, backoff=backoff_seconds)
        self._lost = 0

    def measure(self, rows: list[tuple[DataRow, list[str]]]) -> list[Gold]:
        """Gold of every row with its rewrites (none = the original query alone).

        Raises:
            SearchFailed: when several calls in a row failed.
        """
        gold: list[Gold] = []
        for start in range(0, len(rows), QUERIES_PER_CALL):
            gold.extend(self._measure(rows[start : start + QUERIES_PER_CALL]))
        return gold

    def _measure(self, rows: list[tuple[DataRow, list[str]]]) -> list[Gold]:
        requests = [{"query": row.query, "rewrites": rewrites} for row, rewrites in rows]
        try:
            answer = self._service.post({"requests": requests, "k": DEPTH})
        except CallFailed as failure:
            self._lost += 1
            if self._lost >= LOST_CALLS:
                raise SearchFailed(f"search failed {self._lost} calls in a row; the last: {failure}") from failure
            return [NO_GOLD] * len(rows)
        self._lost = 0
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(rows):
            return [NO_GOLD] * len(rows)
        return [_gold(row, ranking) for (row, _), ranking in zip(rows, results, strict=True)]


def _gold(row: DataRow, ranking: Any) -> Gold:
    if not isinstance(ranking, list) or not all(isinstance(document, str) for document in ranking):
        return NO_GOLD
    if len(set(ranking)) != len(ranking):
        return NO_GOLD  # a document that counts twice would raise nDCG above what a user sees
    return Gold(
        ndcg(ranking, row.labels, 10),
        recall(ranking, row.labels, 100),
        target_first(ranking, row.labels),
        tuple(ranking),
    )


def ndcg(ranking: Sequence[str], labels: Mapping[str, float], depth: int) -> float | None:
    """nDCG@depth with gain 2^grade - 1 and discount 1/log2(rank + 1); None without a positive grade.

    Grades of 0 and below gain nothing; unlabelled documents count as 0.
    """
    ideal = _discounted(sorted(map(_gain, labels.values()), reverse=True)[:depth])
    if ideal <= 0:
        return None
    return _discounted([_gain(labels.get(document, 0.0)) for document in ranking[:depth]]) / ideal


def recall(ranking: Sequence[str], labels: Mapping[str, float], depth: int) -> float | None:
    """Share of the documents with a positive grade that are among the first `depth`; None without such a document."""
    relevant = {document for document, grade in labels.items() if grade > 0}
    if not relevant:
        return None
    return len(relevant.intersection(ranking[:depth])) / len(relevant)


def target_first(ranking: Sequence[str], labels: Mapping[str, float]) -> bool | None:
    """Whether no labelled document would be better in first place; None without a positive grade."""
    best = max(labels.values(), default=0.0)
    if best <= 0:
        return None
    return bool(ranking) and labels.get(ranking[0], 0.0) >= best


def _gain(grade: float) -> float:
    return float(2.0 ** max(grade, 0.0) - 1.0)


def _discounted(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
