"""DEPLOYING to WITHDRAWING: the candidate's way to traffic, stage by stage, and back.

A step is left only on evidence: the route accepted at its generation, the observed share inside its interval, the
limits not crossed, enough requests. What cannot be told stops the clock of promotion, never that of the deadlines.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import AnalysisStep, Pause
from rewriter_operator.api.release import Stage as StagePlan
from rewriter_operator.api.status import RewriterReleaseStatus, Serving, StageStatus
from rewriter_operator.core import (
    capacity,
    held_up,
    intents,
    metric_looks,
    promotion_approval,
    recording,
    shadowing,
    silence,
    taken_over,
    watching,
    windows,
)
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core.comparison import comparison_in_doubt, crossed_comparison
from rewriter_operator.core.counters import believed, unread
from rewriter_operator.core.decision import Note, Step, serving_name
from rewriter_operator.core.limits import crossed_limit, limit_in_doubt
from rewriter_operator.core.metric_looks import Doubt
from rewriter_operator.core.recording import Recording
from rewriter_operator.core.shares import share_is_real
from rewriter_operator.core.silence import PAUSED_LOOK_SECONDS
from rewriter_operator.core.states import Event
from rewriter_operator.core.traffic import Look, look, snapshot
from rewriter_operator.core.world import Role, World

SETTLE_SECONDS = 3
"""Between a route's acceptance and the first counted request: the data plane takes a moment to take it over."""

LOOK_SECONDS = 5
"""Between two writes of observed shares into status, while a step waits for them; PAUSED_LOOK_SECONDS while none does.
Limits are judged at every look all the same."""


def deploy(world: World) -> Step:
    """Wait for the candidate's pods; no request reaches them yet."""
    cycle = world.status.cycle
    assert cycle and cycle.candidate
    begun = capacity.begun(world)
    if begun != world.status.stages:  # decided before the first pod is made
        return Step(evolve(world.status, stages=begun), wait_seconds=1)
    deployment = world.deployment(Role.SERVING, cycle.candidate.revision)
    needed = capacity.needed(world, cycle.candidate.revision)
    if capacity.are_up(deployment, needed):
        return Step(cycles.enter(world.status, Event.DEPLOYED, world.now))
    timeout = world.spec.serving.ready_timeout
    why = held_up.words_of(world, Role.SERVING, cycle.candidate.revision)
    if world.now - cycle.since > seconds(timeout) and capacity.is_known(deployment):
        message = f"candidate {serving_name(cycle.candidate)} was not ready within spec.serving.readyTimeout {timeout}"
        return _stop(world, Event.BROKE, "CandidateNotReady", message + why)
    ready = deployment.ready if deployment else 0
    return _say(world, f"candidate pods: {ready} of {needed} ready{why}")


def roll_out(world: World) -> Step:
    """Move each stage whose turn it is by at most one step."""
    return _watched(world, _moved)


def _watched(world: World, go_on: Callable[[World], Step]) -> Step:
    """Look at shares and metrics first; then the step back, or else on."""
    look_at = silence.noted(metric_looks.counted(watching.watched(world)))
    step = degraded(look_at.world) or go_on(look_at.world)
    return replace(step, notes=(*look_at.notes, *step.notes))


def _moved(world: World) -> Step:
    unapproved = _unapproved(world)
    if unapproved is not None:
        return _stop(world, Event.DEGRADED, "NotApproved", unapproved)
    without_pods = capacity.overdue(world)
    if without_pods is not None:
        return _stop(world, Event.DEGRADED, "CandidateNotReady", without_pods)
    plans = {plan.name.value: plan for plan in world.spec.rollout.stages}
    stages = [_advance(world, plans[stage.name], stage) for stage in world.status.stages]
    overdue = next((stage for stage in stages if isinstance(stage, str)), None)
    if isinstance(overdue, str):
        return _stop(world, Event.DEGRADED, "NotVerified", overdue)
    moved = [stage for stage in stages if isinstance(stage, StageStatus)]
    status = evolve(world.status, stages=moved, message=_message(moved))
    used, who = intents.used_approvals(world, moved), intents.by_whom(world, cycles.APPROVE_ANNOTATION)
    approved = tuple(Note("StepApproved", f"{value} was approved {who}"[:1024]) for value in used)
    status = evolve(status, last_approval=used[0]) if used else status
    if all(stage.step >= len(plans[stage.name].steps) for stage in moved):
        full = Note("FullShare", "every stage is at full share")
        return Step(cycles.enter(status, Event.FULL, world.now), notes=(*approved, full))
    return Step(status, notes=(*approved, *_share_notes(world, moved)), wait_seconds=1)


