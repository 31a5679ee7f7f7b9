"""The one input of every gate check: both sides' evidence, paired by query, and the comparisons that checks share.

Numbers that are absent, NaN or infinite are missing here and stay missing. Comparisons are computed when a check
first asks for them, each with a random stream of its own, so that no check changes what another one sees.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Final

from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import GateSettings, Judged
from rewriter_contract.text import is_copy, normalise
from rewriter_operator.core.statistics import Interval, bootstrap_mean, mean

DRAWS: Final = 2_000_000
"""Values that one bootstrap draws at most, unless that leaves fewer than FEWEST_RESAMPLES."""
FEWEST_RESAMPLES: Final = 1000

Measure = Callable[[EvidenceRow], float | None]


@dataclass(frozen=True)
class Pair:
    """What both sides did with one query."""

    candidate: EvidenceRow
    incumbent: EvidenceRow


@dataclass(frozen=True)
class Comparison:
    """One measure over the pairs where both sides have it."""

    candidate: float
    incumbent: float
    difference: Interval
    """Of candidate - incumbent, paired."""
    differences: tuple[float, ...]
    n: int


@dataclass(frozen=True)
class Evidence:
    """Both sides, paired."""

    candidate: EvidenceRows
    incumbent: EvidenceRows
    pairs: tuple[Pair, ...]
    unpaired: int
    """Rows whose query only one side answered."""
    repeated: int
    """Rows whose query the same side answered before."""
    settings: GateSettings
    judged: Judged | None = None
    """How the cycle scores; None: not known, so that only the sides can be compared with each other."""

    @property
    def against_passthrough(self) -> bool:
        """The incumbent has no rewrite at all: measures of its texts do not exist."""
        return not any(row.rewrites for row in self.incumbent.rows)

    @property
    def rewards_are_comparable(self) -> bool:
        """Both sides were scored by the same reward and relevance model, which are the cycle's where that is known.

        A side that needed no relevance score (passthrough, nothing but copies) names no model and fits every one.
        """
        models = {self.candidate.relevance_model, self.incumbent.relevance_model} - {""}
        alike = self.candidate.reward_revision == self.incumbent.reward_revision and len(models) <= 1
        return alike and not self.foreign

    @cached_property
    def foreign(self) -> tuple[str, ...]:
        """Why rewards are not the cycle's, one sentence each; two sides that agree with each other may both be so."""
        if self.judged is None:
            return ()
        if not self.judged.relevance_model:
            return (
                "the cycle recorded no relevance model, so that no reward is known to be of its own; start a new cycle",
            )
        sides = (("candidate", self.candidate), ("incumbent", self.incumbent))
        return tuple(text for name, side in sides if (text := _foreign(name, side, self.judged)))

    @cached_property
    def reward(self) -> Comparison | None:
        """log R; None with too few pairs, or when the rewards are not comparable."""
        return self.compare("reward", lambda row: row.reward) if self.rewards_are_comparable else None

    @cached_property
    def ndcg(self) -> Comparison | None:
        """Gold nDCG@10; None with too few pairs."""
        return self.compare("ndcg", lambda row: row.ndcg10)

    @cached_property
    def recall(self) -> Comparison | None:
        """Gold recall@100; None with too few pairs."""
        return self.compare("recall", lambda row: row.recall100)

    def compare(self, name: str, measure: Measure) -> Comparison | None:
        """Compare by `measure`; None when fewer than settings.minimum_queries pairs have it."""
        both = [
            (of_candidate, of_incumbent)
            for pair in self.pairs
            if (of_candidate := number(measure(pair.candidate))) is not None
            and (of_incumbent := number(measure(pair.incumbent))) is not None
        ]
        if not both or len(both) < self.settings.minimum_queries:
            return None
        differences = tuple(of_candidate - of_incumbent for of_candidate, of_incumbent in both)
        interval = bootstrap_mean(differences, self.settings.alpha, self.resamples, self.random(name))
        return Comparison(
            candidate=mean([of_candidate for of_candidate, _ in both]),
            incumbent=mean([of_incumbent for _, of_incumbent in both]),
            difference=interval,
            differences=differences,
            n=len(both),
        )

    def missing_share(self, measure: Measure) -> float:
        """Share of the pairs where at least one side lacks the measure; 1.0 without pairs."""
        if not self.pairs:
            return 1.0
        lacking = sum(
            number(measure(pair.candidate)) is None or number(measure(pair.incumbent)) is None for pair in self.pairs
        )
        return lacking / len(self.pairs)

    @property
    def resamples(self) -> int:
        """How often to resample: less for many queries, whose bounds are tight, so that a gate takes seconds."""
        affordable = max(DRAWS // max(len(self.pairs), 1), FEWEST_RESAMPLES)
        return min(self.settings.resamples, affordable)

    def random(self, purpose: str) -> Random:
        """The random stream of one purpose: the same for the same seed, whatever else was drawn."""
        return Random(f"{self.settings.seed}:{purpose}")


def gather(
    candidate: EvidenceRows, incumbent: EvidenceRows, settings: GateSettings, judged: Judged | None = None
) -> Evidence:
    """Pair the rows by query id, in the order of the ids."""
    ours, theirs = ({row.id: row for row in side.rows} for side in (candidate, incumbent))
    shared = sorted(ours.keys() & theirs.keys())
    return Evidence(
        candidate=candidate,
        incumbent=incumbent,
        pairs=tuple(Pair(ours[key], theirs[key]) for key in shared),
        unpaired=len(ours.keys() ^ theirs.keys()),
        repeated=len(candidate.rows) - len(ours) + len(incumbent.rows) - len(theirs),
        settings=settings,
        judged=judged,
    )


def _foreign(name: str, side: EvidenceRows, judged: Judged) -> str:
    """Why the rewards of a side are not the cycle's; empty where they are."""
    if side.reward_revision != judged.reward_revision:
        return (
            f"{name}: reward revision {side.reward_revision[:12]}, the cycle's is {judged.reward_revision[:12]}; "
            "start a new cycle"
        )
    strange = sum(row.reward_revision not in (None, judged.reward_revision) for row in side.rows)
    if strange:
        return f"{name}: {strange} rows are of another reward revision than the cycle's; start a new cycle"
    if side.relevance_model == judged.relevance_model:
        return ""
    if side.relevance_model:
        return (
            f"{name}: scored by relevance model {side.relevance_model}, the cycle's is {judged.relevance_model}; "
            "start a new cycle"
        )
    scored = sum(_needs_score(row) for row in side.rows)
    return f"{name}: {scored} rewards name no relevance model; start a new cycle" if scored else ""


def _needs_score(row: EvidenceRow) -> bool:
    """Its reward does not follow from the text alone, as that of nothing, a copy or an empty rewrite does."""
    if row.reward is None or row.copy:
        return False
    return any(normalise(text) and not is_copy(row.query, text) for text in row.rewrites)


def number(value: float | None) -> float | None:
    """The value, or None for anything that no conclusion can rest on."""
    return value if value is not None and math.isfinite(value) else None


def minus(candidate: float | None, incumbent: float | None) -> float | None:
    """The difference, or None where either side has no number."""
    ours, theirs = number(candidate), number(incumbent)
    return None if ours is None or theirs is None else ours - theirs
