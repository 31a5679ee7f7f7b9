"""When what the operator decided became true for the client. Pure: from statuses and answers to seconds.

A decision begins at the operator's own clock, in the pass that decided (`status.stages[].shareAt`, `status.cycle.since`
of a withdrawal, `status.rollback.attemptAt` of a return): before its status write and before the route's. An abort is
the exception: what a person takes back is off the route before any pass decides it (docs/decisions/0030), so a
withdrawal that was asked for counts from the asking. It is true when the client holds the answer that shows it, so
everything in between counts: both writes, the gateway's controller, Envoy, requests under way, and the wait for a
request that shows it.

    a rise from none      the first answer of the candidate
    a rise to all         the last answer of anybody else
    a fall to none        the last answer of the revision that is left
    between two shares    no single answer shows it: not measured

Where the last answer of those who leave came before the decision, the first answer after it counts.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from e2e.demo.recorder import Seen
from e2e.demo.traffic import Request

ALL: Final = 100


@dataclass(frozen=True)
class Decision:
    """How many percent of a stage's requests a revision is to answer from now on."""

    stage: str
    revision: str
    before: int
    after: int
    at: float
    """Unix seconds, by the operator."""

    @property
    def is_shown(self) -> bool:
        """Whether a single answer can show it."""
        return self.before == 0 or self.after in (0, ALL)


@dataclass(frozen=True)
class Moment:
    """A decision, and how long it took to be true for the client."""

    decision: Decision
    seconds: float | None
    """None: no answer showed it before the next decision."""


def has_failed(request: Request) -> bool:
    """Anything but a whole answer with status 200."""
    return request.status != 200 or bool(request.problem)


def answered_at(request: Request) -> float:
    """When the client held the answer."""
    return request.at + request.milliseconds / 1000


def moments(seen: Sequence[Seen], requests: Sequence[Request], aborted_at: float = math.inf) -> list[Moment]:
    """Of every decision between the first and the last status that an answer can show.

    `aborted_at`: Unix seconds just before a person's abort was sent.
    """
    decisions = [decision for before, after in pairwise(seen) for decision in _decisions(before, after, aborted_at)]
    answers = sorted((request for request in requests if not has_failed(request)), key=answered_at)
    return [
        Moment(decision, _seconds(decision, _answers_of(answers, decision, decisions)))
        for decision in decisions
        if decision.is_shown
    ]


def last_answer_after(since: float, requests: Sequence[Request], revision: str) -> float:
    """Seconds from `since` until the client held the last answer of a revision in any stage; 0 when none came after."""
    ends = [answered_at(request) for request in requests if request.revision == revision and not has_failed(request)]
    return max(0.0, max(ends, default=since) - since)


def _answers_of(answers: Sequence[Request], decision: Decision, decisions: Sequence[Decision]) -> list[Request]:
    """The stage's answers from a decision until the next one."""
    later = [other.at for other in decisions if other.stage == decision.stage and other.at > decision.at]
    until = min(later, default=float("inf"))
    return [
        answer
        for answer in answers
        if answer.stage == decision.stage and answer.at < until and answered_at(answer) > decision.at
    ]


def _seconds(decision: Decision, answers: Sequence[Request]) -> float | None:
    ends = [(answered_at(answer) - decision.at, answer.revision == decision.revision) for answer in answers]
    if decision.after not in (0, ALL):
        return next((end for end, is_its in ends if is_its), None)
    leaving = [end for end, is_its in ends if is_its == (decision.after == 0)]
    if len(leaving) == len(ends):  # nobody who stays was seen: it may never have come true
        return None
    return max(leaving) if leaving else ends[0][0]


def _decisions(before: Seen, after: Seen, aborted_at: float) -> Iterator[Decision]:
    """What one status has that the one before had not."""
    returned = _returned_to(after) not in ("", _returned_to(before))
    for stage in after.status.get("stages", []):
        name = stage["name"]
        old, share = before.stage(name).get("share", 0), stage.get("share", 0)
        if share > old:
            yield Decision(name, candidate_of(after), old, share, stage["shareAt"])
        elif share < old and after.state == "Withdrawing":  # a promotion ends the share too, and moves no request
            yield Decision(name, candidate_of(before), old, share, min(after.cycle["since"], aborted_at))
        left = incumbent_of(before, name)
        if returned and left != incumbent_of(after, name):
            yield Decision(name, left, ALL, 0, after.status["rollback"]["attemptAt"])


def candidate_of(seen: Seen) -> str:
    """`r0007`; empty without a candidate."""
    candidate = seen.cycle.get("candidate")
    return f"r{candidate['revision']:04d}" if candidate else ""


def incumbent_of(seen: Seen, stage: str) -> str:
    """`r0007`; empty where the passthrough serves."""
    incumbent = seen.stage(stage).get("incumbent")
    return f"r{incumbent['revision']:04d}" if incumbent else ""


def _returned_to(seen: Seen) -> str:
    """The rollback-to that has moved the requests; empty before it has."""
    rollback = seen.status.get("rollback") or {}
    return str(rollback["token"]) if rollback.get("switched") else ""
