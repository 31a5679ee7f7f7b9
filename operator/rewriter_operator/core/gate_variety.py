"""Checks across queries: does the rewriter answer each query, or all of them with the same words?

What a relevance model likes everywhere pays on every query, so training finds it. Each is a pure function of the
evidence and its limits.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.reports import Verdict
from rewriter_contract.text import normalise, words
from rewriter_operator.core.gate_evidence import Evidence
from rewriter_operator.core.gate_measured import Limits, Measured, at_most, unknown
from rewriter_operator.core.gate_rates import rare, share
from rewriter_operator.core.gate_relatedness import told_apart
from rewriter_operator.core.statistics import bootstrap_mean, mean

HABIT: Final = 0.2
"""A word that is added to more than this share of the queries is a habit. Below the limit of AddedWord, so that a side
with two habits in turn has as many as one that always has the same."""


def no_word_is_added_everywhere(evidence: Evidence, limits: Limits) -> Measured:
    """No word is added to more than `max` of the queries: the generic, popular rewrite.

    A release may inherit such a habit and exchange it for a better one, but not get more of it: beside an incumbent
    with rewrites, at most `margin` such words more per query.
    """
    rows = [pair.candidate for pair in evidence.pairs if pair.candidate.rewrites]
    missing = _lacking(evidence)
    if missing or len(rows) < evidence.settings.minimum_queries:
        return missing or unknown("most frequent added word", "too few rewrites")
    counts = Counter(word for row in rows for word in added_words(row))
    word, hits = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    absolute = share(f'queries that get the word "{word}"', hits, len(rows), evidence, limits)
    if absolute.verdict is Verdict.PASS or evidence.against_passthrough:
        return absolute
    return _no_more_habits_than_before(absolute, evidence, limits)


def _no_more_habits_than_before(absolute: Measured, evidence: Evidence, limits: Limits) -> Measured:
    """Words that either side adds to more than HABIT of its queries, counted per query on both sides."""
    both = [(added_words(pair.candidate), added_words(pair.incumbent)) for pair in evidence.pairs]
    habits = _habits([ours for ours, _ in both]) | _habits([theirs for _, theirs in both])
    ours, theirs = ([len(added & habits) for added in side] for side in zip(*both, strict=True))
    excess = [float(mine - other) for mine, other in zip(ours, theirs, strict=True)]
    found = bootstrap_mean(excess, evidence.settings.alpha, evidence.resamples, evidence.random("habits"))
    verdict, relation = at_most(found, limits.margin, "+.2f")
    return replace(
        absolute,
        verdict=verdict,
        message=f"{absolute.message}; such words per query {mean(ours):.2f}, {mean(theirs):.2f} of the incumbent, "
        f"{found.estimate:+.2f} {relation}",
        candidate=mean(ours),
        incumbent=mean(theirs),
        difference=found.estimate,
        low=found.low,
        high=found.high,
        threshold=limits.margin,
    )


def _habits(added: Sequence[set[str]]) -> set[str]:
    counts = Counter(word for words_of_row in added for word in words_of_row)
    return {word for word, count in counts.items() if count > HABIT * len(added)}


def rewrites_are_related(evidence: Evidence, limits: Limits) -> Measured:
    """At most `max` of the rewrites are as near to other queries as to their own."""
    lacking = _lacking(evidence)
    if lacking:
        return lacking
    queries = told_apart(tuple(pair.candidate.query for pair in evidence.pairs))
    return rare("rewrites as near to other queries as to their own", evidence, limits, queries.is_unrelated)


def rewrites_are_unique(evidence: Evidence, limits: Limits) -> Measured:
    """Different rewrites per query, beside the incumbent's."""
    return _varied("different rewrites per query", evidence, limits, _texts)


def vocabulary_is_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Different words per word over all rewrites, beside the incumbent's."""
    return _varied("different words per word", evidence, limits, _all_words)


def few_rewrites_change(evidence: Evidence, limits: Limits) -> Measured:
    """How many queries are answered otherwise than by the incumbent: the distance of one release from the next."""
    if len(evidence.pairs) < evidence.settings.minimum_queries or evidence.against_passthrough:
        return unknown("changed rewrites", "too few queries, or an incumbent without rewrites")
    changed = sum(_texts([pair.candidate]) != _texts([pair.incumbent]) for pair in evidence.pairs)
    return share("queries with another rewrite than before", changed, len(evidence.pairs), evidence, limits)


def copies_are_not_lost(evidence: Evidence, limits: Limits) -> Measured:
    """The incumbent's copies of good queries do not all become rewrites: over-rewriting."""
    return rare("rewrites that are no copy", evidence, limits, lambda row: not row.copy if row.rewrites else None)


def added_words(row: EvidenceRow) -> set[str]:
    """Words of the rewrites that the query does not have."""
    return {word for text in row.rewrites for word in words(text)} - {*words(row.query)}


def _texts(rows: Sequence[EvidenceRow]) -> list[str]:
    return [" | ".join(map(normalise, row.rewrites)) for row in rows if row.rewrites]


def _all_words(rows: Sequence[EvidenceRow]) -> list[str]:
    return [word for row in rows for text in row.rewrites for word in words(text)]


def _varied(
    what: str, evidence: Evidence, limits: Limits, pieces: Callable[[Sequence[EvidenceRow]], list[str]]
) -> Measured:
    """The share of different pieces is at least `min`, and at least the incumbent's less `margin`."""
    ours = pieces([pair.candidate for pair in evidence.pairs])
    if len(ours) < evidence.settings.minimum_queries:
        return unknown(what, "too few rewrites")
    found, theirs = len({*ours}) / len(ours), pieces([pair.incumbent for pair in evidence.pairs])
    before = len({*theirs}) / len(theirs) if theirs else None
    floor = max(limits.min, before - limits.margin) if before is not None else limits.min
    beside = "" if before is None else f", {before:.2f} of the incumbent"
    return Measured(
        Verdict.PASS if found >= floor else Verdict.FAIL,
        f"{what} {found:.2f} {'>=' if found >= floor else '<'} {floor:.2f}{beside}",
        candidate=found,
        incumbent=before,
        difference=None if before is None else found - before,
        threshold=floor,
        n=len(evidence.pairs),
    )


def _lacking(evidence: Evidence) -> Measured | None:
    lacking = sum(not pair.candidate.query for pair in evidence.pairs)
    return unknown("query", f"the evidence of {lacking} queries lacks the query itself") if lacking else None
