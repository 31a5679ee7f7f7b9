"""Gathers the gate's evidence of one side: rewrites of the held-out queries, their reward, gold and text measures.

For the operator's gate, which judges candidate against incumbent by these rows. It must never judge, never leave out
a query that went badly, and never write a number for something that could not be measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rewriter_contract import wire
from rewriter_contract.agent import Progress, WorkFailed
from rewriter_contract.messages import (
    PASSTHROUGH,
    DataRow,
    EvidenceOrder,
    EvidenceRow,
    EvidenceRows,
    GenerationConfig,
    SampledDraw,
    ShardRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.selection import read_requests, select
from rewriter_contract.shards import ShardDone, ShardError, read_done, read_scored, replace_file, write_shard
from rewriter_contract.text import is_copy, repetition, words
from rewriter_contract.text_checks import is_clean
from rewriter_contract.volume import resolve
from rewriter_sampler.corpus import read_documents
from rewriter_sampler.drawing import Completion
from rewriter_sampler.evidence_partial import KeptBatch, Partial, begin, partial_path
from rewriter_sampler.gold import NO_GOLD, Gold, SearchClient
from rewriter_sampler.reward import Score, Scorer

Generate = Callable[[list[DataRow], GenerationConfig], list[list[Completion]]]
"""Completions of each row with the loaded weights, in the order of the rows; their texts are the rewrites."""

Weigh = Callable[[list[DataRow], list[SampledDraw | None]], list[tuple[float, ...] | None]]
"""log p of each row's rewrites, which other weights drew, by the loaded ones."""

QUERIES_PER_BATCH: Final = 64
"""Large enough to keep the engine busy, small enough that a cancelled order ends soon."""

MAX_ID_CHARS: Final = 256
"""Of a document's id that a row keeps: it is for people, and the search's word only."""


@dataclass(frozen=True)
class EvidenceAbout:
    """`<shard>.about`: where a shard's rows came from. Written last: without it the shard is gathered again."""

    order: EvidenceOrder
    """With the digest of the file that it weighs."""
    sha256: str
    """Of the shard that this describes."""
    relevance_model: str
    """`name@digest`; empty where no score was needed (passthrough, or every rewrite was a copy or empty)."""


def run(
    order: EvidenceOrder, root: Path, generate: Generate, progress: Progress, writer: str, weigh: Weigh | None = None
) -> WorkReport:
    """Do the order and return its final report. A shard that is there for the same order is left as it is, and one that
    another pod had begun is gone on with.

    Raises:
        WorkFailed: when more rewards are missing than the reward's `max_missing`, or a service stays away.
        ShardError: when the requests file is absent or was changed.
    """
    shard, bound = resolve(root, order.out), _bound(order, root)
    about = read_about(shard)
    done = read_done(shard)
    if about is not None and done is not None and about.order == bound:
        with suppress(ShardError):  # a shard that is damaged is gathered again
            found = _report(order, done, read_scored(EvidenceRow, shard, done.sha256, done.reward_revision))
            partial_path(shard).unlink(missing_ok=True)
            return found
    rows = select(read_requests(resolve(root, order.requests_file), order.requests_sha256), order.selection)
    documents = read_documents(resolve(root, order.corpus_file), rows)
    gatherer = _gatherer(order, generate, weigh, documents, _other_draws(order, root))
    kept = begin(shard, bound, writer)
    evidence: list[EvidenceRow] = []
    progress.update(done=0, total=len(rows))
    for start in range(0, len(rows), QUERIES_PER_BATCH):
        batch = rows[start : start + QUERIES_PER_BATCH]
        evidence.extend(kept.rows(start, batch) or _gather(gatherer, batch, kept, start))
        progress.update(done=len(evidence), total=len(rows))
    relevance_model = kept.model_with(gatherer.scorer.relevance_model)
    _refuse_missing(order, evidence)
    weights = order.weights.version if order.weights else PASSTHROUGH
    done = write_shard(shard, evidence, weights, order.reward.revision, writer)
    about = EvidenceAbout(bound, done.sha256, relevance_model)
    replace_file(about_path(shard), wire.dumps(about).encode(), writer)
    kept.remove()
    return _report(order, done, evidence)


def read_rows(root: Path, out: str) -> EvidenceRows:
    """The rows that an order with this `out` wrote, for GET .../rows.

    Raises:
        ShardError: when the shard is absent, damaged, or half announced.
    """
    shard = resolve(root, out)
    done, about = read_done(shard), read_about(shard)
    if done is None or about is None or about.sha256 != done.sha256:
        raise ShardError(f"evidence {out} is not complete; order it again")
    return EvidenceRows(
        rows=read_scored(EvidenceRow, shard, done.sha256, done.reward_revision),
        sha256=done.sha256,
        reward_revision=done.reward_revision,
        relevance_model=about.relevance_model,
    )


