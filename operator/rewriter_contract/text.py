"""How two texts are compared, the same in sampling, training, gate and serving.

A rewrite that differs from its query only in case, width or white space is a copy; two samples that differ only so
are one sample. What the gate refuses as repetitive, training never holds up as an example.
"""

import re
import unicodedata
from collections import Counter
from typing import Final

SHORTEST_REPETITION: Final = 4
"""Words; in a shorter text one word easily has half of it."""
REPEATED_WORD_SHARE: Final = 0.5
DISTINCT_WORD_SHARE: Final = 0.55
"""A text with fewer distinct words per word says things twice; `a b a b` has 0.5."""

_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Kana, Han: written without spaces, so each letter counts as a word."""
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def normalise(text: str) -> str:
    """NFKC, lower case, single spaces, no zero-width or control characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if folded.isprintable():  # so are nearly all: then nothing is invisible, and the only white space is the space
        return " ".join(folded.split())
    visible = "".join(" " if char.isspace() else char for char in folded if char.isspace() or _is_visible(char))
    return " ".join(visible.split())


def is_copy(query: str, rewrite: str) -> bool:
    """Whether the rewrite says nothing that the query did not say."""
    return normalise(query) == normalise(rewrite)


def words(text: str) -> list[str]:
    """The words of the normalised text, without punctuation; in scripts without spaces, its letters."""
    return _WORD.findall(normalise(text))


def side_by_side(said: list[str], wanted: list[str]) -> bool:
    """The words of `wanted` stand in `said` one after the other; no words always do."""
    return any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


def repetition(text: str) -> float:
    """Largest share that one word has; 0.0 for texts of under four words."""
    found = words(text)
    if len(found) < SHORTEST_REPETITION:
        return 0.0
    return max(Counter(found).values()) / len(found)


def repeats_itself(text: str) -> bool:
    """One word has over half of the text, or the whole is said twice."""
    found = words(text)
    said_twice = bool(found) and len(set(found)) / len(found) < DISTINCT_WORD_SHARE
    return said_twice or repetition(text) > REPEATED_WORD_SHARE


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
