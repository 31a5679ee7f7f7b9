"""Status for readers: conditions, and the words of `kubectl get rr`. Derived from what is there, never from memory."""

from rewriter_contract.messages import LoadState, WeightsRef
from rewriter_operator.api.conditions import ConditionType, Reason, rfc3339, set_condition
from rewriter_operator.api.model import evolve
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Condition, Outcome, RewriterReleaseStatus
from rewriter_operator.core import (
    drift,
    held_up,
    kept_up,
    recording,
    restarting,
    retention,
    schedule,
    silence,
    watching,
)
from rewriter_operator.core.decision import serving_name
from rewriter_operator.core.states import CYCLE_STATES, TRAFFIC_STATES
from rewriter_operator.core.world import Role, World


def summarised(world: World, status: RewriterReleaseStatus, next_trigger: str = "") -> RewriterReleaseStatus:
    """`status` with everything in it that is only for readers; `next_trigger`: of a cycle that starts at once."""
    status = evolve(
        status,
        observed_generation=world.release.generation,
        serves=_serves(status),
        shares=_shares(status),
        next_cycle_at=_next_cycle(world, status),
        message=_idle_message(world, status) if status.state is State.IDLE else status.message,
    )
    conditions = [item for item in status.conditions if not _is_outlived(item)]
    stalled = _stalled(world, status, conditions)
    for kind, answer in (
        (ConditionType.READY, _ready(world, status)),
        (ConditionType.PROGRESSING, _progressing(world, status)),
        (ConditionType.WEIGHTS_SYNCED, _weights_synced(world, status)),
        (ConditionType.GATE_PASSED, _gate_passed(status)),
        (ConditionType.GOLD_KEPT, _gold_kept(status)),
        (ConditionType.TRAFFIC_VERIFIED, _traffic_verified(world, status)),
        (ConditionType.STALLED, stalled),
        (ConditionType.RECONCILING, _reconciling(status, stalled, next_trigger)),
    ):
        truth, reason, message = answer
        conditions = set_condition(conditions, kind, truth, reason, message, world.release.generation, world.now)
    accepted = next((item for item in conditions if item.type == ConditionType.ACCEPTED), None)
    if accepted is None:
        conditions = set_condition(
            conditions,
            ConditionType.ACCEPTED,
            None,
            Reason.PREPARING,
            "not checked yet",
            world.release.generation,
            world.now,
        )
    return evolve(status, conditions=conditions)


def gold_decay(status: RewriterReleaseStatus) -> str:
    """How gold was lost over several releases; empty while that cannot be said."""
    found = (item for item in status.conditions if (item.type, item.status) == (ConditionType.GOLD_KEPT, "False"))
    return next((item.message for item in found), "")


def _is_outlived(condition: Condition) -> bool:
    """It said that the object cannot be read; that there is a world says that it can."""
    return (condition.type, condition.reason) == (ConditionType.ACCEPTED, Reason.INVALID_SPEC)


_Answer = tuple[bool | None, str, str]


def _ready(world: World, status: RewriterReleaseStatus) -> _Answer:
    """Whether every stage's incumbent (or the passthrough) has pods that answer, behind an accepted route."""
    route = world.route
    if route is None and world.spec.traffic.is_called_before:
        return None, Reason.PREPARING, "the route is made once pods are ready behind it: its address is called already"
    if route is None or (route.accepted is None and route.tells_acceptance and not _is_behind_the_last(world, status)):
        return None, Reason.PREPARING, "the gateway has not accepted the route yet"
    if route.accepted is False:
        return False, Reason.GATEWAY_REFUSED, route.message or "the gateway does not accept the route"
    down = []
    for stage in status.stages:
        serving = stage.incumbent if status.state is not State.BOOTSTRAPPING else None
        deployment = (
            world.deployment(Role.SERVING, serving.revision) if serving else world.deployment(Role.PASSTHROUGH, -1)
        )
        if deployment is None or not deployment.answering:
            down.append(f"{stage.name} ({serving_name(serving)})")
    if down:
        return False, Reason.NOT_SERVING, f"no ready pod behind {', '.join(down)}"
    return True, Reason.SERVING, _serves(status)