def read_about(shard: Path) -> EvidenceAbout | None:
    """What is written about the shard, or None while nothing (or nothing readable) is."""
    try:
        return wire.loads(EvidenceAbout, about_path(shard).read_bytes(), shard.name)
    except (FileNotFoundError, wire.WireError):
        return None


def about_path(shard: Path) -> Path:
    """`candidate-000.jsonl` -> `candidate-000.jsonl.about`"""
    return shard.with_name(shard.name + ".about")


@dataclass(frozen=True)
class _Answer:
    """One draw of one row, and how it did."""

    completions: list[Completion]
    scores: list[Score]
    gold: Gold

    @property
    def rewrites(self) -> list[str]:
        return [completion.text for completion in self.completions]

    @property
    def cut(self) -> int:
        return sum(not completion.finished for completion in self.completions)

    @property
    def is_whole(self) -> bool:
        """Every score and the ranking could be had."""
        return self.gold.ranking is not None and all(score.value is not None for score in self.scores)


@dataclass(frozen=True)
class Gathered:
    """Rows of a batch."""

    rows: list[EvidenceRow]
    whole: bool
    """Every score and every ranking could be had."""


@dataclass(frozen=True)
class _Gatherer:
    """Everything that rows of one order are measured with."""

    order: EvidenceOrder
    generate: Generate
    weigh: Weigh | None
    other_draws: Mapping[str, SampledDraw]
    """Query id -> what the other side drew; empty where nothing is to be weighed."""
    scorer: Scorer
    search: SearchClient

    def gather(self, rows: list[DataRow]) -> Gathered:
        """Evidence of each row."""
        answers = self._answers(rows, self.order.generation)
        second = self._answers(rows, self.order.sampled) if self.order.sampled and self.order.weights else []
        sampled: list[SampledDraw | None] = [_sampled(answer) for answer in second] or [None] * len(rows)
        found = self.search.measure([(row, []) for row in rows]) if self.order.query_alone else []
        alone = found or [NO_GOLD] * len(rows)
        weighed = self._weighed(rows)
        gathered = [
            replace(
                measure(row, answer.rewrites, answer.scores, answer.gold),
                reward_revision=self.scorer.row_revision,
                cut=answer.cut if answer.completions else None,
                sampled=drawn,
                results=first_results(answer.gold, self.order.first_results),
                alone_results=first_results(without, self.order.first_results),
                alone_ndcg10=without.ndcg10,
                weighed=log_p,
            )
            for row, answer, drawn, without, log_p in zip(rows, answers, sampled, alone, weighed, strict=True)
        ]
        whole = all(answer.is_whole for answer in (*answers, *second)) and None not in [each.ranking for each in found]
        return Gathered(gathered, whole)

    def _weighed(self, rows: list[DataRow]) -> list[tuple[float, ...] | None]:
        if self.weigh is None or not self.other_draws:
            return [None] * len(rows)
        return self.weigh(rows, [self.other_draws.get(row.id) for row in rows])

    def _answers(self, rows: list[DataRow], generation: GenerationConfig) -> list[_Answer]:
        """One draw of every row, scored and searched with."""
        drawn = self.generate(rows, generation) if self.order.weights else [[] for _ in rows]
        answered = [(row, [completion.text for completion in of_row]) for row, of_row in zip(rows, drawn, strict=True)]
        scores = self.scorer.score(answered)
        gold = self.search.measure(answered)
        return [_Answer(*each) for each in zip(drawn, scores, gold, strict=True)]


def _gather(gatherer: _Gatherer, batch: list[DataRow], kept: Partial, start: int) -> Sequence[EvidenceRow]:
    """Gather a batch; keep it where it is whole."""
    gathered = gatherer.gather(batch)
    if gathered.whole:
        kept.keep(KeptBatch(start, tuple(gathered.rows), gatherer.scorer.relevance_model))
    return gathered.rows


def _sampled(answer: _Answer) -> SampledDraw:
    """What the order's second draw gives."""
    return SampledDraw(
        rewrites=tuple(answer.rewrites),
        reward=mean_reward(answer.scores),
        ndcg10=answer.gold.ndcg10,
        recall100=answer.gold.recall100,
        nats=nats_per_token(answer.completions),
        cut=answer.cut,
        token_ids=tuple(completion.token_ids for completion in answer.completions),
        logprobs=log_probabilities(answer.completions),
    )


def _bound(order: EvidenceOrder, root: Path) -> EvidenceOrder:
    """The order with the digest of the file that it weighs: where that was gathered again, this is another order."""
    if order.weigh is None:
        return order
    done = read_done(resolve(root, order.weigh))
    return replace(order, weigh=f"{order.weigh}@{done.sha256 if done else ''}")