def bake(world: World) -> Step:
    """Watch all stages at full share for the bake time."""
    return _watched(world, _baked)


def _baked(world: World) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    stages = [_looked(world, stage) for stage in world.status.stages]
    status = evolve(world.status, stages=stages)
    baked_at = cycle.since + seconds(world.spec.rollout.bake)
    if world.now < baked_at:
        return Step(evolve(status, message=f"baking for {world.spec.rollout.bake}{silence.words(stages)}"[:1024]))
    asked = promotion_approval.asked(world, cycle)
    if asked.too_late:
        return _stop(world, Event.DEGRADED, "NotApproved", asked.too_late)
    status = evolve(status, cycle=asked.cycle)
    if asked.waits:
        return Step(evolve(status, message=f"{asked.waits}{silence.words(stages)}"[:1024]))
    if asked.notes and asked.cycle.promotion:
        return Step(evolve(status, last_approval=asked.cycle.promotion.token), notes=asked.notes, wait_seconds=1)
    closed = windows.closed(world.spec.rollout, world.now)
    if closed is not None:
        held = [evolve(stage, held=True) for stage in stages]
        return Step(evolve(status, stages=held, message=f"bake time is over; the promotion waits: {closed}"[:1024]))
    stages = [evolve(stage, held=False, step_at=world.now) if stage.held else stage for stage in stages]
    status = evolve(status, stages=stages)
    doubt = next((found for stage in stages if (found := _doubt(world, stage))), None)
    if doubt is None:
        return Step(cycles.enter(status, Event.BAKED, world.now))
    approved_at = cycle.promotion.approved_at if cycle.promotion else 0
    due_at = max(baked_at, approved_at, doubt.since, *(stage.step_at for stage in stages))
    if world.now - due_at > seconds(world.spec.rollout.verification.timeout):
        return _stop(world, Event.DEGRADED, "NotVerified", f"bake time is over, but {doubt}")
    return Step(evolve(status, message=f"bake time is over, but {doubt}"[:1024]))


def promote(world: World) -> Step:
    """Wait until promoted.json names the candidate, watching on; then it is the incumbent of every stage."""
    return _watched(world, _recorded)


def _recorded(world: World) -> Step:
    cycle = world.status.cycle
    assert cycle and cycle.candidate
    match recording.state_of(world, cycle.number, cycle.attempt, cycle.attempt_at):
        case Recording.DONE:
            return _promoted(world)
        case Recording.DUE_AGAIN:
            return _record_again(world)
    why = recording.complaint(world, cycle.number, cycle.attempt)
    return _say(world, "recording the promotion on the volume" + (f": {why}" if why else ""))


def withdraw(world: World) -> Step:
    """Leave only when the gateway has accepted a route without the candidate, and no record names it."""
    cycle, route = world.status.cycle, world.route
    assert cycle is not None
    if any(stage.share or stage.shadow for stage in world.status.stages):
        return Step(taken_back(world.status))
    name = serving_name(cycle.candidate)
    is_written = route is not None and not any((*route.shares.values(), *route.mirrors.values()))
    is_off = taken_over.is_off(world, world.status, taken_over.QUIET_SECONDS)
    if not (is_written and is_off and world.now - cycle.since >= SETTLE_SECONDS):
        why = taken_over.still_answering(world.status, world.now) if is_written else ""
        return _say(world, f"taking {name} off the route" + (f": {why}" if why else ""), wait=1)
    if not cycle.restore_record:
        return Step(cycles.enter(world.status, Event.WITHDRAWN, world.now))
    match recording.state_of(world, cycle.number, cycle.attempt, cycle.attempt_at):
        case Recording.DONE:
            return Step(cycles.enter(world.status, Event.WITHDRAWN, world.now))
        case Recording.DUE_AGAIN:
            return _record_again(world)
    why = recording.complaint(world, cycle.number, cycle.attempt)
    told = f"{name} is off the route; writing back what promoted.json said before"
    return _say(world, told + (f": {why}" if why else ""))


