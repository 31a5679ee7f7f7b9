"""plan(world) -> Decision: the whole of what the operator thinks, without a client, a clock or a coin.

One function per state; around it what holds in every state: an abort, a changed spec, the children, the summary.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

from rewriter_operator.api.conditions import Reason
from rewriter_operator.api.model import evolve
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus, Rollback, StageStatus
from rewriter_operator.core import (
    changes,
    gating,
    holding,
    intents,
    kept_up,
    pool,
    preparing,
    recording,
    replacing,
    returning,
    rollout,
    schedule,
    stalls,
    taken_over,
    training,
)
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core.begun_spec import spec_digest
from rewriter_operator.core.children import DRAIN_SECONDS, OF_SERVING_PODS, revision_outcomes, route, servings, wanted
from rewriter_operator.core.cycle_plan import planned
from rewriter_operator.core.decision import Decision, Note, Removal, Step
from rewriter_operator.core.samplers import failed_pod
from rewriter_operator.core.states import Event, allows
from rewriter_operator.core.summary import gold_decay, summarised
from rewriter_operator.core.world import Child, Role, World

IDLE_SECONDS = 60.0
"""Resync: what no event told of is seen after this long at the latest."""


def plan(world: World) -> Decision:
    """What to write next. Called with the same world it gives the same answer."""
    world = _with_status(world, schedule.noticed(world.spec, world.status, world.now))
    world = stalls.noted(_with_stages(_with_status(world, changes.remembered(world))))
    world = _with_status(world, taken_over.noted(world, set(servings(world))))
    step = _interrupted(world) or STATES[world.status.state](world)
    kept = kept_up.settled(world, preparing.foreseen(world, recording.ordered(world, step.status)))
    status = kept.status
    status = _drained(world, summarised(world, status, next_trigger=_next_trigger(world, status)))
    status = _foretold(world, status)
    told = _with_status(world, status)
    status = evolve(status, notice=intents.notice(told), change=changes.told(told))
    after = _with_status(world, status)
    return Decision(
        status=status,
        wanted=wanted(after),
        order=step.order,
        assignment=pool.next_change(after),
        outcomes=revision_outcomes(after),
        replace=(*step.replace, *_broken(world)),
        notes=(*step.notes, *kept.notes, *_ignored(world, status), *_queued(world, status), *_decayed(world, status)),
        urgent_route=_route_carries_more(world, status),
        wait_seconds=min(step.wait_seconds, _until_drained(after), kept_up.seconds_left(after), pool.until_next(after)),
    )


def idle(world: World) -> Step:
    """Does anything start a cycle: a request, a changed spec, the schedule?"""
    status, spec, now = world.status, world.spec, world.now
    token = intents.run_token(world)
    if spec.suspend:
        return Step(status, wait_seconds=IDLE_SECONDS)
    missing = preparing.refusal(world)
    if missing and missing.reason == Reason.INVALID_SCHEDULE:
        return Step(preparing.refused(world, status, missing), wait_seconds=IDLE_SECONDS)
    status = preparing.mended(world, status)
    if token and token != status.last_run_token:
        who = f", asked for {intents.by_whom(world, cycles.RUN_ANNOTATION)}"
        return _start(evolve(status, last_run_token=token), "Requested", spec, now, who)
    if spec_digest(spec) != status.last_spec_digest:
        if status.last_spec_digest and not changes.starts_cycle(status, spec):
            return changes.gone_by(status, spec, world.release.name)
        return _start(status, "SpecChanged" if status.last_spec_digest else "Created", spec, now)
    if spec.schedule is None:
        return Step(status, wait_seconds=IDLE_SECONDS)
    due = schedule.due(spec.schedule, schedule.handled_at(status), now)
    if due.start is not None:
        return _start(evolve(status, last_scheduled_at=due.start), "Scheduled", spec, now)
    return Step(status, wait_seconds=min(IDLE_SECONDS, max(1.0, due.next_start - now)))


def _next_trigger(world: World, status: RewriterReleaseStatus) -> str:
    """What starts a cycle as soon as this status is written; empty for a release that comes to rest with it."""
    if status.state is not State.IDLE or world.status.state is State.IDLE:
        return ""
    cycle = idle(_with_status(world, status)).status.cycle
    return cycle.trigger if cycle else ""


STATES: Final[Mapping[State, Callable[[World], Step]]] = {
    State.BOOTSTRAPPING: preparing.bootstrap,
    State.IDLE: idle,
    State.PREPARING: preparing.prepare,
    State.TRAINING: training.train,
    State.GATING: gating.gate,
    State.HOLDING: holding.hold,
    State.DEPLOYING: rollout.deploy,
    State.ROLLING_OUT: rollout.roll_out,
    State.BAKING: rollout.bake,
    State.PROMOTING: rollout.promote,
    State.WITHDRAWING: rollout.withdraw,
    State.RETURNING: returning.bring_back,
}


def _start(status: RewriterReleaseStatus, trigger: str, spec: RewriterReleaseSpec, now: float, who: str = "") -> Step:
    started = cycles.start(status, trigger, spec, now)
    told = f"cycle {started.last_cycle_number}: {trigger}{who}"
    return Step(started, notes=(Note("CycleStarted", told[:1024]),), wait_seconds=1)


def _interrupted(world: World) -> Step | None:
    """A person's rollback or abort, or a spec that is no longer the one the cycle was started with."""
    status, cycle = world.status, world.status.cycle
    request = intents.rollback_request(world)
    step = _rollback(world, request) if request else None
    if step is not None or cycle is None:
        return step
    if allows(status.state, Event.ABORTED) and world.release.annotations.get(cycles.ABORT_ANNOTATION) == str(
        cycle.number
    ):
        message = f"annotation {cycles.ABORT_ANNOTATION} names cycle {cycle.number}"
        ended = cycles.enter(status, Event.ABORTED, world.now, "AbortRequested", message)
        told = f"{message}, asked for {intents.by_whom(world, cycles.ABORT_ANNOTATION)}"
        return Step(rollout.taken_back(ended), notes=(Note("Aborted", told[:1024]),))
    change = changes.seen(world)
    return _changed(world, change) if change else None