def _other_draws(order: EvidenceOrder, root: Path) -> dict[str, SampledDraw]:
    """What the other side drew, by query id.

    Raises:
        ShardError: when its evidence is not there, or damaged.
    """
    if order.weigh is None or order.weights is None:
        return {}
    return {row.id: row.sampled for row in read_rows(root, order.weigh).rows if row.sampled}


def _gatherer(
    order: EvidenceOrder,
    generate: Generate,
    weigh: Weigh | None,
    documents: dict[str, str],
    other_draws: Mapping[str, SampledDraw],
) -> _Gatherer:
    try:
        scorer = Scorer(order.reward, documents)
        search = SearchClient(order.search_url, order.reward.timeout_seconds)
    except ValueError as error:  # a reward without a finite value, or a URL that is none
        raise WorkFailed(str(error)) from error
    return _Gatherer(order, generate, weigh, other_draws, scorer, search)


def measure(row: DataRow, rewrites: list[str], scores: list[Score], gold: Gold) -> EvidenceRow:
    """One row of evidence. Without rewrites (the passthrough) the text measures are those of nothing."""
    return EvidenceRow(
        id=row.id,
        slice=row.slice,
        rewrites=tuple(rewrites),
        reward=mean_reward(scores),
        ndcg10=gold.ndcg10,
        recall100=gold.recall100,
        length_ratio=length_ratio(row.query, rewrites),
        copy=bool(rewrites) and all(is_copy(row.query, text) for text in rewrites),
        repetition=max((repetition(text) for text in rewrites), default=0.0),
        format_ok=all(is_clean(row.query, text) for text in rewrites),
        query=row.query,
        target_first=gold.target_first,
        target=row.target or None,
    )


def first_results(gold: Gold, count: int | None) -> tuple[str, ...] | None:
    """The first `count` documents, as text that can be written; None where none are wanted, or there is no ranking."""
    if count is None or gold.ranking is None:
        return None
    return tuple(
        document[:MAX_ID_CHARS].encode(errors="replace").decode() for document in gold.ranking[: max(count, 0)]
    )


def mean_reward(scores: list[Score]) -> float | None:
    """Mean over the rewrites; 0.0 without any, None as soon as one is missing."""
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        return None
    return math.fsum(values) / len(values) if values else 0.0


def nats_per_token(completions: list[Completion]) -> float | None:
    """Mean -log p over all drawn tokens, terminators included; None as soon as one completion has no number."""
    tokens, known = sum(len(completion.token_ids) for completion in completions), log_probabilities(completions)
    return None if known is None or not tokens else -math.fsum(known) / tokens


def log_probabilities(completions: list[Completion]) -> tuple[float, ...] | None:
    """log p of each completion; None as soon as one has no number, and without any."""
    known = [
        completion.mean_logprob * len(completion.token_ids)
        for completion in completions
        if completion.mean_logprob is not None
    ]
    return tuple(known) if known and len(known) == len(completions) else None


def length_ratio(query: str, rewrites: list[str]) -> float | None:
    """Words per rewrite over words of the query; None without rewrites, or for a query without words."""
    of_query = len(words(query))
    if not rewrites or not of_query:
        return None
    return sum(len(words(text)) for text in rewrites) / len(rewrites) / of_query


def _refuse_missing(order: EvidenceOrder, evidence: list[EvidenceRow]) -> None:
    missing = sum(row.reward is None for row in evidence)
    if missing > order.reward.max_missing * len(evidence):
        raise WorkFailed(
            f"reward is missing for {missing} of {len(evidence)} queries, over {order.reward.max_missing:.1%}; "
            "look at the relevance service, and at rows without positives or with documents that the corpus lacks"
        )


def _report(order: EvidenceOrder, done: ShardDone, evidence: Sequence[EvidenceRow]) -> WorkReport:
    rewards = [row.reward for row in evidence if row.reward is not None]
    gold = [row.ndcg10 for row in evidence if row.ndcg10 is not None]
    metrics = {
        "queries": float(len(evidence)),
        "missing_rewards": float(len(evidence) - len(rewards)),
        "gold_queries": float(len(gold)),
    }
    if rewards:
        metrics["reward"] = math.fsum(rewards) / len(rewards)
    if gold:
        metrics["ndcg10"] = math.fsum(gold) / len(gold)
    return WorkReport(
        state=WorkState.DONE,
        done=len(evidence),
        total=len(evidence),
        metrics=metrics,
        shard=ShardRef(path=order.out, rows=done.rows, sha256=done.sha256),
    )
