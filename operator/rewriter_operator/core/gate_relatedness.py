"""Whether a rewrite belongs to its query: it has more in common with it than with the other queries of the gate.

For gate_variety.py. No encoder and no list of words: how much a word tells is counted on the queries themselves, so
that "for" makes no two queries alike. A rewrite of another query, of none, or of all of them at once is unrelated.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.text import words

STEM: Final = 4
"""Letters at the start of a word that make it the same word: run, running."""
OTHERS: Final = 64
"""Other queries that a rewrite is held against, evenly spaced over all."""
NEAR_SHARE: Final = 0.1
"""As near to more than this share of them as to its own query: unrelated. Queries of one subject are alike, too."""
_TIE: Final = 1e-9
"""Sums of the same weights in another order differ by less."""


@dataclass(frozen=True)
class Queries:
    """The different queries of a gate, as the stems that tell them apart."""

    weights: Mapping[str, float]
    """Of each stem: log(1 + queries / queries with it)."""
    others: tuple[frozenset[str], ...]
    holders: Mapping[str, tuple[int, ...]]
    """Stem -> which of the others have it."""

    def is_unrelated(self, row: EvidenceRow) -> bool | None:
        """Whether its rewrites could as well be another query's; None without words on either side."""
        asked, said = stems([row.query]), stems(row.rewrites)
        if not asked or not said:
            return None
        own = self._weight(asked & said) / self._weight(asked)
        if not own:
            return True
        shared: dict[int, float] = {}
        for stem in said:
            for other in self.holders.get(stem, ()):
                shared[other] = shared.get(other, 0.0) + self.weights[stem]
        near = sum(
            weight / self._weight(self.others[other]) >= own - _TIE and self.others[other] != asked
            for other, weight in shared.items()
        )
        return near > NEAR_SHARE * len(self.others)

    def _weight(self, of: Iterable[str]) -> float:
        return sum(self.weights.get(stem, 0.0) for stem in of)


@lru_cache(maxsize=8)
def told_apart(queries: tuple[str, ...]) -> Queries:
    """The queries of one gate; those with the same words are one."""
    different = sorted({stems([query]) for query in queries} - {frozenset()}, key=sorted)
    counts = Counter(stem for asked in different for stem in asked)
    step = max(math.ceil(len(different) / OTHERS), 1)
    others = tuple(different[::step])
    holders: dict[str, list[int]] = {}
    for index, asked in enumerate(others):
        for stem in asked:
            holders.setdefault(stem, []).append(index)
    return Queries(
        weights={stem: math.log(1 + len(different) / count) for stem, count in counts.items()},
        others=others,
        holders={stem: tuple(indices) for stem, indices in holders.items()},
    )


def stems(texts: Sequence[str]) -> frozenset[str]:
    """The first letters of all words."""
    return frozenset(word[:STEM] for text in texts for word in words(text))