def _changed(world: World, change: changes.Change) -> Step | None:
    """The step that a changed spec asks for; None: the cycle goes on, and the change waits."""
    step = changes.taken_over(world, change)
    if step is not None or changes.waits(world, change) or not allows(world.status.state, Event.SUPERSEDED):
        return step
    message = changes.ending(change)
    ended = cycles.enter(world.status, Event.SUPERSEDED, world.now, "SpecChanged", message)
    return Step(rollout.taken_back(ended), notes=(Note("Superseded", message),))


def _rollback(world: World, request: intents.RollbackRequest) -> Step | None:
    """The step towards an earlier revision; None: the state that is must end by itself first."""
    status = world.status
    if request.to is None:  # remembered as well: it must not come true by itself once such a revision exists
        before = status.rollback or Rollback(token=request.token)
        refused = evolve(before, token=request.token, refusal=request.refusal[:1024])
        return Step(evolve(status, rollback=refused))
    unmoved = status.state is State.RETURNING and not (status.rollback and status.rollback.switched)
    if status.state is State.IDLE or unmoved:
        return returning.begin(world, request)
    if status.cycle and allows(status.state, Event.ABORTED):
        message = f"annotation {cycles.ROLLBACK_ANNOTATION} asks for {request.token!r}"
        ended = cycles.enter(status, Event.ABORTED, world.now, "RollbackRequested", message)
        told = f"{message}, {intents.by_whom(world, cycles.ROLLBACK_ANNOTATION)}"
        return Step(rollout.taken_back(ended), notes=(Note("Aborted", told[:1024]),))
    return None


