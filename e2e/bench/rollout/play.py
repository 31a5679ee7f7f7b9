"""One release of the bench under continuous load: plays a rollout of each kind when told to, and says what was seen.

Nothing is ordered that a person could not order by YAML and annotations, and nothing is read but the API, the machine's
load and the client's log.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from e2e.bench.rollout.moments import candidate_of, has_failed, incumbent_of, last_answer_after, moments
from e2e.bench.rollout.observation import Asked, Failure, Load, Observation
from e2e.bench.rollout.turns import RETURNS, Kind
from e2e.demo.acts import OUTCOME_PROMOTED
from e2e.demo.install import NAMESPACE, Site
from e2e.demo.new_release import NewRelease, read_queries, wait_for_answers
from e2e.demo.recorder import Overdue, Recorder, Seen
from e2e.demo.traffic import Request, Traffic, read_requests
from rewriter_contract.messages import STAGES

OUTCOME_ABORTED: Final = "Aborted"
RESTING: Final = ("Idle", "Preparing", "Training", "Gating", "")
"""States in which no request is about to move: the client asks less often then, so that training gets on."""

START_SECONDS: Final = 300
RETURN_SECONDS: Final = 400
DRAIN_SECONDS: Final = 240
LOOK_SECONDS: Final = 4

Condition = Callable[[Seen], bool]


def _counts(stage: str) -> Condition:
    """The gateway has taken the stage's first share, and the operator counts its requests."""
    return lambda seen: seen.stage(stage).get("share", 0) > 0 and seen.stage(stage).get("countingSince", 0) > 0


ABORT_MOMENTS: Final[tuple[Condition, ...]] = (
    _counts("finerank"),
    _counts("rawrank"),
    lambda seen: seen.state in ("Baking", "Promoting"),
)
"""When an abort is asked for, in turn: with a first small share, in the middle, at full share in every stage."""


@dataclass(frozen=True)
class Ended:
    """How a rollout ended, and what a person had asked for in the midst of it."""

    number: int
    told: str
    is_fulfilled: bool
    asked_at: float = 0.0
    """0: nothing was asked for."""
    revision: str = ""
    """Whose answers are to end."""
    shares: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Played:
    """A rollout that is over for the operator; what it left may still be there."""

    kind: Kind
    ended: Ended
    began: float
    seconds: float
    load: float
    """Before it."""


