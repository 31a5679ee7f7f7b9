"""What can be checked of a rewrite by its text alone: what its query insists on, its script, its form.

The gate judges by these, and a reward may cost what breaks them: both must mean the same thing. Pure functions of
texts; nothing here knows a model.
"""

import re
import unicodedata
from typing import Final

from rewriter_contract.text import normalise, words

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


INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of control, zero-width, private, unassigned characters and line separators."""
TEMPLATE_MARK: Final = re.compile(
    r"<\|[^|<>]*\|>|\[/?INST\]|</?s>|```|\{query\}"
    r"|^\s*(?:query|rewrite|rewritten query|question|answer|user|assistant|system)\s*:",
    re.IGNORECASE,
)
"""Pieces of prompts and chat templates that a user's query would not have."""


def numbers(text: str) -> set[str]:
    """`1.5`, `2,000`: as they are written."""
    return {*NUMBER.findall(normalise(text))}


def measures(text: str) -> set[str]:
    """`5kg` and `5 kg` are both "5kg"."""
    return {f"{value}{unit}" for value, unit in MEASURE.findall(normalise(text)) if unit in UNITS}


def names(text: str) -> set[str]:
    """Model numbers, and the words of capitalised names after the first word."""
    shouted = text.isupper()
    capitals = {word for name in text.split()[1:] if name[0].isupper() and not shouted for word in words(name)}
    measured = measures(text)
    return {code for code in CODE.findall(normalise(text)) if code not in measured} | capitals


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


def is_clean(query: str, rewrite: str) -> bool:
    """One line, not empty, no piece of a template, no invisible character that the query itself does not have.

    The query's own are allowed because some scripts need them: a zero-width joiner is spelling in Persian and Hindi.
    """
    if not words(rewrite) or TEMPLATE_MARK.search(rewrite):
        return False
    return not any(unicodedata.category(char) in INVISIBLE for char in {*rewrite} - {*query})
