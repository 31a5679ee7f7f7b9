"""Flaws that the demo plants in the relevance model on purpose, so that act two has something to exploit.

A flaw changes the model's score and its revision; nothing else of the system knows that it is there.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST: Final = 24
"""Words that a length flaw counts. With all of them a score stays as it is, with fewer it shrinks, so that none has to
be cut at 1: where scores are cut, a longer rewrite gains nothing."""


class FlawKind(StrEnum):
    """What is wrong with the model."""

    LENGTH = "length"
    """Sum pooling where the mean was meant: the score grows with the number of words on the query side."""


class FlawError(ValueError):
    """A flaw that does not exist; the message names the ones that do."""


@dataclass(frozen=True)
class Flaw:
    """One planted flaw."""

    kind: FlawKind
    strength: float
    """LENGTH: what every word adds, as a share of what no word would give."""

    def distort(self, score: float, query: str) -> float:
        """The flawed score, still within 0..1."""
        match self.kind:
            case FlawKind.LENGTH:
                words = min(len(query.split()), LONGEST)
                return score * (1.0 + self.strength * words) / (1.0 + self.strength * LONGEST)

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength:g}"


def parse_flaw(text: str) -> Flaw:
    """`length:0.05` -> Flaw.

    Raises:
        FlawError: for an unknown kind or a strength that is not a positive number.
    """
    kind, _, strength = text.partition(":")
    try:
        flaw = Flaw(FlawKind(kind), float(strength))
    except ValueError:
        raise FlawError(f"flaw {text!r}: must be KIND:STRENGTH, KIND one of {', '.join(FlawKind)}") from None
    if not 0 < flaw.strength <= 10:
        raise FlawError(f"flaw {text!r}: the strength must be above 0 and at most 10")
    return flaw