def _is_behind_the_last(world: World, status: RewriterReleaseStatus) -> bool:
    """Whether a share was just written over a route that was accepted: until the gateway has taken this one over, what
    answers stands behind that one. At rest it is waited for, for then it is a person who changed what is called."""
    divides = status.state is not State.IDLE or status.draining_since > 0
    return divides and world.route is not None and world.route.was_accepted


def _progressing(world: World, status: RewriterReleaseStatus) -> _Answer:
    if status.state in CYCLE_STATES and status.cycle:
        return True, Reason.CYCLE_RUNNING, f"cycle {status.cycle.number}: {status.state}: {status.message}"
    if status.state is State.BOOTSTRAPPING:
        return True, Reason.PREPARING, status.message or "finding out what serves first"
    if status.state is State.RETURNING:
        return True, Reason.PREPARING, status.message
    if world.spec.suspend:
        return False, Reason.SUSPENDED, "spec.suspend is true: no new cycle starts"
    return False, Reason.IDLE, status.message


def _weights_synced(world: World, status: RewriterReleaseStatus) -> _Answer:
    cycle = status.cycle
    if status.state is not State.TRAINING or not (cycle and cycle.phase):
        return None, Reason.IDLE, "no phase runs"
    wanted = cycle.phase.weights
    count = world.spec.training.samplers.replicas
    states = [world.samplers.get(index) for index in range(count)]
    synced = sum(
        1
        for state in states
        if state
        and state.state is LoadState.READY
        and state.weights
        and state.weights == WeightsRef(wanted.version, wanted.digest)
    )
    failed = next((state.message for state in states if state and state.message), "")
    if synced == count:
        return True, Reason.SYNCED, f"{count} of {count} samplers run {wanted.version}"
    reason = Reason.SYNC_FAILED if failed else Reason.SYNCING
    told = f"{synced} of {count} samplers run {wanted.version}"
    told += "; the others are replaced by pods that come up with it" if restarting.restarts(world) else ""
    return False, reason, told + (f": {failed}" if failed else "")


def _gate_passed(status: RewriterReleaseStatus) -> _Answer:
    gate = status.cycle.gate if status.cycle else None
    hold = status.cycle.hold if status.cycle else None
    if gate is not None and hold and hold.approved:
        return None, Reason.GATE_APPROVED, f"{hold.token} was approved by a person; {gate.summary}"[:1024]
    if gate is not None:
        return {"Pass": True, "Fail": False}.get(gate.verdict), f"Gate{gate.verdict}", gate.summary
    before = next((item for item in status.conditions if item.type == ConditionType.GATE_PASSED), None)
    if before and before.reason != Reason.NOT_JUDGED and status.state not in CYCLE_STATES:
        return {"True": True, "False": False}.get(before.status), before.reason, before.message
    return None, Reason.NOT_JUDGED, "the newest candidate has no verdict yet"


def _gold_kept(status: RewriterReleaseStatus) -> _Answer:
    """Whether what serves lost gold over several releases, which no single gate could see. It decides nothing."""
    incumbent = next((stage.incumbent for stage in status.stages if stage.incumbent), None)
    found = drift.decays(status.baseline, incumbent.revision if incumbent else -1)
    if not found:
        return None, Reason.NO_SERIES, "fewer than two candidates were judged by gold"
    certain = [decay for decay in found if decay.is_certain]
    if certain:
        return False, Reason.GOLD_DECAYS, "; ".join(map(str, certain))
    return True, Reason.GOLD_HOLDS, "; ".join(map(str, found))


def _traffic_verified(world: World, status: RewriterReleaseStatus) -> _Answer:
    shared = [stage for stage in status.stages if stage.share]
    if status.state not in TRAFFIC_STATES or not shared:
        return None, Reason.NO_CANDIDATE, "no candidate has a share"
    shown = ", ".join(
        f"{stage.name} {stage.share} % set, "
        + ("unknown" if stage.observed_share is None else f"{stage.observed_share:.1f} %")
        + f" observed on {stage.requests} requests"
        for stage in shared
    )
    silent = [f"{stage.name}: {told}" for stage in shared if (told := silence.told(stage))]
    if all(stage.verified for stage in shared):
        return (None, Reason.COUNTERS_SILENT, "; ".join(silent)) if silent else (True, Reason.VERIFIED, shown)
    doubts = [f"{stage.name}: {doubt}" for stage in shared if (doubt := watching.doubted(stage)) is not None]
    if doubts:
        return False, Reason.SHARE_DOUBTED, "; ".join(doubts)
    return None, Reason.VERIFYING, shown