def _promoted(world: World) -> Step:
    """The record is written; the last look before the candidate counts as promoted."""
    cycle = world.status.cycle
    assert cycle and cycle.candidate
    doubt = next((found for stage in world.status.stages if (found := _doubt(world, stage))), None)
    if doubt is not None:
        waited = world.now - max(cycle.since, cycle.attempt_at, doubt.since)
        if waited > seconds(world.spec.rollout.verification.timeout):
            return _stop(world, Event.DEGRADED, "NotVerified", f"the promotion is recorded, but {doubt}")
        return _say(world, f"the promotion is recorded, but {doubt}")
    message = f"{serving_name(cycle.candidate)} serves every stage; {cycle.gate.summary if cycle.gate else ''}"
    status = cycles.enter(world.status, Event.RECORDED, world.now, "Promoted", message)
    return Step(status, notes=(Note("Promoted", message),))


def _record_again(world: World) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    why = recording.complaint(world, cycle.number, cycle.attempt)
    again = evolve(cycle, attempt=cycle.attempt + 1, attempt_at=world.now)
    return recording.failed(world, evolve(world.status, cycle=again), why)


def degraded(world: World) -> Step | None:
    """The step back, when anything about the candidate's traffic says no."""
    cycle, route = world.status.cycle, world.route
    assert cycle and cycle.candidate
    deployment = world.deployment(Role.SERVING, cycle.candidate.revision)
    has_traffic = any(stage.share or stage.shadow for stage in world.status.stages)
    withdrawn = route is not None and route.withdrawn == cycle.candidate.revision
    if has_traffic and not withdrawn and (deployment is None or (deployment.observed and not deployment.answering)):
        return _stop(world, Event.DEGRADED, "CandidateNotServing", "no pod of the candidate is ready")
    for stage in world.status.stages:
        if stage.share and stage.counting_since:
            found, limits = seen(world, stage), world.spec.rollout.limits
            compared = crossed_comparison(found, world.spec.rollout.comparison, limits.min_requests)
            crossed = crossed_limit(found, limits) or compared
            if crossed:
                return _stop(world, Event.DEGRADED, "LimitCrossed", f"{stage.name}: {crossed}")
        copied = shadowing.crossed(world, stage)
        if copied:
            return _stop(world, Event.DEGRADED, "LimitCrossed", f"{stage.name}: {copied}")
        outside = metric_looks.crossed(world, stage)
        if outside:
            return _stop(world, Event.DEGRADED, "MetricOutside", f"{stage.name}: {outside}")
    late = next((told for stage in world.status.stages if (told := watching.overdue(world, stage))), None)
    if late:
        return _stop(world, Event.DEGRADED, "NotVerified", late)
    if withdrawn:  # last: the counters may still tell why it was
        return _stop(world, Event.DEGRADED, "Withdrawn", "the candidate was taken off the route before status said so")
    return None


def seen(world: World, stage: StageStatus) -> Look:
    """This stage's requests since its share was set."""
    return look(believed(world, stage), stage, serving_name(_candidate(world)))


