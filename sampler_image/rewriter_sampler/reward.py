"""The ratio reward: by how much a rewrite, added beside its query, would move the liked documents up in production.

For sampling and for the gate's evidence; both must use this one function, so that the gate judges what training
optimised. It mirrors the serving fusion F(d) = prod_g (b_g + a_g*rel(d))^gamma_g in log space (docs/reward.md):

    rho_g(y; x, d) = (b_g + a_g*rel(y, d)) / (b_g + a_g*rel(x, d))
    log R(x, y)    = sum_g gamma_g * [ mean_{d in D+} clip(log rho_g) - lambda * mean_{d in D-} clip(log rho_g) ]

Penalties of what the text breaks are taken off it, or an expression makes the reward of all terms (rewriter_contract/
terms.py). A copy stays at exactly 0 whatever they say, and no reward leaves its bounds.

It must never fill in a score that could not be had: then the sample has no reward, with the reason.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from rewriter_contract.expression import Expression, ExpressionError, compile_expression
from rewriter_contract.messages import STAGES, DataRow, FusionTerm, RewardConfig
from rewriter_contract.terms import LOG_R, TERMS, TRUTHS, text_terms
from rewriter_contract.text import is_copy, normalise
from rewriter_sampler.relevance import RelevanceClient, Score
from rewriter_sampler.relevance_calls import FORMATS, RelevanceRequest

__all__ = ["Score", "Scorer", "log_reward", "log_rewards", "lowest_reward"]

CACHED_QUERIES: Final = 4096


@dataclass(frozen=True)
class Relevances:
    """rel(q, d) of one text q over a row's documents, each in [0, 1], in the row's order."""

    positives: tuple[float, ...]
    negatives: tuple[float, ...]


def log_reward(config: RewardConfig, rewrite: Relevances, query: Relevances) -> float:
    """log R(x, y) in nats. `positives` must not be empty; without negatives their term is zero.

    Finite for all relevances in [0, 1], because every b > 0. Equal relevances give exactly 0.0.
    """
    return sum(log_rewards(config, rewrite, query).values())


def log_rewards(config: RewardConfig, rewrite: Relevances, query: Relevances) -> dict[str, float]:
    """Each stage's part of log R."""
    found: dict[str, float] = {}
    for term in config.fusion:
        gain = _mean_log_ratio(term, config.clip, rewrite.positives, query.positives)
        leak = _mean_log_ratio(term, config.clip, rewrite.negatives, query.negatives) if query.negatives else 0.0
        found[term.stage] = found.get(term.stage, 0.0) + term.gamma * (gain - config.negatives_weight * leak)
    return found


def lowest_reward(config: RewardConfig) -> float:
    """The reward's lower bound: every liked document loses the most that counts, every other gains it, and every
    penalty is paid.

    An empty rewrite gets it. In production an empty rewrite is harmless (log R = 0), but as a training signal 0 would
    put silence above every rewrite that is slightly worse than the query, and the model would learn to say nothing.
    At the bound it is never chosen over any text.
    """
    ratio = sum(term.gamma for term in config.fusion) * config.clip * (1.0 + config.negatives_weight)
    return -ratio - sum(penalty.nats for penalty in config.penalties or ())


def _mean_log_ratio(term: FusionTerm, clip: float, rewrite: Sequence[float], query: Sequence[float]) -> float:
    logs = (
        math.log(term.b + term.a * of_rewrite) - math.log(term.b + term.a * of_query)
        for of_rewrite, of_query in zip(rewrite, query, strict=True)
    )
    return math.fsum(min(max(log, -clip), clip) for log in logs) / len(query)