class Subject:
    """A release from its creation on; a context manager that always stops its client."""

    def __init__(self, site: Site, new: NewRelease, setup: Mapping[str, Any], out: Path) -> None:
        """`out`: directory of the client's log."""
        self._site, self._new, self._setup = site, new, setup
        self._log = out / f"requests-{new.run}-{new.name}.jsonl"
        self._is_new = True
        self._before = ""
        """Revision that the last promotion replaced."""
        self._requests_read = self._statuses_read = 0

    def __enter__(self) -> "Subject":
        name = self._new.name
        self._new.create(self._site)
        self._recorder = Recorder(self._site.cluster, NAMESPACE, name)
        self._recorder.wait(lambda seen: bool(seen.status.get("serves")), START_SECONDS, f"{name} serves its bootstrap")
        queries, gateway = read_queries(self._site), self._new.gateway(self._site)
        wait_for_answers(gateway, queries[0], name)
        self._traffic = Traffic(gateway, queries, self._rate, self._log)
        self._traffic.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End client and watch; a second time it does nothing."""
        self._traffic.stop()
        self._recorder.close()

    def play(self, kind: Kind, number: int) -> Played:
        """One rollout; `number` counts its kind.

        Raises:
            Overdue: when something did not happen in time.
        """
        began, load = time.time(), os.getloadavg()[0]
        ended = self._return() if kind in RETURNS else self._cycle(kind, number)
        return Played(kind, ended, began, round(time.time() - began, 1), round(load, 2))

    def wait_for_drain(self) -> None:
        """Until the serving pods that a rollout left are gone: what their end does to requests belongs to it.

        Raises:
            Overdue: naming one that stays.
        """
        deadline = time.monotonic() + DRAIN_SECONDS
        while (left := self._superfluous()) or self._recorder.last.state != "Idle":
            if time.monotonic() > deadline:
                raise Overdue(f"{', '.join(left) or self._new.name} did not come to rest in {DRAIN_SECONDS} s")
            time.sleep(LOOK_SECONDS)

    def observed(self, played: Played) -> Observation:
        """What was seen since the rollout before this one."""
        requests, seen, ended = self._new_requests(), self._new_statuses(), played.ended
        asked = None
        if ended.asked_at:
            last = last_answer_after(ended.asked_at, requests, ended.revision)
            asked = Asked(ended.asked_at, ended.revision, ended.shares, last)
        aborted_at = ended.asked_at if asked and played.kind is Kind.ABORT else math.inf
        return Observation(
            kind=played.kind,
            is_fulfilled=ended.is_fulfilled,
            setup=self._setup,
            release=self._new.name,
            number=ended.number,
            ended=ended.told,
            began=played.began,
            seconds=played.seconds,
            states=seconds_in_states([one for one in seen if one.at >= played.began]),
            load=Load(played.load, round(os.getloadavg()[0], 2)),
            requests=len(requests),
            failures=[_failure(request, seen) for request in requests if has_failed(request)],
            moments=moments(seen, requests, aborted_at),
            asked=asked,
        )

    def _cycle(self, kind: Kind, number: int) -> Ended:
        before, cycle = incumbent_of(self._recorder.last, STAGES[0]), self._start_cycle()
        abort = self._abort(cycle, ABORT_MOMENTS[number % len(ABORT_MOMENTS)]) if kind is Kind.ABORT else None
        record = self._until(cycle, lambda _: False).record(cycle) or {}
        outcome, told = record.get("outcome"), f"{record.get('outcome')}: {record.get('message', '')}"
        if outcome == OUTCOME_PROMOTED:
            self._before = before
        if abort is not None:
            return replace(abort, told=told, is_fulfilled=outcome == OUTCOME_ABORTED)
        return Ended(cycle, told, kind is Kind.PROMOTE and outcome == OUTCOME_PROMOTED)

    def _abort(self, cycle: int, moment: Condition) -> Ended | None:
        """Asked for when its moment has come; None: the cycle ended before."""
        stood = self._until(cycle, moment)
        if stood.record(cycle) is not None:
            return None
        shares = {name: stood.stage(name).get("share", 0) for name in STAGES}
        asked_at = time.time()
        self._annotate("abort", str(cycle))
        return Ended(cycle, "", False, asked_at, candidate_of(stood), shares)

    def _until(self, cycle: int, moment: Condition) -> Seen:
        """The first status at the moment, or after the cycle's end."""
        seconds = 60 * self._new.profile.minutes
        what = f"{self._new.name}: what cycle {cycle} is waited for"
        return self._recorder.wait(lambda seen: moment(seen) or seen.record(cycle) is not None, seconds, what)

    def _return(self) -> Ended:
        asked_at = time.time()
        left, value = incumbent_of(self._recorder.last, STAGES[0]), f"{self._before}/{asked_at:.0f}"
        self._annotate("rollback-to", value)

        def is_over(seen: Seen) -> bool:
            back = seen.status.get("rollback") or {}
            return back.get("token") == value and bool(back.get("endedAt") or back.get("refusal"))

        what = f"{self._new.name}: the return to {self._before}"
        back = self._recorder.wait(is_over, RETURN_SECONDS, what).status["rollback"]
        told = str(back.get("refusal") or back.get("message", ""))
        shares = dict.fromkeys(STAGES, 100)
        return Ended(int(self._before[1:]), told, bool(back.get("switched")), asked_at, left, shares)

    def _start_cycle(self) -> int:
        """A new release starts its first cycle by itself."""
        if self._is_new:
            self._is_new = False
            return 1
        number = int(self._recorder.last.status["lastCycleNumber"]) + 1
        self._annotate("run", f"{self._new.run}-{number}")
        return number

    def _annotate(self, what: str, value: str) -> None:
        self._site.kubectl("annotate", "--overwrite", "rewriterrelease", self._new.name, f"rewriter.dev/{what}={value}")

    def _rate(self) -> float:
        profile = self._new.profile
        return profile.rate if self._recorder.last.state in RESTING else profile.rollout_rate

    def _superfluous(self) -> list[str]:
        """Serving pods and Deployments of revisions that serve no stage."""
        serves = {incumbent_of(self._recorder.last, stage) for stage in STAGES}
        selector = f"rewriter.dev/release={self._new.name},rewriter.dev/role=serving"
        found = [item["metadata"] for item in self._site.get("deployments,pods", "-l", selector)["items"]]
        return [one["name"] for one in found if f"r{int(one['labels']['rewriter.dev/cycle']):04d}" not in serves]

    def _new_requests(self) -> list[Request]:
        found = read_requests(self._log)[self._requests_read :]
        self._requests_read += len(found)
        return found

    def _new_statuses(self) -> list[Seen]:
        """Those since the last rollout, and the one before them."""
        known = list(self._recorder.seen)
        found = known[max(0, self._statuses_read - 1) :]
        self._statuses_read = len(known)
        return found


def seconds_in_states(seen: list[Seen]) -> dict[str, float]:
    """How long each state was seen; the last one is left out."""
    found: dict[str, float] = {}
    for one, following in pairwise(seen):
        found[one.state] = found.get(one.state, 0.0) + following.at - one.at
    return {state: round(value, 1) for state, value in found.items()}


def _failure(request: Request, seen: list[Seen]) -> Failure:
    state = next((one.state for one in reversed(seen) if one.at <= request.at), "")
    return Failure(request.at, request.stage, request.status, request.milliseconds, request.problem, state)