def _stalled(world: World, status: RewriterReleaseStatus, conditions: list[Condition]) -> _Answer:
    if world.refusal:
        return True, Reason.CHILD_REFUSED, world.refusal
    if world.contest:
        return True, Reason.CHILD_CONTESTED, world.contest
    accepted = next((item for item in conditions if item.type == ConditionType.ACCEPTED), None)
    if accepted and accepted.status == "False":
        return True, accepted.reason, accepted.message
    for reason, told in (
        (Reason.POD_NOT_STARTING, held_up.not_starting(world)),
        (Reason.POD_NOT_GONE, held_up.not_gone(world)),
        (Reason.POD_NOT_SERVING, held_up.not_serving(world)),
        (Reason.VOLUME_FULL, _full_volume(world, status)),
        (Reason.RECORD_FAILED, recording.trouble(world, status.record)),
    ):
        if told:
            return True, reason, told
    return False, Reason.ACCEPTED, "nothing waits for a person"


def _full_volume(world: World, status: RewriterReleaseStatus) -> str:
    """What to do about the last cycle, which found no room to write; the next one asks for room before it trains."""
    last = status.history[0] if status.history and status.state is State.IDLE else None
    if last is None or last.reason != Reason.VOLUME_FULL:
        return ""
    claim, name = retention.claim_named(world), world.release.name
    return (
        f"{claim} was full in cycle {last.number}: {last.message}; make room, then: kubectl rewriter retry {name}, "
        "or wait for the schedule"
    )


def _reconciling(status: RewriterReleaseStatus, stalled: _Answer, next_trigger: str) -> _Answer:
    """Never beside Stalled: kstatus is the first of the two that is True, and one would wait for what cannot come.

    Between the end of one thing and a cycle that starts at once a release is not at rest: whoever waits for it would go
    on in that moment.
    """
    is_stalled, reason, _ = stalled
    if is_stalled:
        return False, reason, "a person must act first, see Stalled"
    if status.state is State.IDLE and next_trigger:
        return True, Reason.CYCLE_DUE, f"a cycle starts at once: {next_trigger}"
    if status.state is State.IDLE:
        return False, Reason.IDLE, "the newest cycle has ended"
    return True, Reason.CYCLE_RUNNING, f"{status.state}"


def _serves(status: RewriterReleaseStatus) -> str:
    """`r0007` when all stages agree, else `finerank=r0007,rawrank=r0006`."""
    if status.state is State.BOOTSTRAPPING:
        return "passthrough"
    names = {stage.name: serving_name(stage.incumbent) for stage in status.stages}
    if len(set(names.values())) == 1:
        return next(iter(names.values()))
    return ",".join(f"{stage}={name}" for stage, name in names.items())


def _shares(status: RewriterReleaseStatus) -> str:
    return ",".join(f"{stage.name}={stage.share}%" for stage in status.stages if stage.share)


def _idle_message(world: World, status: RewriterReleaseStatus) -> str:
    refused = next(
        (item for item in status.conditions if item.type == ConditionType.ACCEPTED and item.status == "False"), None
    )
    if refused:
        return refused.message
    kept = kept_up.told(world.spec, status)
    return (_last_message(status) + (f"; {kept}" if kept else ""))[:1024]


def _last_message(status: RewriterReleaseStatus) -> str:
    rollback, ended = status.rollback, status.history[0].finished_at if status.history else ""
    if rollback and rollback.to and rollback.ended_at > ended:
        return rollback.message
    if not status.history:
        return "no cycle has run yet"
    last = status.history[0]
    verb = "promoted" if last.outcome is Outcome.PROMOTED else last.outcome.value
    return f"cycle {last.number} {verb}: {last.message}"


def _next_cycle(world: World, status: RewriterReleaseStatus) -> str | None:
    if world.spec.schedule is None or world.spec.suspend:
        return None
    try:
        return rfc3339(schedule.due(world.spec.schedule, schedule.handled_at(status), world.now).next_start)
    except schedule.ScheduleInvalid:
        return None
