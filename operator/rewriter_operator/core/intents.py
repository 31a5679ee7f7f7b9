"""What people ask for by annotations, and what became of it.

Every intent is bound to something that comes only once: a token that was not seen before (run, rollback-to), a cycle's
number (abort), a revision with stage and step (approve). So an annotation that stays behind, in Git or on the object,
never fires twice and never hits a later cycle. What is not carried out is told in `status.notice`.
"""

import re
from dataclasses import dataclass

from rewriter_operator.api.states import State
from rewriter_operator.api.status import Cycle, Outcome, RewriterReleaseStatus, Rollback, Serving, StageStatus
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import retention
from rewriter_operator.core.decision import revision_name, serving_name
from rewriter_operator.core.world import World

ASKED_ANNOTATION = "rewriter.dev/asked"
"""`abort 7 by alice: relevance model is being exchanged`: who asked last, and why; nothing is decided by it."""

MAX_TOKEN = 128
MAX_SAID = 512


_OF_A_STEP = r"(r\d{4,6})/([a-z]+)/(\d{1,2})(?:/(\d{1,9}))?"
"""Revision, stage, step; then, after a change of the stages under an approval, the round of approvals."""


@dataclass(frozen=True)
class RollbackRequest:
    """A rollback-to that was not seen before: where to, or why not."""

    token: str
    to: Serving | None
    refusal: str = ""


def run_token(world: World) -> str:
    """The newest request for a cycle; empty without one."""
    return world.release.annotations.get(cycles.RUN_ANNOTATION, "")[:MAX_TOKEN]


def rollback_request(world: World) -> RollbackRequest | None:
    """A person's wish for an earlier revision, once per value of the annotation."""
    token = world.release.annotations.get(cycles.ROLLBACK_ANNOTATION, "")[:MAX_TOKEN]
    if not token or (world.status.rollback and world.status.rollback.token == token):
        return None
    known = {serving_name(serving): serving for serving in known_revisions(world)}
    name = token.split("/", 1)[0]
    if name in known:
        return RollbackRequest(token, known[name])
    listed = ", ".join(sorted(known, reverse=True)) or "none"
    problem = (
        given_up(world, name)
        or f"must name a revision that was promoted and is kept ({listed}), e.g. r0007 or r0007/<anything new>"
    )
    return RollbackRequest(token, None, f"annotation {cycles.ROLLBACK_ANNOTATION}: got {token!r}; {problem}")


def given_up(world: World, name: str) -> str:
    """The sentence for a promoted revision whose weights were removed; empty for every other name."""
    status, known = world.status, known_revisions(world)
    promoted = {serving_name(serving): serving for serving in status.promoted if serving not in known}
    if name not in promoted or retention.is_kept(status, promoted[name]):
        return ""
    listed = ", ".join(sorted((serving_name(serving) for serving in known), reverse=True)) or "none"
    kept = f"spec.retention.weights keeps {world.spec.retention.weights} beside what serves"
    version = promoted[name].weights.version
    return f"{name} was promoted, but its weights ({version}) were removed from the volume: {kept}; kept are {listed}"


def known_revisions(world: World) -> list[Serving]:
    """Revisions that served, have a RewriterRevision and are kept on the volume; what serves, and the base model."""
    kept = {0} | {revision.cycle for revision in world.revisions}
    incumbents = [stage.incumbent for stage in world.status.stages if stage.incumbent]
    found = {serving.revision: serving for serving in [*incumbents, *world.status.promoted]}
    current = {serving.revision for serving in incumbents}
    return [
        serving
        for number, serving in found.items()
        if number in current or (number in kept and retention.is_kept(world.status, serving))
    ]


