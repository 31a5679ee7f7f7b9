"""Two managers over one object: who of them is told, and that this one does not join the fight.

A child that is put right again and again, always to the same, is changed by somebody who wants it otherwise: Argo CD
that prunes what is not in Git, a webhook, a loop in a shell. After a few times a person is told, and the object is put
right once a minute only. A route that gives a candidate more than it was given is never waited with.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rewriter_operator.cluster.kube import FIELD_MANAGER, FIELD_MANAGER_OF_MARKS
from rewriter_operator.workloads.render import Manifest

REPAIRS: Final = 5
"""Within WINDOW_SECONDS: one more is a contest."""

WINDOW_SECONDS: Final = 600.0
REST_SECONDS: Final = 60.0
"""Between two repairs of an object that is contested."""

_Key = tuple[str, str, str]
"""Kind, name, and digest with replicas: an object that is wanted otherwise than before begins anew."""


@dataclass
class Contests:
    """In memory: a new leader finds out for itself."""

    clock: Callable[[], float] = time.monotonic
    _repairs: dict[str, dict[_Key, "deque[float]"]] = field(default_factory=dict)
    _told: dict[str, dict[_Key, str]] = field(default_factory=dict)

    def forget(self, release: str) -> None:
        """The release is gone."""
        self._repairs.pop(release, None)
        self._told.pop(release, None)

    def repaired(self, release: str, manifest: Manifest, before: dict[str, Any] | None) -> None:
        """It was made or put right; `before` is how it was found, None where it was not there."""
        if not manifest.update:
            return  # pods end by themselves
        repairs = self._repairs[release] = self._recent(release)
        times = repairs.setdefault(_key(manifest), deque(maxlen=REPAIRS + 1))
        times.append(self.clock())
        if len(times) > REPAIRS and self.clock() - times[0] <= WINDOW_SECONDS:
            self._told.setdefault(release, {}).setdefault(_key(manifest), _sentence(manifest, before))

    def wanted_otherwise(self, release: str, manifest: Manifest) -> None:
        """The operator itself wrote this, ahead of the status: to put back what was there before is no repair.

        Such a status may be lost again and again while the API server is in trouble; the route then goes to and fro.
        """
        kind, name, digest = _key(manifest)
        for entries in (self._repairs.get(release, {}), self._told.get(release, {})):
            for other in [key for key in entries if key[:2] == (kind, name) and key[2] != digest]:
                del entries[other]

    def rests(self, release: str, manifest: Manifest) -> bool:
        """Whether it is contested and was put right a moment ago."""
        if _key(manifest) not in self._told.get(release, {}):
            return False
        times = self._recent(release).get(_key(manifest))
        return times is not None and self.clock() - times[-1] < REST_SECONDS

    def told(self, release: str) -> str:
        """The sentence about the contest that goes on; empty while there is none."""
        recent = self._recent(release)
        return next((told for key, told in self._told.get(release, {}).items() if key in recent), "")

    def _recent(self, release: str) -> dict[_Key, "deque[float]"]:
        """What was put right within the window; who is told of is forgotten with it."""
        repairs = self._repairs.get(release, {})
        recent = {key: times for key, times in repairs.items() if self.clock() - times[-1] <= WINDOW_SECONDS}
        if release in self._told:
            self._told[release] = {key: told for key, told in self._told[release].items() if key in recent}
        return recent


def _key(manifest: Manifest) -> _Key:
    return manifest.kind, manifest.name, f"{manifest.digest}/{manifest.replicas}"


def _sentence(manifest: Manifest, before: dict[str, Any] | None) -> str:
    what = "deleted" if before is None else "changed"
    entries = (before or {}).get("metadata", {}).get("managedFields", [])
    ours = (FIELD_MANAGER, FIELD_MANAGER_OF_MARKS)
    others = {
        entry["manager"]
        for entry in entries
        if entry.get("manager") not in (*ours, None) and entry.get("subresource") != "status"
    }
    whom = f" (others that own fields of it: {', '.join(sorted(others))})" if others else ""
    return (
        f"{manifest.kind} {manifest.name} is {what} again and again{whom}: it was put right over {REPAIRS} times in "
        f"{WINDOW_SECONDS / 60:.0f} minutes, and now is once a minute; keep other tools off what the operator makes"
    )