class Scorer:
    """Scores rewrites of rows against a corpus. Holds the relevance of the original queries for its lifetime."""

    def __init__(self, config: RewardConfig, corpus: Mapping[str, str]) -> None:
        """`corpus`: document id -> text, of all documents that the rows name.

        Raises:
            ValueError: for a config that has no finite reward.
        """
        _check(config)
        self._expression = _expression(config)
        self._config, self._corpus = config, corpus
        form = FORMATS[config.relevance_api or "Batch"]
        self._client = RelevanceClient(
            config.relevance_url, config.timeout_seconds, wanted=config.relevance_model, form=form
        )
        self._queries: dict[RelevanceRequest, list[Score]] = {}

    @property
    def relevance_model(self) -> str:
        """`name@digest` that the service said; empty before the first call."""
        return self._client.model

    @property
    def row_revision(self) -> str | None:
        """The reward's revision as rows carry it; None where their readers are from before rows did.

        Those are the pods of a cycle whose orders name no model: an upgrade has left them as they were.
        """
        return self._config.revision if self._config.relevance_model is not None else None

    def score(self, rows: list[tuple[DataRow, list[str]]]) -> list[list[Score]]:
        """log R of every rewrite of every row, shaped like the input.

        Raises:
            rewriter_sampler.relevance.RelevanceFailed: when the service stays away or its model is not the config's.
        """
        texts = [self._texts(row) for row, _ in rows]
        wanted = [
            request
            for (row, rewrites), documents in zip(rows, texts, strict=True)
            if isinstance(documents, tuple)
            for request in _requests(row, rewrites, documents)
        ]
        known = self._ask(wanted)
        return [
            [self._judge(row, rewrite, documents, known) for rewrite in rewrites]
            for (row, rewrites), documents in zip(rows, texts, strict=True)
        ]

    def _texts(self, row: DataRow) -> tuple[str, ...] | Score:
        """The row's document texts, positives first; or why the row cannot be scored."""
        if not row.positives:
            return Score(None, "NoPositives")
        try:
            return tuple(self._corpus[document] for document in (*row.positives, *row.negatives))
        except KeyError:
            return Score(None, "UnknownDocument")

    def _ask(self, wanted: Iterable[RelevanceRequest]) -> dict[RelevanceRequest, list[Score]]:
        """Scores of each distinct request; those of queries come from the cache when they are all there."""
        distinct = list(dict.fromkeys(wanted))
        fresh = [request for request in distinct if request not in self._queries]
        known = dict(zip(fresh, self._client.score(fresh), strict=True))
        return {request: known[request] if request in known else self._queries[request] for request in distinct}

    def _judge(
        self,
        row: DataRow,
        rewrite: str,
        documents: tuple[str, ...] | Score,
        known: Mapping[RelevanceRequest, list[Score]],
    ) -> Score:
        if isinstance(documents, Score):
            return documents
        if not normalise(rewrite):
            return Score(lowest_reward(self._config))
        if is_copy(row.query, rewrite):
            return Score(0.0)
        query_request = RelevanceRequest(row.query, documents)
        of_query = _relevances(row, known[query_request])
        of_rewrite = _relevances(row, known[RelevanceRequest(rewrite, documents)])
        if isinstance(of_query, Score):
            return of_query
        self._remember(query_request, known[query_request])
        if isinstance(of_rewrite, Score):
            return of_rewrite
        return self._combined(row, rewrite, log_rewards(self._config, of_rewrite, of_query))

    def _combined(self, row: DataRow, rewrite: str, stages: Mapping[str, float]) -> Score:
        """The reward of a rewrite whose log ratios are known."""
        config, log_r = self._config, sum(stages.values())
        if not config.penalties and self._expression is None:
            return Score(log_r)
        terms = text_terms(row, rewrite)
        log_r -= sum(penalty.nats for penalty in config.penalties or () if not terms[penalty.term])
        if self._expression is None:
            return Score(log_r)
        value = self._expression.value({**dict.fromkeys(STAGES, 0.0), **stages, **terms, LOG_R: log_r})
        if not math.isfinite(value):
            return Score(None, "ExpressionNotFinite")
        bound = -lowest_reward(config)
        return Score(min(max(value, -bound), bound))

    def _remember(self, request: RelevanceRequest, scores: list[Score]) -> None:
        self._queries[request] = scores
        for oldest in list(islice(self._queries, max(len(self._queries) - CACHED_QUERIES, 0))):
            del self._queries[oldest]


def _requests(row: DataRow, rewrites: list[str], documents: tuple[str, ...]) -> list[RelevanceRequest]:
    """What the service must be asked; nothing for rewrites whose reward follows from their text alone."""
    asked = [text for text in rewrites if normalise(text) and not is_copy(row.query, text)]
    return [RelevanceRequest(text, documents) for text in (row.query, *asked)] if asked else []


def _relevances(row: DataRow, scores: list[Score]) -> Relevances | Score:
    """All scores of a text, or the first that is missing: a mean over the rest would compare different documents."""
    values = []
    for score in scores:
        if score.value is None:
            return Score(None, score.missing)
        values.append(score.value)
    split = len(row.positives)
    return Relevances(tuple(values[:split]), tuple(values[split:]))


def _expression(config: RewardConfig) -> Expression | None:
    if not config.expression:
        return None
    try:
        return compile_expression(config.expression, TERMS)
    except ExpressionError as error:
        raise ValueError(f"reward.expression: {error}") from error


def _check(config: RewardConfig) -> None:
    if config.relevance_api is not None and config.relevance_api not in FORMATS:
        raise ValueError(f"reward.relevance.api: is {config.relevance_api!r}; want one of {', '.join(FORMATS)}")
    if not config.fusion:
        raise ValueError("reward.fusion: is empty; name at least one stage's term")
    for term in config.fusion:
        numbers = (term.a, term.b, term.gamma)
        if not (all(map(math.isfinite, numbers)) and term.a > 0 and term.b > 0 and term.gamma >= 0):
            raise ValueError(f"reward.fusion {term.stage}: a, b, gamma are {numbers}; want a > 0, b > 0, gamma >= 0")
    if not (math.isfinite(config.clip) and config.clip > 0):
        raise ValueError(f"reward.clip: is {config.clip}; want a finite number above 0")
    if not (math.isfinite(config.negatives_weight) and config.negatives_weight >= 0):
        raise ValueError(f"reward.lambda: is {config.negatives_weight}; want a finite number, 0 or more")
    for penalty in config.penalties or ():
        if penalty.term not in TRUTHS or not (math.isfinite(penalty.nats) and penalty.nats >= 0):
            raise ValueError(
                f"reward.penalties {penalty.term}: {penalty.nats}; want one of {', '.join(TRUTHS)}, 0 or more"
            )
