"""Plays rollouts on the demo's cluster until as many of each kind were seen as were asked for.

Each one that is over is kept in a file of its own at once, so that a run that is stopped goes on where it was. Releases
play side by side, because a rollout mostly waits: for a pod, for requests, for a drain.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from e2e.bench.results import write_result
from e2e.bench.rollout.observation import Observation, from_json
from e2e.bench.rollout.play import Subject
from e2e.bench.rollout.turns import Kind, next_kind
from e2e.demo.acts import HONEST
from e2e.demo.ground import prepare_ground
from e2e.demo.install import Site, install, prepare_base, remove_release
from e2e.demo.new_release import NewRelease, host_of
from e2e.demo.profiles import SHORTEST

PROFILE: Final = replace(SHORTEST, rate=2.0, rollout_rate=8.0, max_latency=3000)
"""Limits are wide enough for a machine that trains meanwhile."""

PATIENCE: Final = 3
"""So many rollouts of a release in a row that end otherwise end its part in the run."""


class NotAsMeant(RuntimeError):
    """A release's rollouts end otherwise again and again."""


@dataclass(frozen=True)
class Kept:
    """The directory of the observations."""

    directory: Path

    def read(self) -> list[Observation]:
        """All there are, oldest first."""
        found = [from_json(json.loads(file.read_text())) for file in self.directory.glob("played-*.json")]
        return sorted(found, key=lambda one: one.began)

    def add(self, observation: Observation) -> None:
        """Keep one more; a run that is killed meanwhile leaves no half of it."""
        unfinished = self.directory / "unfinished"
        write_result(unfinished, observation.to_json())
        unfinished.rename(self.directory / f"played-{observation.began:.0f}-{observation.release}.json")

    def forget(self) -> None:
        """A run that begins anew."""
        for file in self.directory.glob("played-*.json"):
            file.unlink()


@dataclass
class Orders:
    """What is still to be played; releases ask from threads of their own."""

    wanted: Mapping[Kind, int]
    done: dict[Kind, int]
    until: float
    """Monotonic seconds after which nothing more is begun."""
    _begun: dict[Kind, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, played: list[Kind]) -> Kind | None:
        """The next rollout for a release that has played these; None when there is none for it."""
        with self._lock:
            if time.monotonic() > self.until:
                return None
            open_now = {
                kind: count - self.done.get(kind, 0) - self._begun.get(kind, 0) for kind, count in self.wanted.items()
            }
            kind = next_kind(played, open_now)
            if kind is not None:
                self._begun[kind] = self._begun.get(kind, 0) + 1
            return kind

    def number(self, kind: Kind) -> int:
        """How many of the kind are done or begun."""
        with self._lock:
            return self.done.get(kind, 0) + self._begun.get(kind, 0)

    def over(self, kind: Kind, is_fulfilled: bool) -> None:
        """One ended, as it should or otherwise; what did not is still to be played."""
        with self._lock:
            self._begun[kind] -= 1
            self.done[kind] = self.done.get(kind, 0) + is_fulfilled


@dataclass(frozen=True)
class Run:
    """What all releases of a run share."""

    site: Site
    base: str
    name: str
    """Names its directories on the volume, and makes its requests to the operator ones that never were before."""
    kept: Kept
    orders: Orders
    keep: Callable[[Observation], None]
    """Told of every rollout that is over."""
    subjects: list[Subject] = field(default_factory=list)
    """All whose client runs."""

    def play(self, release: str) -> None:
        """One release, until nothing is left for it.

        Raises:
            Overdue, NotAsMeant: when it cannot go on.
        """
        new = NewRelease(release, PROFILE, self.base, self.name, HONEST)
        history: list[Kind] = []
        otherwise = 0
        following = self.orders.take(history)
        if following is None:
            return
        with Subject(self.site, new, setup_of(self.site), self.kept.directory) as subject:
            self.subjects.append(subject)
            while (kind := following) is not None:
                played = subject.play(kind, self.orders.number(kind))
                history += [kind] if played.ended.is_fulfilled else []
                self.orders.over(kind, played.ended.is_fulfilled)
                following = self.orders.take(history)
                if following is not Kind.RETURN_AT_ONCE:
                    subject.wait_for_drain()
                self.keep(subject.observed(played))
                otherwise = 0 if played.ended.is_fulfilled else otherwise + 1
                if otherwise >= PATIENCE:
                    raise NotAsMeant(f"{release}: {otherwise} rollouts ended otherwise, the last: {played.ended.told}")
        remove_release(self.site, release)


def setup_of(site: Site) -> dict[str, Any]:
    """What is measured; observations of another operator or of another load are not put together."""
    names: tuple[str, ...] = ("phases", "queries", "samples", "max_tokens", "rate", "rollout_rate", "max_latency")
    return {
        "images": {name: site.images[name] for name in ("operator", "sampler", "trainer")},
        "collection": site.collection,
        "model": PROFILE.model,
        **{name: getattr(PROFILE, name) for name in names},
        "cores": len(os.sched_getaffinity(0)),
    }


def play_all(site: Site, orders: Orders, kept: Kept, releases: int, keep: Callable[[Observation], None]) -> None:
    """Play what is still to be played. Stopped by an exception of this thread it leaves no client behind.

    Raises:
        ClusterError, Overdue, NotAsMeant: of the first release that could not go on, after the others have ended.
    """
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    run = Run(site, prepare_base(site, PROFILE), name, kept, orders, keep)
    pool = ThreadPoolExecutor(releases)
    try:
        played = [pool.submit(run.play, f"plane-{number}") for number in range(1, releases + 1)]
        wait(played)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for subject in run.subjects:
            subject.close()
    for one in played:
        one.result()


def prepare_site(data: Path, tell: Callable[[str], None]) -> Site:
    """The cluster with everything but a release.

    Raises:
        ClusterError, InstallError: naming what is missing.
    """
    ground = prepare_ground()
    return install(ground.cluster, ground.images, PROFILE, data, host_of("plane"), tell)
