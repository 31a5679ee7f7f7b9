"""Turns scored samples into preference pairs. Standard library only; no randomness.

A pair must teach what the reward measures: missing scores are dropped (never imputed), texts that differ only in
case, width or white space count once, a completion that was cut, is empty or repeats itself is never an example to
follow (the gate would refuse it), and pairs that reject nothing but such a format failure stay a minority, because
they teach only format.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Final

from rewriter_contract.messages import PairsConfig, Sample, SampleRow
from rewriter_contract.text import normalise, repeats_itself

MAX_FORMAT_FAILURE_SHARE: Final = 0.2
"""Largest share of pairs whose rejected side is a format failure."""

REJECTED_AT: Final = ("min", "mu-2sigma")


@dataclass(frozen=True)
class Pair:
    """Two rewrites of one query, the first better by at least the margin."""

    id: str
    query: str
    prompt: str
    chosen: Sample
    rejected: Sample


@dataclass(frozen=True)
class PairSet:
    """The pairs of a phase, and the numbers that tell whether the samples held any signal."""

    pairs: tuple[Pair, ...]
    queries: int
    queries_with_pairs: int
    samples: int
    missing: int
    """Samples without a score."""
    mean_score: float
    """Mean log R over the samples that have one; 0 where none has."""

    @property
    def missing_share(self) -> float:
        """Share of samples without a score."""
        return self.missing / self.samples if self.samples else 0.0


def build_pairs(rows: Sequence[SampleRow], config: PairsConfig) -> PairSet:
    """The preference pairs of all rows, in the order of the rows.

    Raises:
        ValueError: for a `rejected_at` that is not known.
    """
    if config.rejected_at not in REJECTED_AT:
        raise ValueError(f"pairs.rejectedAt is {config.rejected_at!r}; it must be one of {', '.join(REJECTED_AT)}")
    by_row = cap_format_failures(
        [pair_row(row, config) for row in rows],
        [pair_row(row, config, reject_failures=False) for row in rows],
    )
    samples = [sample for row in rows for sample in row.samples]
    scores = [sample.score for sample in samples if sample.score is not None]
    return PairSet(
        pairs=tuple(pair for pairs in by_row for pair in pairs),
        queries=len(rows),
        queries_with_pairs=sum(bool(pairs) for pairs in by_row),
        samples=len(samples),
        missing=len(samples) - len(scores),
        mean_score=fmean(scores) if scores else 0.0,
    )


def pair_row(row: SampleRow, config: PairsConfig, reject_failures: bool = True) -> list[Pair]:
    """The i-th best sample of a query with its i-th worst, for i up to top_k.

    `rejected_at` "min" takes the worst ones; "mu-2sigma" takes those nearest to two standard deviations below the
    mean, which for many samples per query is a better teacher than the single worst (arXiv 2502.16825).
    `reject_failures=False` leaves format failures out of the rejected side too.
    """
    ranked = sorted(distinct(row.samples), key=lambda sample: (-_score(sample), sample.text))
    well_formed = [sample for sample in ranked if not is_format_failure(sample)]
    if not well_formed:
        return []
    # A format failure that scores as high as the best rewrite can be rejected against nothing: it takes no part.
    failures = [sample for sample in ranked if is_format_failure(sample) and _score(sample) < _score(well_formed[0])]
    candidates = [s for s in ranked if s in well_formed or (reject_failures and s in failures)]
    # At most half of the samples may be chosen, so that no sample is an example in one pair and a warning in another.
    best = well_formed[: min(config.top_k, len(candidates) // 2)]
    rejectable = [sample for sample in reversed(candidates) if sample not in best]
    if config.rejected_at == "mu-2sigma":
        scores = [_score(sample) for sample in ranked]
        target = fmean(scores) - 2 * pstdev(scores)
        rejectable.sort(key=lambda sample: abs(_score(sample) - target))
    return [
        Pair(id=row.id, query=row.query, prompt=row.prompt, chosen=chosen, rejected=rejected)
        for chosen, rejected in zip(best, rejectable, strict=False)
        if _score(chosen) > _score(rejected) and _score(chosen) - _score(rejected) >= config.margin
    ]


def distinct(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that have a score, each normalised text once; a finished completion stands for a cut one."""
    kept: dict[str, Sample] = {}
    for sample in samples:
        if sample.score is None:
            continue
        key = normalise(sample.text)
        if key not in kept or (sample.finished and not kept[key].finished):
            kept[key] = sample
    return list(kept.values())


def is_format_failure(sample: Sample) -> bool:
    """Whether a completion is wrong by its form alone: nothing was said, the end never reached, or words repeated."""
    return not sample.finished or not normalise(sample.text) or repeats_itself(sample.text)


def cap_format_failures(by_row: list[list[Pair]], well_formed: list[list[Pair]]) -> list[list[Pair]]:
    """Replace rows that reject a format failure by their well-formed pairs until the share of such pairs is allowed.

    Goes from the last row backwards: rows come in the order of a seeded selection, so no kind of query is preferred.
    """
    result = list(by_row)
    failures = sum(_failures(pairs) for pairs in result)
    total = sum(len(pairs) for pairs in result)
    for index in reversed(range(len(result))):
        if failures <= MAX_FORMAT_FAILURE_SHARE * total:
            break
        if not _failures(result[index]):
            continue
        failures -= _failures(result[index])
        total += len(well_formed[index]) - len(result[index])
        result[index] = well_formed[index]
    return result


def _failures(pairs: list[Pair]) -> int:
    return sum(is_format_failure(pair.rejected) for pair in pairs)


def _score(sample: Sample) -> float:
    if sample.score is None:
        raise ValueError("a sample without a score reached ranking")
    return sample.score