def _advance(world: World, plan: StagePlan, stage: StageStatus) -> StageStatus | str:
    """The stage one look later, or the sentence that ends the rollout."""
    if stage.step >= len(plan.steps):
        return _looked(world, stage)
    unmet = [name for name in plan.depends_on if not _is_done(world, name.value)]
    if unmet:
        return evolve(stage, message=f"waits for {', '.join(unmet)}")
    if not stage.step_at:  # the stage's turn begins now: a pause as its first step is counted from here
        return evolve(stage, step_at=world.now, message="")
    step = plan.steps[stage.step]
    if step.set_share is not None:
        return _set_share(world, stage, step.set_share)
    if step.pause is not None:
        return _pause(world, stage, step.pause)
    if step.shadow is not None:
        return shadowing.go_on(world, stage, step.shadow, _doubt(world, stage))
    assert step.analysis is not None
    return _analyse(world, stage, step.analysis)


def _set_share(world: World, stage: StageStatus, share: int) -> StageStatus | str:
    route = world.route
    if stage.share != share:
        closed = windows.closed(world.spec.rollout, world.now)
        if closed is not None:
            return _looked(world, evolve(stage, held=True, message=f"share {share} % waits: {closed}"[:1024]))
        if stage.held:  # deadlines count from here: nothing was late while it was held
            pods_at = world.now if stage.pods_at else 0
            return evolve(stage, held=False, step_at=world.now, pods_at=pods_at, message="")
        awaited = capacity.awaited(world, stage, share)
        if awaited is not None:
            return awaited
        other = watching.any_doubted(world)
        if other is not None:  # it has a deadline of its own
            return evolve(stage, message=f"share {share} % is not set: {other}"[:1024])
        timeout = seconds(world.spec.rollout.verification.timeout)
        doubt = _doubt(world, stage, stage.step_at + timeout)
        if doubt is not None:  # what ended the last step may be long ago: the operator may have been away
            overdue = world.now - max(stage.step_at, doubt.since) > timeout
            why = f"share {share} % is not set, because {doubt}"
            return f"{stage.name}: {why}" if overdue else evolve(stage, message=why[:1024])
        return evolve(
            stage,
            share=share,
            share_at=world.now,
            counting_since=0,
            baseline=[],
            verified=False,
            requests=0,
            observed_share=None,
            step_at=world.now,
            message=f"setting share {share} %",
        )
    overdue = world.now - stage.share_at > seconds(world.spec.rollout.verification.timeout)
    if route is None or not taken_over.is_set(route) or route.shares.get(stage.name, 0) != share:
        why = f"{stage.name}: the route with share {share} % is not accepted by the gateway"
        return f"{why} within {world.spec.rollout.verification.timeout}" if overdue else evolve(stage, message=why)
    if not stage.counting_since:
        if overdue:
            return f"{stage.name}: {_doubt(world, stage)} within {world.spec.rollout.verification.timeout}"
        if world.now - stage.share_at < SETTLE_SECONDS or unread(world, stage):
            return stage  # a baseline without some pod would count what that pod answered before
        return evolve(stage, counting_since=world.now, baseline=snapshot(believed(world, stage), stage.name))
    return _verify(world, stage, overdue)


def _verify(world: World, stage: StageStatus, overdue: bool) -> StageStatus | str:
    verification = world.spec.rollout.verification
    found = seen(world, stage)
    whole = unread(world, stage) is None
    real = share_is_real(found, stage.share, verification.min_requests, verification.alpha) if whole else None
    shown = "none" if found.observed_share is None else f"{found.observed_share:.1f} %"
    if real:
        passed = _with_look(world, stage, found, force=True)
        return evolve(passed, verified=True, step=stage.step + 1, step_at=world.now, message=f"share {shown} verified")
    numbers = f"{stage.name}: share {stage.share} % set, {shown} observed on {found.requests} requests"
    if overdue:
        needed = f"at least {verification.min_requests}, and enough to tell {stage.share} % from none"
        return f"{numbers} within {verification.timeout} (spec.rollout.verification needs {needed})"
    return evolve(_with_look(world, stage, found), message=numbers if _is_due(world, stage) else stage.message)


