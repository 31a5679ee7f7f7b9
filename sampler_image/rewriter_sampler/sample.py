"""One samples shard: pick the rows, draw rewrites, score them beside the drawing, write the shard.

A shard that is there for the same order is left as it is, so that a pod that takes over another one's work, or comes
back after a restart, draws only what is missing. A score that cannot be had stays missing, with its reason; a shard
with too many of them fails with the numbers, because training on the rest would train on whatever the relevance
service happened to answer.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rewriter_contract import wire
from rewriter_contract.agent import Progress, WorkFailed
from rewriter_contract.messages import (
    DataRow,
    PromptConfig,
    RewardConfig,
    Sample,
    SampleRow,
    SamplesOrder,
    ShardRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.selection import read_requests, select
from rewriter_contract.shards import ShardDone, ShardError, read_done, read_scored, replace_file, write_shard
from rewriter_contract.text import is_copy, normalise
from rewriter_contract.volume import resolve
from rewriter_sampler.corpus import read_documents
from rewriter_sampler.draw_rows import DrawnRow, draw_rows
from rewriter_sampler.prompts import Prompts, rewrite_of
from rewriter_sampler.reload import SamplerWeights
from rewriter_sampler.reward import Scorer

SCORING_CHUNK = 8
"""Queries that are scored together: large enough for the relevance service to batch, small enough to start early."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplerPod:
    """What every piece of work of this pod uses."""

    root: Path
    writer: str
    """Makes temporary names unique: the pod's uid."""
    weights: SamplerWeights
    prompt: PromptConfig


@dataclass(frozen=True)
class SamplesAbout:
    """`<shard>.about`: which order the shard is the answer to. Written last: without it the shard is drawn again."""

    order: SamplesOrder
    sha256: str
    """Of the shard that this describes."""
    metrics: dict[str, float]


def sample_shard(pod: SamplerPod, order: SamplesOrder, progress: Progress) -> WorkReport:
    """Do one order; one that was done before, by whichever pod, is answered from the volume.

    Raises:
        WorkFailed: with a sentence for the operator.
        ShardError, CorpusRefused, OutsideVolume, Refused: the order's files or weights are not what it says.
        Cancelled: when it was told to stop.
    """
    out = resolve(pod.root, order.out)
    if found := _found(out, order):
        return found
    rows = select(read_requests(resolve(pod.root, order.requests_file), order.requests_sha256), order.selection)
    documents = read_documents(resolve(pod.root, order.corpus_file), rows)
    progress.update(total=len(rows))
    sampled, seconds = _draw_and_score(pod, order, rows, _scorer(order.reward, documents), progress)
    _check_missing(sampled, order.reward)
    done = write_shard(out, sampled, order.weights.version, order.reward.revision, pod.writer)
    about = SamplesAbout(order, done.sha256, shard_metrics(sampled, seconds))
    replace_file(about_path(out), wire.dumps(about).encode(), pod.writer)
    return _report(about, done)


def about_path(shard: Path) -> Path:
    """`shard-000.jsonl` -> `shard-000.jsonl.about`"""
    return shard.with_name(shard.name + ".about")


def _found(shard: Path, order: SamplesOrder) -> WorkReport | None:
    """The report of a finished shard that is the answer to `order` and whole; None: it must be drawn."""
    done = read_done(shard)
    try:
        about = wire.loads(SamplesAbout, about_path(shard).read_bytes(), shard.name)
        if done is None or about.order != order or about.sha256 != done.sha256:
            return None
        read_scored(SampleRow, shard, done.sha256, done.reward_revision)
    except (FileNotFoundError, wire.WireError, ShardError):
        return None
    return _report(about, done)


def _report(about: SamplesAbout, done: ShardDone) -> WorkReport:
    return WorkReport(
        state=WorkState.DONE,
        done=done.rows,
        total=done.rows,
        metrics=about.metrics,
        shard=ShardRef(path=about.order.out, rows=done.rows, sha256=done.sha256),
    )


