"""What was last read of each release, for as long as nothing is known to have changed since.

A release in mid-rollout is looked at every two seconds, because of what its pods count; of its objects the watches tell
when one changes. Until they do, such a look asks the pods alone: a glance, which costs the API server nothing. A glance
may conclude one thing only, that there is nothing to do. Whatever it would do is decided again from everything read
live, and an event that was lost costs no more than LASTING_SECONDS.

A pass that has written goes on with what it read, as it is after the write by the API server's own answer, as long as
no event but its own came and the reading is as young as one that a slow API server answers: a status and the share that
it decides are one reading, not two of ten lists each (docs/decisions/0042).

What a person changes of the release overtakes what was read of it: no glance rests on that any more. It still tells how
the children were, which is enough to give a candidate's share back (withdraw_first.py), and decides no other write.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from rewriter_operator.cluster.observe import Observation

LASTING_SECONDS: Final = 15.0
"""Also what a change of an object that is not watched (Services, Secrets, claims) may wait for in mid-cycle."""


YOUNG_SECONDS: Final = 2.0
"""After its first request a reading is too old to decide another write."""


@dataclass(frozen=True)
class _Reading:
    observation: Observation
    at: float
    """Of its first request."""
    overtaken: bool


@dataclass(frozen=True)
class Told:
    """How many events of a release there were."""

    changes: int = 0
    """Of its children, and of what the operator writes of itself."""
    wishes: int = 0
    """Of what people change of it."""


@dataclass(frozen=True)
class Begun:
    """A reading under way: what was told of the release before, and when its first request was sent."""

    told: Told
    at: float


@dataclass
class Readings:
    """In memory, of one term: a new leader reads everything itself."""

    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, _Reading] = field(default_factory=dict)
    _told: dict[str, Told] = field(default_factory=dict)

    def changed(self, name: str) -> None:
        """An event of a child of the release, or of its status."""
        told = self._of(name)
        self._told[name] = replace(told, changes=told.changes + 1)
        self._kept.pop(name, None)

    def wished(self, name: str) -> None:
        """A person changed the release's spec or annotations."""
        told = self._of(name)
        self._told[name] = replace(told, wishes=told.wishes + 1)
        if name in self._kept:
            self._kept[name] = replace(self._kept[name], overtaken=True)

    def forget(self, name: str) -> None:
        """The release is gone."""
        self._told.pop(name, None)
        self._kept.pop(name, None)

    def begin(self, name: str) -> Begun:
        """A reading begins, which ends the one before; what `keep` is to be given with it."""
        self._kept.pop(name, None)
        return Begun(self._of(name), self.clock())

    def keep(self, name: str, observation: Observation, begun: Begun) -> None:
        """All that was read in a pass that found nothing to do; not kept when a child changed while it was read."""
        told = self._of(name)
        if told.changes == begun.told.changes:
            self._kept[name] = _Reading(observation, begun.at, overtaken=told.wishes != begun.told.wishes)

    def holds(self, name: str, begun: Begun) -> bool:
        """Whether another write may be decided from this reading: it is young, and nothing was told of since."""
        return self._of(name) == begun.told and self.clock() - begun.at < YOUNG_SECONDS

    def of(self, name: str) -> Observation | None:
        """The last reading, if it still holds."""
        reading = self._lasting(name)
        return reading.observation if reading and not reading.overtaken else None

    def overtaken(self, name: str) -> Observation | None:
        """The last reading, if nothing but what a person changed of the release has happened since."""
        reading = self._lasting(name)
        return reading.observation if reading and reading.overtaken else None

    def _lasting(self, name: str) -> _Reading | None:
        reading = self._kept.get(name)
        return reading if reading and self.clock() - reading.at < LASTING_SECONDS else None

    def _of(self, name: str) -> Told:
        return self._told.get(name, Told())
