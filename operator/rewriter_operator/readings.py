"""What was last read of each release, for as long as nothing is known to have changed since.

A release in mid-rollout is looked at every two seconds, because of what its pods count; of its objects the watches tell
when one changes. Until they do, such a look asks the pods alone: a glance, which costs the API server nothing. A glance
may conclude one thing only, that there is nothing to do. Whatever it would do is decided again from everything read
live, so what is kept here never decides a write; and an event that was lost costs no more than LASTING_SECONDS.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rewriter_operator.cluster.observe import Observation

LASTING_SECONDS: Final = 15.0
"""Also what a change of an object that is not watched (Services, Secrets, claims) may wait for in mid-cycle."""


@dataclass(frozen=True)
class _Reading:
    observation: Observation
    at: float


@dataclass
class Readings:
    """In memory, of one term: a new leader reads everything itself."""

    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, _Reading] = field(default_factory=dict)
    _changes: "Counter[str]" = field(default_factory=Counter)

    def changed(self, name: str) -> None:
        """An event of the release, or of a child of it."""
        self._changes[name] += 1
        self._kept.pop(name, None)

    def forget(self, name: str) -> None:
        """The release is gone."""
        self._changes.pop(name, None)
        self._kept.pop(name, None)

    def begin(self, name: str) -> int:
        """A reading begins, which ends the one before; what `keep` is to be given with it."""
        self._kept.pop(name, None)
        return self._changes[name]

    def keep(self, name: str, observation: Observation, begun: int) -> None:
        """All that was read in a pass that found nothing to do; not kept when something changed while it was read."""
        if self._changes[name] == begun:
            self._kept[name] = _Reading(observation, self.clock())

    def of(self, name: str) -> Observation | None:
        """The last reading, if it still holds."""
        reading = self._kept.get(name)
        if reading is None or self.clock() - reading.at >= LASTING_SECONDS:
            self._kept.pop(name, None)
            return None
        return reading.observation
