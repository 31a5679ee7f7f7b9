"""Checks of what a query insists on: numbers, units, negations, names, its script, its first result.

A rewrite that drops "without" or turns 500 ml into 50 finds something else, and a mean hides it. Each is a pure
function of the evidence and its limits; evidence without its queries (from before they were recorded) is unknown.
"""

from collections.abc import Callable
from typing import Final

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.text import side_by_side, words
from rewriter_contract.text_checks import is_negative, main_script, measures, mixes_scripts, names, numbers
from rewriter_operator.core.gate_evidence import Evidence
from rewriter_operator.core.gate_measured import Limits, Measured, nothing_to_judge, unknown
from rewriter_operator.core.gate_rates import rare, share

LOST_TARGET: Final = "queries that lose a first result of the best grade"


def numbers_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Every number of the query is in its rewrites."""
    return _kept("rewrites that lose a number", evidence, limits, numbers)


def units_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Every number with a unit keeps its unit."""
    return _kept("rewrites that lose a unit", evidence, limits, measures)


def negations_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """A query that says no is answered by rewrites that say no, in whichever word."""
    return _kept("rewrites that lose a negation", evidence, limits, lambda text: {"no"} if is_negative(text) else set())


def names_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Model numbers, capitalised words after the first, and the query's target, its words side by side."""

    def lost(row: EvidenceRow) -> bool | None:
        asked, target = names(row.query), words(row.target or "")
        if not (asked or target) or not row.rewrites:
            return None
        return not all(
            asked <= {*words(text)} | names(text) and side_by_side(words(text), target) for text in row.rewrites
        )

    return _of_known_queries("rewrites that lose a name", evidence, limits, lost)


def script_is_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Rewrites are written in the query's script: the part of "language kept" that needs no model."""

    def changed(row: EvidenceRow) -> bool | None:
        script = main_script(row.query)
        return None if script is None or not row.rewrites else any(main_script(t) != script for t in row.rewrites)

    return _of_known_queries("rewrites in another script", evidence, limits, changed)


def scripts_are_not_mixed(evidence: Evidence, limits: Limits) -> Measured:
    """No word mixes Latin, Cyrillic and Greek letters: look-alikes fool a relevance model, and nobody types them."""
    return rare("rewrites with look-alike letters", evidence, limits, lambda row: any(map(mixes_scripts, row.rewrites)))


def target_stays_first(evidence: Evidence, limits: Limits) -> Measured:
    """Of the queries whose first result had the best grade with the incumbent, few lose it (target@1)."""
    if len(evidence.pairs) < evidence.settings.minimum_queries:
        return unknown(LOST_TARGET, "too few queries")
    had = [
        pair.candidate.target_first
        for pair in evidence.pairs
        if pair.incumbent.target_first and pair.candidate.target_first is not None
    ]
    if not had:
        return nothing_to_judge(LOST_TARGET, "no query whose first result had the best grade with the incumbent")
    return share(LOST_TARGET, had.count(False), len(had), evidence, limits)


def _kept(what: str, evidence: Evidence, limits: Limits, wanted: Callable[[str], set[str]]) -> Measured:
    """At most `max` of the queries that want something have a rewrite that lacks it."""

    def lost(row: EvidenceRow) -> bool | None:
        asked = wanted(row.query)
        return any(asked - wanted(text) for text in row.rewrites) if asked and row.rewrites else None

    return _of_known_queries(what, evidence, limits, lost)


def _of_known_queries(
    what: str, evidence: Evidence, limits: Limits, is_bad: Callable[[EvidenceRow], bool | None]
) -> Measured:
    unknown_queries = sum(not pair.candidate.query for pair in evidence.pairs)
    if unknown_queries:
        return unknown(what, f"the evidence of {unknown_queries} queries lacks the query itself")
    return rare(what, evidence, limits, is_bad)
