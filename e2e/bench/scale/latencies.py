"""Times that were measured, and what is reported of them. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Latencies:
    """Seconds, one for each thing that happened, and how many things never happened in time."""

    seconds: Sequence[float]
    missed: int = 0

    def quantile(self, share: float) -> float | None:
        """The smallest value that at least `share` of all are not above (nearest rank); None without any.

        What never happened counts as longer than everything that did: a p99 that falls on it is infinite.
        """
        count = len(self.seconds) + self.missed
        if not count:
            return None
        rank = max(1, math.ceil(share * count))
        return sorted(self.seconds)[rank - 1] if rank <= len(self.seconds) else math.inf

    def summary(self) -> dict[str, Any]:
        """For the JSON: seconds; null where the quantile fell on something that never happened."""
        return {
            "count": len(self.seconds),
            "missed": self.missed,
            "p50": finite(self.quantile(0.50)),
            "p99": finite(self.quantile(0.99)),
            "max": finite(self.quantile(1.0)),
        }


def finite(value: float | None, digits: int = 4) -> float | None:
    """Rounded for a report; None for what is unknown or never ended, which JSON cannot say."""
    return None if value is None or math.isinf(value) else round(value, digits)


def milliseconds(value: float | None) -> float | None:
    """Seconds as whole milliseconds with one digit."""
    return None if value is None or math.isinf(value) else round(value * 1000, 1)
