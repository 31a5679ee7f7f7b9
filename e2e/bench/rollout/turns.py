"""Which rollout a release plays next, so that a run ends with as many of each kind as were asked for. Pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is done to a release."""

    PROMOTE = "promote"
    """A cycle is trained, passes the gate and is promoted."""
    ABORT = "abort"
    """`rewriter.dev/abort` while the candidate of such a cycle answers requests."""
    RETURN = "rollback-to"
    """`rewriter.dev/rollback-to` of what served before: its pods are started first."""
    RETURN_AT_ONCE = "rollback-to at once"
    """The same right after a promotion, while the pods of what served before are still there."""


RETURNS: Final = frozenset({Kind.RETURN, Kind.RETURN_AT_ONCE})

ROUND: Final = (
    Kind.PROMOTE,
    Kind.ABORT,
    Kind.PROMOTE,
    Kind.RETURN,
    Kind.PROMOTE,
    Kind.ABORT,
    Kind.PROMOTE,
    Kind.RETURN_AT_ONCE,
)
"""Played again and again by each release."""


def wanted(promotes: int, rollbacks: int) -> dict[Kind, int]:
    """How many of each kind make `promotes` and `rollbacks`: half of the rollbacks are aborts."""
    returns = rollbacks // 2
    return {
        Kind.PROMOTE: promotes,
        Kind.ABORT: rollbacks - returns,
        Kind.RETURN: returns - returns // 2,
        Kind.RETURN_AT_ONCE: returns // 2,
    }


def next_kind(played: Sequence[Kind], left: Mapping[Kind, int]) -> Kind | None:
    """The next one in the round of a release that has played `played`, of those that are left; None: none is.

    A return needs a promotion just before it: without one left, a promotion more than asked for.
    """
    place = len(played) % len(ROUND)
    for kind in ROUND[place:] + ROUND[:place]:
        if left.get(kind, 0) <= 0:
            continue
        return Kind.PROMOTE if kind in RETURNS and played[-1:] != [Kind.PROMOTE] else kind
    return None