def shard_metrics(rows: list[SampleRow], drawing_seconds: float) -> dict[str, float]:
    """Numbers of a shard for the operator: mean_score (left out when no sample has one), shares and speed."""
    samples = [sample for row in rows for sample in row.samples]
    if not samples:
        return {}
    scores = [sample.score for sample in samples if sample.score is not None]
    copies = sum(is_copy(row.query, sample.text) for row in rows for sample in row.samples)
    distinct = sum(len({normalise(sample.text) for sample in row.samples}) for row in rows)
    tokens = sum(len(sample.token_ids) for sample in samples)
    metrics = {
        "missing_share": 1 - len(scores) / len(samples),
        "copy_rate": copies / len(samples),
        "unfinished_rate": sum(not sample.finished for sample in samples) / len(samples),
        "distinct_rate": distinct / len(samples),
        "tokens_per_s": tokens / max(drawing_seconds, 1e-9),
    }
    return {"mean_score": sum(scores) / len(scores), **metrics} if scores else metrics


def _draw_and_score(
    pod: SamplerPod, order: SamplesOrder, rows: list[DataRow], scorer: Scorer, progress: Progress
) -> tuple[list[SampleRow], float]:
    """All rows with scores, and how many seconds drawing took."""
    scored: list[Future[list[SampleRow]]] = []

    def may_go_on() -> None:
        progress.update(done=sum(len(future.result()) for future in scored if future.done()))
        pod.weights.check_may_draw()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring") as scoring:
        try:
            with pod.weights.drawing(order.weights) as thread:
                since = time.monotonic()
                prompts = thread.call(lambda engine: Prompts(pod.prompt, engine.bos_text(), engine.chat_text))
                drawn = draw_rows(thread, prompts, rows, order.generation, may_go_on)
                for chunk in _chunks(drawn):
                    scored.append(scoring.submit(_score, pod.prompt, scorer, chunk, order.generation.n))
                seconds = time.monotonic() - since
            for future in scored:
                future.result()
                may_go_on()
        except BaseException:
            scoring.shutdown(wait=True, cancel_futures=True)
            raise
    return [row for future in scored for row in future.result()], seconds


def _scorer(reward: RewardConfig, documents: dict[str, str]) -> Scorer:
    try:
        return Scorer(reward, documents)
    except ValueError as error:
        raise WorkFailed(str(error)) from error


def _chunks(drawn: Iterable[DrawnRow]) -> Iterator[list[DrawnRow]]:
    chunk: list[DrawnRow] = []
    for row in drawn:
        chunk.append(row)
        if len(chunk) == SCORING_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _score(prompt: PromptConfig, scorer: Scorer, chunk: list[DrawnRow], n: int) -> list[SampleRow]:
    texts = [[rewrite_of(prompt, completion.text) for completion in drawn.completions] for drawn in chunk]
    scores = scorer.score([(drawn.row, rewrites) for drawn, rewrites in zip(chunk, texts, strict=True)])
    rows = []
    for drawn, rewrites, row_scores in zip(chunk, texts, scores, strict=True):
        samples = [
            Sample(text, score.value, score.missing, completion.finished, completion.token_ids)
            for text, score, completion in zip(rewrites, row_scores, drawn.completions, strict=True)
        ] or [Sample("", None, drawn.missing)] * n
        rows.append(SampleRow(drawn.row.id, drawn.row.query, drawn.prompt, tuple(samples), scorer.row_revision))
    return rows


def _check_missing(rows: list[SampleRow], reward: RewardConfig) -> None:
    samples = [sample for row in rows for sample in row.samples]
    reasons = Counter(sample.missing for sample in samples if sample.score is None)
    missing = reasons.total()
    if missing > reward.max_missing * len(samples):
        reason, _ = reasons.most_common(1)[0]
        raise WorkFailed(
            f"{missing} of {len(samples)} samples have no score ({missing / len(samples):.1%} > "
            f"{reward.max_missing:.1%}); most often: {reason}"
        )
