"""A cycle's beginning and end: what triggers one, and how an event moves the status.

Which event leads where is core/states.py; what a state does is in the file of that state.
"""

from typing import Final

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.model import evolve
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Cycle, CycleRecord, Outcome, RewriterReleaseStatus, Serving, StageStatus
from rewriter_operator.core import cycle_plan, drift
from rewriter_operator.core.begun_spec import began_with, learnt_digest, spec_digest
from rewriter_operator.core.states import OUTCOMES, Event, advance

RUN_ANNOTATION = "rewriter.dev/run"
"""Any new value starts a cycle, once."""

ABORT_ANNOTATION = "rewriter.dev/abort"
"""The number of the cycle to end; another number is ignored, so that an old abort never hits a new cycle."""

APPROVE_ANNOTATION = "rewriter.dev/approve"
"""`r0007/finerank/2`: revision, stage and step of the pause to end. `r0007/gate/1f3a5c7e`: revision and report."""

ROLLBACK_ANNOTATION = "rewriter.dev/rollback-to"
"""`r0005`, or `r0005/<anything>`: serve this earlier revision again. Each value acts once."""

NAMES_ITS_MODEL: Final = 2
"""Orders name the relevance model that every score must come from, rows of shards say which reward scored them, the
gate's report says who was judged on what."""

DRAWS_FOR_THE_GATE: Final = 3
"""Evidence has rewrites that were drawn with chance, and the first results of the search; the gate's report has checks
of the draws."""

LIMITS_LOADS: Final = 4
"""Orders of capacity.mode InPlace say how long a pod may take to load."""

CONTRACT: Final = LIMITS_LOADS
"""What the pods of a cycle understand, when it is prepared now. An upgrade leaves the pods of a running cycle as they
are, and pods refuse fields that they do not know: a cycle of a lower number is given what it began with."""

HISTORY = 10
SERVED = 20


def start(status: RewriterReleaseStatus, trigger: str, spec: RewriterReleaseSpec, now: float) -> RewriterReleaseStatus:
    """The status with a new cycle in it."""
    number, digest = status.last_cycle_number + 1, spec_digest(spec)
    cycle = Cycle(
        number=number,
        trigger=trigger,
        started_at=now,
        spec_digest=digest,
        began_with=began_with(spec),
        since=now,
        attempt_at=now,
    )
    return evolve(
        status,
        state=advance(status.state, Event.STARTED),
        cycle=cycle,
        last_cycle_number=number,
        last_spec_digest=digest,
        last_learnt_digest=learnt_digest(spec),
        stages=[_without_candidate(stage) for stage in status.stages],
    )


def enter(
    status: RewriterReleaseStatus, event: Event, now: float, reason: str = "", message: str = ""
) -> RewriterReleaseStatus:
    """The status after `event`; a cycle that reaches IDLE is closed and recorded."""
    state = advance(status.state, event)
    cycle = status.cycle
    if cycle is None:
        return evolve(status, state=state)
    changes: dict[str, object] = {"since": now}
    if status.state is State.PROMOTING and state is State.WITHDRAWING:
        changes |= {"restore_record": True, "attempt": cycle.attempt + 1, "attempt_at": now}
    if event in OUTCOMES:
        changes |= {"outcome": OUTCOMES[event], "reason": reason[:64], "message": message[:1024]}
    cycle = evolve(cycle, **changes)
    status = evolve(status, state=state, cycle=cycle)
    return close(status, now) if state is State.IDLE else status


def close(status: RewriterReleaseStatus, now: float) -> RewriterReleaseStatus:
    """Record the cycle in the history and let go of it; a promoted candidate becomes every stage's incumbent."""
    cycle = status.cycle
    assert cycle is not None
    if cycle.number == 0:  # the bootstrap is no cycle that anybody asked for
        return evolve(status, cycle=None)
    outcome = cycle.outcome or Outcome.FAILED
    stages = [_without_candidate(stage) for stage in status.stages]
    if outcome is Outcome.PROMOTED:
        status = evolve(status, promoted=_served(status, cycle.candidate))
        stages = [evolve(stage, incumbent=cycle.candidate) for stage in stages]
    record = CycleRecord(
        number=cycle.number,
        outcome=outcome,
        reason=cycle.reason,
        message=cycle.message,
        started_at=rfc3339(cycle.started_at),
        finished_at=rfc3339(now),
    )
    series = drift.continued(status.baseline, cycle)
    measured = cycle_plan.measured_by(status.measured, cycle, status.plan)
    status = evolve(status, cycle=None, plan=None, measured=measured)
    return evolve(status, stages=stages, baseline=series, history=[record, *status.history][:HISTORY])


def _served(status: RewriterReleaseStatus, newest: Serving | None) -> list[Serving]:
    """Everything that serves or has served, each once, newest first."""
    incumbents = [stage.incumbent for stage in status.stages]
    found = {item.revision: item for item in [newest, *incumbents, *status.promoted] if item}
    return list(found.values())[:SERVED]


def _without_candidate(stage: StageStatus) -> StageStatus:
    return StageStatus(name=stage.name, incumbent=stage.incumbent)
