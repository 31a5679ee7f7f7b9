"""Checks of what a query insists on: numbers, units, negations, names, its script, its first result.

A rewrite that drops "without" or turns 500 ml into 50 finds something else, and a mean hides it. Each is a pure
function of the evidence and its limits; evidence without its queries (from before they were recorded) is unknown.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.text import normalise, words
from rewriter_operator.core.gate_evidence import Evidence
from rewriter_operator.core.gate_measured import Limits, Measured, unknown
from rewriter_operator.core.gate_rates import rare

NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
MEASURE: Final = re.compile(r"(\d+(?:[.,]\d+)*)\s*([^\W\d_]{1,3}|inch|inches)\b")
"""A number and up to three letters after it: 5kg, 500 ml, 26 inch. Longer words after a number are counted things."""
_UNITS: Final = """
    mm cm dm m km in inch inches ft mg g kg lb lbs oz ml cl dl l gal w kw kwh v a ah mah wh hz khz mhz ghz kb mb gb tb
    hp psi bar lm k px dpi
"""
UNITS: Final = frozenset(_UNITS.split())
_NEGATIONS: Final = """
    no not non never none without cannot nor kein keine keinen nicht ohne pas sans sin senza niet zonder
"""
NEGATIONS: Final = frozenset(_NEGATIONS.split())
"""Of English, German, French, Spanish, Italian and Dutch. Other languages are not seen by NegationsKept."""
NEGATIVE_PARTS: Final = re.compile(r"\w+n['\u2019]t\b|\bnon\w+|\w+[- ](?:free|less)\b|\w+less\b")
"""doesn't, nonslip, sugar-free, wireless: other ways to say no."""
CODE: Final = re.compile(r"\b(?=\w*[^\W\d_])(?=\w*\d)\w{3,}\b")
"""Letters with digits, like wh1000xm4: model numbers, the names that lower-case queries still show."""
CONFUSABLE_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK"})
"""Scripts whose letters look alike; a word that mixes them is not typed by users."""


def numbers_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Every number of the query is in its rewrites."""
    return _kept("rewrites that lose a number", evidence, limits, lambda text: {*NUMBER.findall(normalise(text))})


def units_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Every number with a unit keeps its unit."""
    return _kept("rewrites that lose a unit", evidence, limits, _measures)


def negations_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """A query that says no is answered by rewrites that say no, in whichever word."""
    return _kept("rewrites that lose a negation", evidence, limits, lambda text: {"no"} if is_negative(text) else set())


def names_are_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Model numbers, and capitalised words after the first, are in the rewrites."""
    return _kept("rewrites that lose a name", evidence, limits, _names, lambda text: {*words(text)} | _names(text))


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
    """Where the incumbent's first result has the best grade, so has the candidate's (target@1, exact McNemar)."""
    first = [pair for pair in evidence.pairs if pair.incumbent.target_first is not None]
    if not first:
        return unknown("target@1", "no query tells whether its first result has the best grade")
    return rare("queries whose first result is not of the best grade", evidence, limits, _misses_target)


def is_negative(text: str) -> bool:
    """Whether any word of the text says no."""
    folded = normalise(text)
    return bool(NEGATIONS & {*words(folded)} or NEGATIVE_PARTS.search(folded))


def main_script(text: str) -> str | None:
    """`LATIN`, `CYRILLIC`, `HAN`...: of most of its letters; None without letters."""
    counted: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            counted[_script(char)] = counted.get(_script(char), 0) + 1
    return max(sorted(counted), key=counted.__getitem__) if counted else None


def mixes_scripts(text: str) -> bool:
    """Whether one of its words has letters of several scripts that look alike."""
    found = [{_script(char) for char in word if char.isalpha()} & CONFUSABLE_SCRIPTS for word in words(text)]
    return any(len(scripts) > 1 for scripts in found)


def _script(char: str) -> str:
    if char.isascii():
        return "LATIN"
    name = unicodedata.name(char, "UNKNOWN").split(" ")[0]
    return "HAN" if name in ("CJK", "HIRAGANA", "KATAKANA") else name  # Japanese writes all three


def _misses_target(row: EvidenceRow) -> bool | None:
    return None if row.target_first is None else not row.target_first


def _measures(text: str) -> set[str]:
    """`5kg` and `5 kg` are both "5kg"."""
    return {f"{value}{unit}" for value, unit in MEASURE.findall(normalise(text)) if unit in UNITS}


def _names(text: str) -> set[str]:
    shouted = text.isupper()
    capitals = {word for name in text.split()[1:] if name[0].isupper() and not shouted for word in words(name)}
    measures = _measures(text)
    return {code for code in CODE.findall(normalise(text)) if code not in measures} | capitals


def _kept(
    what: str,
    evidence: Evidence,
    limits: Limits,
    wanted: Callable[[str], set[str]],
    said: Callable[[str], set[str]] | None = None,
) -> Measured:
    """At most `max` of the queries that want something have a rewrite that lacks it."""

    def lost(row: EvidenceRow) -> bool | None:
        asked = wanted(row.query)
        return any(asked - (said or wanted)(text) for text in row.rewrites) if asked and row.rewrites else None

    return _of_known_queries(what, evidence, limits, lost)


def _of_known_queries(
    what: str, evidence: Evidence, limits: Limits, is_bad: Callable[[EvidenceRow], bool | None]
) -> Measured:
    unknown_queries = sum(not pair.candidate.query for pair in evidence.pairs)
    if unknown_queries:
        return unknown(what, f"the evidence of {unknown_queries} queries lacks the query itself")
    return rare(what, evidence, limits, is_bad)