def _pause(world: World, stage: StageStatus, pause: Pause) -> StageStatus | str:
    if pause.duration:
        over = world.now - stage.step_at - seconds(pause.duration)
        if over < 0:
            told = f"pauses for {pause.duration}{silence.words([stage])}"
            return _looked(world, evolve(stage, message=told[:1024]))
        timeout = seconds(world.spec.rollout.verification.timeout)
        doubt = _doubt(world, stage, stage.step_at + seconds(pause.duration) + timeout)
        if doubt is None:
            return _next(world, stage, "pause over")
        overdue = min(over, world.now - doubt.since) > timeout
        why = f"pause over, but {doubt}"
        return f"{stage.name}: {why}" if overdue else evolve(stage, message=why[:1024])
    assert world.status.cycle is not None
    wanted = intents.step_approval(world.status.cycle, stage)
    if world.release.annotations.get(cycles.APPROVE_ANNOTATION) == wanted:
        return _approved(world, stage)
    command = f"kubectl annotate --overwrite rr {world.release.name} {cycles.APPROVE_ANNOTATION}={wanted}"
    doubted = watching.doubted(stage)
    told = f"waits for approval: {command}" + (f"; in doubt: {doubted}" if doubted else silence.words([stage]))
    return _looked(world, evolve(stage, approved_at=0, message=told[:1024]))


def _approved(world: World, stage: StageStatus) -> StageStatus | str:
    """A person approves what was seen, not what nobody can see: a doubt then has as long as any other has."""
    since, timeout = stage.approved_at or world.now, world.spec.rollout.verification.timeout
    doubt = _doubt(world, stage, since + seconds(timeout))
    if doubt is None:
        return _next(world, evolve(stage, approved_at=0), "approved")
    if world.now - max(since, doubt.since) > seconds(timeout):
        return f"{stage.name}: approved, but {doubt} (for {timeout})"
    return evolve(stage, approved_at=since, message=f"approved, but {doubt}"[:1024])


def _unapproved(world: World) -> str | None:
    """The sentence that ends a rollout that nobody approved in time.

    Asked before the annotation is: an approval that nobody saw in time must not fire after a long outage.
    """
    timeout = world.spec.rollout.approval_timeout
    if timeout is None:
        return None
    return next(
        (
            f"{stage.name}: nobody approved {value} within spec.rollout.approvalTimeout {timeout}"
            for value, stage in intents.awaited_approvals(world).items()
            if not stage.approved_at and world.now - stage.step_at > seconds(timeout)
        ),
        None,
    )


def _analyse(world: World, stage: StageStatus, analysis: AnalysisStep) -> StageStatus | str:
    found = seen(world, stage)
    answered, doubt = found.candidate.requests, _doubt(world, stage, stage.step_at + seconds(analysis.deadline))
    suffices = answered >= max(analysis.min_requests, world.spec.rollout.limits.min_requests)
    if doubt is None and suffices:
        return _next(world, stage, f"{answered} requests inside every limit")
    told = f"analysis: {answered} of {analysis.min_requests} requests" + (f"; {doubt}" if doubt else "")
    in_time = suffices and doubt and world.now - doubt.since <= seconds(world.spec.rollout.verification.timeout)
    if world.now - stage.step_at > seconds(analysis.deadline) and not in_time:
        return (
            f"{stage.name}: the candidate answered {answered} requests within {analysis.deadline}, "
            f"the analysis needs {analysis.min_requests}{f' ({doubt})' if doubt else ''}: Inconclusive"
        )
    return evolve(_with_look(world, stage, found), message=told if _is_due(world, stage) else stage.message)


def _next(world: World, stage: StageStatus, message: str) -> StageStatus:
    return evolve(stage, step=stage.step + 1, step_at=world.now, message=message)


def _looked(world: World, stage: StageStatus) -> StageStatus:
    """In a pause, which may last for days and waits for no number: people see now and then how it goes."""
    rests = stage.counting_since and _is_due(world, stage, PAUSED_LOOK_SECONDS)
    return _with_look(world, stage, seen(world, stage), force=True) if rests else stage


def _is_due(world: World, stage: StageStatus, every: float = LOOK_SECONDS) -> bool:
    return world.now - stage.looked_at >= every


