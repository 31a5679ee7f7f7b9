"""Paired rounds of the product's piece of work and the plain one: which comes first changes from round to round."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SIDES: Final = ("product", "plain")


@dataclass(frozen=True)
class Rounds:
    """Seconds of both sides, one value per round, in the order of the rounds."""

    product_s: tuple[float, ...]
    plain_s: tuple[float, ...]


def turns(rounds: int) -> Iterator[tuple[int, str]]:
    """(round, side), both sides of a round one after the other; the side that starts alternates."""
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            yield number, side


def paired(
    rounds: int,
    work: Mapping[str, Callable[[int], None]],
    prepare: Callable[[], None] = lambda: None,
    tidy: Callable[[int, str], None] = lambda *_: None,
) -> Rounds:
    """Time `work[side](round)` in turns; `prepare` and `tidy` run before and after each, untimed.

    Dirty pages are written back before each, so that no side waits for the other's.
    """
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for number, side in turns(rounds):
        os.sync()
        prepare()
        since = time.monotonic()
        work[side](number)
        seconds[side].append(time.monotonic() - since)
        tidy(number, side)
    return Rounds(tuple(seconds["product"]), tuple(seconds["plain"]))