def _ignored(world: World, status: RewriterReleaseStatus) -> tuple[Note, ...]:
    """One Event for each new notice."""
    told = status.notice and status.notice != world.status.notice
    return (Note("IntentIgnored", status.notice, warning=True),) if told else ()


def _queued(world: World, status: RewriterReleaseStatus) -> tuple[Note, ...]:
    """One Event for each change that begins to wait."""
    told = status.change and status.change != world.status.change
    return (Note("ChangeQueued", status.change),) if told else ()


def _decayed(world: World, status: RewriterReleaseStatus) -> tuple[Note, ...]:
    """One Event when gold is first seen to have been lost little by little."""
    before, after = (gold_decay(item) for item in (world.status, status))
    return (Note(Reason.GOLD_DECAYS, after, warning=True),) if after and not before else ()


def _broken(world: World) -> tuple[Removal, ...]:
    """Long-running pods that ended are made anew; the work they had is asked for again."""
    failed = (*failed_pod(world, Role.TRAINER), *failed_pod(world, Role.SAMPLER))
    return (*failed, *replacing.given_up(world))


def _with_stages(world: World) -> World:
    """The world with a status row for every stage of the spec, and none for others, while no cycle runs."""
    if world.status.cycle and world.status.cycle.number:
        return world
    rows = {stage.name: stage for stage in world.status.stages}
    names = [stage.name.value for stage in world.spec.rollout.stages]
    if list(rows) == names:
        return world
    stages = [rows.get(name) or StageStatus(name=name) for name in names]
    return _with_status(world, evolve(world.status, stages=stages))


def _foretold(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """The plan of the cycle that runs, from the spec that is: limits and windows may change while it does.

    Not from a spec that superseded the cycle: what the cycle measured would count as measured by another kind of work.
    """
    if status.cycle is None or status.cycle.number == 0 or status.cycle.spec_digest != spec_digest(world.spec):
        return status
    found = planned(world.spec, status.cycle, status.measured)
    return status if found == status.plan else evolve(status, plan=found)


def _with_status(world: World, status: RewriterReleaseStatus) -> World:
    return replace(world, release=replace(world.release, status=status))


def _drained(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """Remember since when serving pods are superfluous; they are removed only after the drain time."""
    needed = servings(_with_status(world, status))
    surplus = any(  # Services too: a Deployment that is gone must not end the drain before its Service went
        child.kind in OF_SERVING_PODS and _serves_none_of(child, needed) for child in world.children
    )
    if surplus and (not status.draining_since or _leaves_more(world, needed)):
        return evolve(status, draining_since=world.now)
    if not surplus and status.draining_since:
        return evolve(status, draining_since=0)
    return status


def _leaves_more(world: World, needed: Collection[int]) -> bool:
    """Whether pods that serve until now are superfluous from now on: they had requests a moment ago, and have all of
    the drain time, whatever else drains already."""
    before = servings(world)
    return any(
        child.kind in OF_SERVING_PODS and _serves_none_of(child, needed) and not _serves_none_of(child, before)
        for child in world.children
    )


def _serves_none_of(child: Child, needed: Collection[int]) -> bool:
    return not needed if child.role is Role.POOL else child.role is Role.SERVING and child.cycle not in needed


def _until_drained(world: World) -> float:
    """Seconds until superfluous serving pods may go: no event tells of it, and until the resync they keep their GPU."""
    status = world.status
    rest = max(status.draining_since, status.leaving.since if status.leaving else 0) + DRAIN_SECONDS - world.now
    return rest if status.draining_since and rest > 0 else math.inf


def _route_carries_more(world: World, status: RewriterReleaseStatus) -> bool:
    """Whether the live route gives the candidate more than `status` does, be it copies: a rollback begins, a shadow has
    ended, or a hand edited it."""
    if world.route is None:
        return False
    wanted = route(_with_status(world, status))
    pairs = ((world.route.shares, dict(wanted.shares)), (world.route.mirrors, dict(wanted.mirrors)))
    return any(percent > meant.get(stage, 0) for live, meant in pairs for stage, percent in live.items())