def _with_look(world: World, stage: StageStatus, found: Look, force: bool = False) -> StageStatus:
    if not force and not _is_due(world, stage):
        return stage
    observed = None if found.observed_share is None else round(found.observed_share, 2)
    return evolve(stage, observed_share=observed, requests=found.requests, looked_at=world.now)


def _is_done(world: World, name: str) -> bool:
    plans = {plan.name.value: plan for plan in world.spec.rollout.stages}
    return any(stage.name == name and stage.step >= len(plans[name].steps) for stage in world.status.stages)


def _doubt(world: World, stage: StageStatus, deadline: float = math.inf) -> Doubt | None:
    """Why nothing good can be concluded now; None when counters are whole and inside limits, and metrics inside.

    After the step's deadline (Unix seconds) a candidate that is worse than the incumbents by what may be chance is not
    held up by that any more: half of all candidates that are as good as them look so (docs/decisions/0043).
    """
    why = _doubt_of_counters(world, stage) or (_perhaps_worse(world, stage) if world.now <= deadline else None)
    return metric_looks.doubt(world, stage) if why is None else Doubt(why)


def _doubt_of_counters(world: World, stage: StageStatus) -> str | None:
    route = world.route
    if route is None or not taken_over.is_set(route) or route.shares.get(stage.name, 0) != stage.share:
        return f"the route with share {stage.share} % is not accepted by the gateway"
    missing = unread(world, stage) or watching.doubted(stage)
    if missing is not None:
        return missing
    if taken_over.unproven(route, stage):
        return f"share {stage.share} % is written, and was not seen yet"
    found = seen(world, stage)
    candidate = found.candidate
    told = candidate.latency_ms.get("+Inf", 0)
    if told != candidate.requests:
        return f"the candidate's pods tell the latency of {told} of {candidate.requests} answers"
    if not stage.counting_since:
        return None
    return limit_in_doubt(found, world.spec.rollout.limits)


def _perhaps_worse(world: World, stage: StageStatus) -> str | None:
    """In what the candidate answers worse than the incumbents, be it by chance."""
    if not stage.counting_since:
        return None
    rollout = world.spec.rollout
    return comparison_in_doubt(seen(world, stage), rollout.comparison, rollout.limits.min_requests)


def _candidate(world: World) -> Serving | None:
    assert world.status.cycle is not None
    return world.status.cycle.candidate


def _stop(world: World, event: Event, reason: str, message: str) -> Step:
    status = taken_back(cycles.enter(world.status, event, world.now, reason, message))
    return Step(status, notes=(Note(reason, message, warning=True),))


def taken_back(status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """The status with the candidate's share at zero in every stage, and without copies for it."""
    return evolve(status, stages=[evolve(stage, share=0, shadow=None) for stage in status.stages])


def _say(world: World, message: str, wait: float = 2.0) -> Step:
    return Step(evolve(world.status, message=message[:1024]), wait_seconds=wait)


def _message(stages: list[StageStatus]) -> str:
    return "; ".join(f"{stage.name} {stage.share} %: {stage.message}" for stage in stages if stage.message)[:1024]


def _share_notes(world: World, stages: list[StageStatus]) -> tuple[Note, ...]:
    before = {stage.name: stage for stage in world.status.stages}
    name = serving_name(_candidate(world))
    return tuple(
        Note("ShareSet", f"{_risen(world, before[stage.name], stage)} to {name}"[:1024])
        for stage in stages
        if stage.share != before[stage.name].share
    ) + tuple(
        Note("Mirrored", f"{stage.name}: {_mirrored(before[stage.name])} -> {_mirrored(stage)} mirrored to {name}")
        for stage in stages
        if _mirrored(stage) != _mirrored(before[stage.name])
    )


def _risen(world: World, before: StageStatus, stage: StageStatus) -> str:
    worse = _perhaps_worse(world, before)
    told = f" (worse by what may be chance: {worse})" if worse else ""
    return f"{stage.name}: {before.share} % -> {stage.share} %{told}"


def _mirrored(stage: StageStatus) -> str:
    return f"{stage.shadow.percent if stage.shadow else 0} %"
