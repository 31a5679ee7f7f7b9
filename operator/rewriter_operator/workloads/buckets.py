"""Which buckets of users a candidate's share is, as regular expressions of a route, and what a live route gives them.

Share N is the buckets below N, so a user who has the candidate at 5 % has it at 25 %. An expression that was not
written here is never evaluated, because a hand may have written anything: it counts as if it took every bucket.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rewriter_contract.buckets import BUCKETS


@dataclass(frozen=True)
class Rule:
    """A rule of a live route for some buckets of one stage."""

    pattern: str
    """What the bucket's header must match; empty where that is no regular expression."""
    share: int
    """Percent that goes to others than its first backend, which is the stage's incumbent."""


def below(share: int) -> str:
    """The buckets of the candidate, 00 to share - 1: as a whole, whether a data plane anchors or searches."""
    return _either(_tens(0, share // 10), _ones(share // 10, 0, share % 10))


def beyond(share: int) -> str:
    """The other buckets, share to 99."""
    tens, ones = divmod(share, 10)
    return _either(_ones(tens, ones, 10), _tens(tens + 1, 10)) if ones else _either(_tens(tens, 10))


def is_split(share: int) -> bool:
    """Whether buckets have rules of their own: where everybody is answered alike, nobody is told apart."""
    return 0 < share < BUCKETS


def together(weighted: Mapping[str, int], split: Mapping[str, Sequence[Rule]]) -> dict[str, int]:
    """Stage -> percent that its candidate gets, by the rule with weights or by the buckets' rules: the more of both.

    The more, because a share that a hand has raised must show. One that it has lowered is put right with the rest.
    """
    return {stage: _more(weighted.get(stage, 0), split.get(stage, ())) for stage in [*weighted, *split]}


def _more(weighted: int, rules: Sequence[Rule]) -> int:
    if not rules:
        return weighted
    taken = [(_BUCKETS_OF.get(rule.pattern, BUCKETS), rule.share) for rule in rules]
    rest = max(0, BUCKETS - sum(buckets for buckets, _ in taken))
    by_bucket = math.ceil((rest * weighted + sum(buckets * share for buckets, share in taken)) / BUCKETS)
    return max(weighted, min(by_bucket, 100))


def others_share(weights: Iterable[int]) -> int:
    """Percent, rounded up, that all backends but the first get by these weights."""
    found = [max(weight, 0) for weight in weights]
    return math.ceil(100 * sum(found[1:]) / sum(found)) if any(found) else 0


def _either(*parts: str) -> str:
    return f"^({'|'.join(part for part in parts if part)})$"


def _tens(first: int, end: int) -> str:
    """All buckets whose first digit is in this range."""
    return f"{_digit(first, end)}[0-9]" if first < end else ""


def _ones(tens: int, first: int, end: int) -> str:
    """Those with one first digit, and a second one in this range."""
    return f"{tens}{_digit(first, end)}" if first < end else ""


def _digit(first: int, end: int) -> str:
    return str(first) if end - first == 1 else f"[{first}-{end - 1}]"


_BUCKETS_OF: Final = {below(share): share for share in range(1, BUCKETS)} | {
    beyond(share): BUCKETS - share for share in range(1, BUCKETS)
}
"""Of every expression that is written here, how many buckets it takes."""
