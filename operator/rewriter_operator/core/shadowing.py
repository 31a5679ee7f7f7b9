"""A shadow: before its first share a candidate gets copies of a stage's requests, and nobody sees what it answers.

Copies are no share: pods count them apart (ServingStats.shadowed), so they verify none. What the candidate's pods say
of them is judged by spec.rollout.limits, with the test of every other look: over a limit for certain, and the candidate
is taken back; over it by what may be chance, and the step waits. It ends when its time is over, at least
limits.minRequests were counted, and nothing is in doubt.

A router that does not mark copies (docs/operations.md) has none counted, which is unknown, and ends no step well.
"""

from collections.abc import Iterator
from typing import Final

from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import ShadowStep
from rewriter_operator.api.status import Shadow, StageStatus
from rewriter_operator.core import capacity, taken_over, watching
from rewriter_operator.core.counters import believed, unread
from rewriter_operator.core.decision import serving_name
from rewriter_operator.core.limits import crossed_limit, limit_in_doubt
from rewriter_operator.core.metric_looks import Doubt
from rewriter_operator.core.traffic import Look, look_at_copies, snapshot_of_copies
from rewriter_operator.core.world import Role, World

SETTLE_SECONDS: Final = 3
"""Between a route's acceptance and the first counted copy, as with a share."""

LOOK_SECONDS: Final = 15
"""Between two writes of what was counted, while the step has its time. Limits are judged at every look all the same."""


def go_on(world: World, stage: StageStatus, step: ShadowStep, doubt: Doubt | None) -> StageStatus | str:
    """The stage one look later, or the sentence that ends the rollout; `doubt`: of whatever else the stage has."""
    if stage.shadow is None:
        return _begin(world, stage, step, doubt)
    if not stage.shadow.counting_since:
        return _count(world, stage, stage.shadow)
    return _judge(world, stage, stage.shadow, step)


def crossed(world: World, stage: StageStatus) -> str | None:
    """The limit that the answers to copies have crossed beyond chance."""
    if stage.shadow is None or not stage.shadow.counting_since:
        return None
    found = crossed_limit(_seen(world, stage, stage.shadow), world.spec.rollout.limits)
    return None if found is None else f"mirrored requests: {found}"


def _begin(world: World, stage: StageStatus, step: ShadowStep, doubt: Doubt | None) -> StageStatus | str:
    """No window and no freeze holds a shadow up: nobody is answered by it."""
    other = watching.any_doubted(world)
    if other is not None:  # it has a deadline of its own
        return evolve(stage, message=f"no request is mirrored: {other}"[:1024])
    awaited = capacity.awaited(world, stage, step.percent)
    if awaited is not None:
        return awaited
    why = str(doubt) if doubt else _unready(world)
    if why is None:
        shadow = Shadow(percent=step.percent)
        return evolve(stage, shadow=shadow, step_at=world.now, message=f"mirroring {step.percent} % of the requests")
    told = f"no request is mirrored, because {why}"
    since = max(stage.step_at, doubt.since if doubt else 0)
    return f"{stage.name}: {told}" if _is_overdue(world, since) else evolve(stage, message=told[:1024])


def _count(world: World, stage: StageStatus, shadow: Shadow) -> StageStatus | str:
    """Count from when the route is in force and every pod tells its counters, for what was copied before is unknown."""
    why = _unset(world, stage, shadow) or unread(world, stage)
    if why is not None:
        overdue = _is_overdue(world, stage.step_at)
        timeout = world.spec.rollout.verification.timeout
        return f"{stage.name}: {why} within {timeout}" if overdue else evolve(stage, message=why[:1024])
    if world.now - stage.step_at < SETTLE_SECONDS:
        return stage
    baseline = snapshot_of_copies(believed(world, stage), stage.name)
    return evolve(stage, shadow=evolve(shadow, counting_since=world.now, baseline=baseline))


def _judge(world: World, stage: StageStatus, shadow: Shadow, step: ShadowStep) -> StageStatus | str:
    over = world.now - shadow.counting_since - seconds(step.duration)
    answered = _seen(world, stage, shadow).candidate.requests
    if over < 0:
        return _told(world, stage, answered, f"mirrors {shadow.percent} % for {step.duration}: {answered} answered")
    why = next(_doubts(world, stage, shadow), None)
    if why is None:
        after = evolve(stage, shadow=None, step=stage.step + 1, step_at=world.now)
        return evolve(after, message=f"{answered} mirrored requests inside every limit")
    told = f"the shadow's time is over, but {why}"
    if over > seconds(world.spec.rollout.verification.timeout):
        return f"{stage.name}: {told} (for {world.spec.rollout.verification.timeout})"
    return _told(world, stage, answered, told)


def _doubts(world: World, stage: StageStatus, shadow: Shadow) -> Iterator[str]:
    """Why the copies do not yet speak for the candidate."""
    limits, found = world.spec.rollout.limits, _seen(world, stage, shadow)
    answered, timed = found.candidate.requests, found.candidate.latency_ms.get("+Inf", 0)
    why = _unset(world, stage, shadow) or unread(world, stage)
    if why is not None:
        yield why
    if answered < limits.min_requests:
        yield f"{answered} mirrored requests were counted, spec.rollout.limits.minRequests is {limits.min_requests}"
    if timed != answered:
        yield f"the candidate's pods tell the latency of {timed} of {answered} mirrored requests"
    over = limit_in_doubt(found, limits)
    if over is not None:
        yield f"mirrored requests: {over}"


def _seen(world: World, stage: StageStatus, shadow: Shadow) -> Look:
    cycle = world.status.cycle
    candidate = serving_name(cycle.candidate if cycle else None)
    return look_at_copies(believed(world, stage), stage.name, shadow.baseline, candidate)


def _unset(world: World, stage: StageStatus, shadow: Shadow) -> str | None:
    route = world.route
    if route is not None and taken_over.is_set(route) and route.mirrors.get(stage.name, 0) == shadow.percent:
        return None
    return f"the route that mirrors {shadow.percent} % is not accepted by the gateway"


def _unready(world: World) -> str | None:
    cycle = world.status.cycle
    assert cycle and cycle.candidate
    deployment = world.deployment(Role.SERVING, cycle.candidate.revision)
    if deployment and deployment.ready >= deployment.replicas > 0:
        return None
    ready = deployment.ready if deployment else 0
    needed = capacity.needed(world, cycle.candidate.revision)
    return f"{ready} of {needed} pods of the candidate are ready"


def _is_overdue(world: World, since: float) -> bool:
    return world.now - since > seconds(world.spec.rollout.verification.timeout)


def _told(world: World, stage: StageStatus, answered: int, message: str) -> StageStatus:
    """With what was counted, every few seconds: status is no place for each request."""
    assert stage.shadow is not None
    if world.now - stage.shadow.looked_at < LOOK_SECONDS:
        return stage
    shadow = evolve(stage.shadow, requests=answered, looked_at=world.now)
    return evolve(stage, shadow=shadow, message=message[:1024])