def seen(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """A new object's annotations count as seen: they are left over from a release that was here before.

    A new release starts its first cycle without being asked to.
    """
    token = world.release.annotations.get(cycles.ROLLBACK_ANNOTATION, "")[:MAX_TOKEN]
    message = f"annotation {cycles.ROLLBACK_ANNOTATION}: {token!r} is older than this release and is ignored"
    rollback = Rollback(token=token, refusal=message) if token else None
    approval = world.release.annotations.get(cycles.APPROVE_ANNOTATION, "")[:MAX_TOKEN]
    known = {"last_run_token": run_token(world), "last_approval": approval, "rollback": rollback}
    return status.model_copy(update=known)


def by_whom(world: World, annotation: str) -> str:
    """Who asked and why, as far as it is known: what `kubectl rewriter` wrote beside it, else the field manager."""
    value, asked = (world.release.annotations.get(key, "") for key in (annotation, ASKED_ANNOTATION))
    said = re.fullmatch(rf"[a-z-]+ {re.escape(value)} (by .+)", asked)
    if said:
        return said[1][:MAX_SAID]
    manager = world.release.managers.get(annotation)
    return f"by field manager {manager[:MAX_TOKEN]}, without a reason" if manager else "by whom is not known"


def used_approvals(world: World, after: list[StageStatus]) -> list[str]:
    """The approvals that have just ended a pause."""
    steps = {stage.name: stage.step for stage in after}
    return [value for value, stage in awaited_approvals(world).items() if steps.get(stage.name, 0) > stage.step]


def notice(world: World) -> str:
    """What annotations ask for and the operator does not do now, and why; empty when there is nothing of the kind."""
    told = (_unused_rollback(world), _unused_abort(world), _unused_approval(world), _unused_run(world))
    return "; ".join(text for text in told if text)[:1024]


def awaited_approvals(world: World) -> dict[str, StageStatus]:
    """`r0007/finerank/2` -> the stage whose rollout waits for this value of the approve annotation."""
    cycle = world.status.cycle
    if world.status.state is not State.ROLLING_OUT or not (cycle and cycle.candidate):
        return {}
    plans = {plan.name.value: plan.steps for plan in world.spec.rollout.stages}
    waiting = {}
    for stage in world.status.stages:
        steps = plans.get(stage.name, [])
        pause = steps[stage.step].pause if stage.step < len(steps) and stage.step_at else None
        if pause is not None and not pause.duration:
            waiting[step_approval(cycle, stage)] = stage
    return waiting


def step_approval(cycle: Cycle, stage: StageStatus) -> str:
    """What rewriter.dev/approve must say to end the stage's pause."""
    again = f"/{cycle.approval_round}" if cycle.approval_round else ""
    return f"{serving_name(cycle.candidate)}/{stage.name}/{stage.step}{again}"


def is_of_a_step(approval: str, cycle: Cycle) -> bool:
    """Whether the approval is for a step of this cycle's candidate, and of its stages as they are."""
    match = re.fullmatch(_OF_A_STEP, approval)
    return match is not None and match[1] == revision_name(cycle.number) and _round(match) == cycle.approval_round


def awaited_decision(world: World) -> str:
    """`r0007/gate/1f3a5c7e`: the approval that a candidate without a verdict waits for; empty when none does."""
    cycle = world.status.cycle
    return cycle.hold.token if world.status.state is State.HOLDING and cycle and cycle.hold else ""


def awaited_promotion(world: World) -> str:
    """`r0007/promote`: the approval that a baked candidate waits for; empty when none does."""
    cycle = world.status.cycle
    hold = cycle.promotion if world.status.state is State.BAKING and cycle else None
    return hold.token if hold and not hold.approved_at else ""


def _unused_rollback(world: World) -> str:
    rollback, given = world.status.rollback, world.release.annotations.get(cycles.ROLLBACK_ANNOTATION, "")[:MAX_TOKEN]
    return rollback.refusal if rollback and rollback.token == given else ""


def _unused_abort(world: World) -> str:
    given = world.release.annotations.get(cycles.ABORT_ANNOTATION, "")
    cycle = world.status.cycle
    if not given or (cycle and given == str(cycle.number)):
        return ""
    past = [record for record in world.status.history if str(record.number) == given]
    if past and (past[0].outcome is Outcome.ABORTED or cycle is None):
        return ""  # it did what it was for, or came too late for anything
    if re.fullmatch(r"[1-9][0-9]{0,5}", given) and int(given) <= world.status.last_cycle_number and not past:
        return ""  # older than the history
    runs = f"cycle {cycle.number} runs" if cycle and cycle.number else "no cycle runs"
    return f"annotation {cycles.ABORT_ANNOTATION}: got {given[:40]!r}; must be the number of the running cycle ({runs})"


def _unused_approval(world: World) -> str:
    given = world.release.annotations.get(cycles.APPROVE_ANNOTATION, "")
    awaited = [*awaited_approvals(world), *filter(None, [awaited_decision(world), awaited_promotion(world)])]
    if not given or given in awaited or given[:MAX_TOKEN] == world.status.last_approval or _is_passed(world, given):
        return ""
    got = f"annotation {cycles.APPROVE_ANNOTATION}: got {given[:60]!r}"
    if awaited:
        return f"{got}; {' and '.join(awaited)} is waited for"
    return (
        "" if _is_to_come(world, given) else f"{got}; nothing waits for an approval, and no pause to come has this name"
    )


def _is_to_come(world: World, given: str) -> bool:
    """Whether the approval is for a pause that the running cycle has ahead: given early, it will act there."""
    cycle, match = world.status.cycle, re.fullmatch(_OF_A_STEP, given)
    if cycle and given == f"{revision_name(cycle.number)}/promote":
        return not world.spec.rollout.auto_promote and cycle.outcome is None
    if match is None or cycle is None or cycle.outcome is not None or not is_of_a_step(given, cycle):
        return False
    steps = next((plan.steps for plan in world.spec.rollout.stages if plan.name.value == match[2]), [])
    at = int(match[3])
    pause = steps[at].pause if at < len(steps) else None
    return pause is not None and not pause.duration


def _round(match: re.Match[str]) -> int:
    return int(match[4] or 0)


def _is_passed(world: World, given: str) -> bool:
    """Whether the approval was for an earlier step of this very candidate: it has done what it was for."""
    if world.status.cycle and world.status.cycle.hold and given == world.status.cycle.hold.token:
        return True
    match = re.fullmatch(_OF_A_STEP, given)
    if match is None or world.status.cycle is None or match[1] != serving_name(world.status.cycle.candidate):
        return False
    return any(stage.name == match[2] and int(match[3]) < stage.step for stage in world.status.stages)


def _unused_run(world: World) -> str:
    token = run_token(world)
    if not token or token == world.status.last_run_token or not world.spec.suspend:
        return ""
    return f"annotation {cycles.RUN_ANNOTATION}: {token!r} starts a cycle when spec.suspend is false"
