"""How many serving pods a candidate has: all of them from the first share on, or those that its share needs.

spec.serving.capacity.mode ScaleWithShare: what a share needs is decided in status first (podsFor), then made, and the
share is set only when it is ready. The number follows from status alone, over all stages, because pods serve them all;
it never falls before the candidate is off the route (docs/decisions/0037). Incumbents always have all.

InPlace: the same, but of the one pool that all revisions share, so what the candidate has the incumbent has not; the
incumbent keeps one pod until the promotion (docs/decisions/0040). Which pod changes, and when, is core/pool.py.
"""

from collections.abc import Collection, Mapping

from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import RewriterReleaseSpec, Serving, Stage, Step
from rewriter_operator.api.states import State
from rewriter_operator.api.status import StageStatus
from rewriter_operator.core import held_up
from rewriter_operator.core.states import CANDIDATE_STATES
from rewriter_operator.core.world import Deployment, Role, World

ELSEWHERE_SECONDS = 30
"""Between two writes of a stage that waits for another one's pods or share."""


def scales(spec: RewriterReleaseSpec) -> bool:
    """Whether a candidate has only the pods that its share needs."""
    return spec.serving.capacity.mode != "Surge"


def in_place(spec: RewriterReleaseSpec) -> bool:
    """Whether a candidate's pods are the incumbent's, with other weights."""
    return spec.serving.capacity.mode == "InPlace"


def pods_for(serving: Serving, share: int, pool: int = 0) -> int:
    """Of a candidate that answers this share of some stage, at most. It may be the stage that asks for nearly all.

    `pool`: pods that there really are to be shared, where that is known.
    """
    count = max(1, -(-(pool or serving.replicas) * share // 100))
    return count if serving.capacity.mode != "InPlace" else min(count, max(1, (pool or serving.replicas) - 1))


def replicas(world: World, revision: int) -> int | None:
    """Pods that the revision should have; None: all, as anything but a candidate has."""
    status = world.status
    candidate = status.cycle.candidate if status.cycle and status.state in CANDIDATE_STATES else None
    if candidate is None or candidate.revision != revision or not scales(world.spec):
        return None
    return _pods_for(world, max((max(row.share, row.pods_for) for row in status.stages), default=0))


def needed(world: World, revision: int) -> int:
    """The same as a number; of what is brought back in place, the half with which it takes all requests over."""
    rollback = world.status.rollback
    returns = rollback is not None and rollback.to is not None and rollback.to.revision == revision
    if in_place(world.spec) and returns and world.status.state is State.RETURNING:
        return -(-size(world) // 2)
    return replicas(world, revision) or size(world)


def size(world: World) -> int:
    """How many pods all revisions share, in place: as many as there are, which a change of replicas follows later."""
    pool = world.own_deployment(Role.POOL) if in_place(world.spec) else None
    return pool.replicas if pool and pool.replicas else world.spec.serving.replicas


def targets(world: World, serving: Collection[int]) -> Mapping[int, int]:
    """How many pods of the pool each of these revisions should have; together all that there are.

    `serving`: revisions that are to have any at all. Incumbents come first.
    """
    total = max(len(world.pool), size(world))
    newcomer = _newcomer(world) if _newcomer(world) in serving else None
    others = sorted(number for number in serving if number != newcomer)
    if newcomer is None or not others:
        return _divided(total, others or sorted(serving))
    share = max(0, min(needed(world, newcomer), total - len(others)))
    # What it has it keeps: until it is off the route, or, after a change of the mode, until pods of its own are up.
    if world.status.state is State.WITHDRAWING or not in_place(world.spec):
        share = min(share, sum(pod.role is Role.SERVING and pod.cycle == newcomer for pod in world.pool))
    return {**_divided(total - share, others), newcomer: share}


def _newcomer(world: World) -> int | None:
    """The candidate, or what is brought back: what takes pods from others."""
    status = world.status
    if status.state is State.RETURNING and status.rollback and status.rollback.to and not status.rollback.switched:
        return status.rollback.to.revision
    candidate = status.cycle.candidate if status.cycle and status.state in CANDIDATE_STATES else None
    return candidate.revision if candidate else None


def _divided(total: int, among: list[int]) -> dict[int, int]:
    """In parts as even as can be; the first has what is left over."""
    return {number: total // len(among) + (at < total % len(among)) for at, number in enumerate(among)}


def are_up(deployment: Deployment | None, count: int) -> bool:
    """Whether all pods are ready, and they are that many. A scaled-down Deployment is not up by what it has left."""
    return deployment is not None and deployment.ready >= max(count, deployment.replicas)


def is_known(deployment: Deployment | None) -> bool:
    """Whether it can be said how many pods are ready. A Deployment that was just written, be it marked by a new leader,
    tells it a moment later, when its controller has seen it: no deadline is judged by what is not known."""
    return deployment is None or deployment.observed


def begun(world: World) -> list[StageStatus]:
    """The stages as a candidate's pods begin with them: those that wait for no other want their first share's."""
    if not scales(world.spec):
        return world.status.stages
    firsts = _firsts(world.spec)
    return [
        evolve(stage, pods_for=max(stage.pods_for, firsts.get(stage.name, 0))) if stage.name in firsts else stage
        for stage in world.status.stages
    ]


def foretold(spec: RewriterReleaseSpec, stage: Stage) -> list[int | None]:
    """For status.plan: pods that are ready at least before each step of a stage; None: all are, or it waits for none.

    What an earlier step had stays. A stage that waits for others begins with all, which they needed for full share.
    """
    most, pods = 100 if stage.depends_on else max(_firsts(spec).values(), default=0), list[int | None]()
    for step in stage.steps:
        asks = scales(spec) and (step.set_share or step.shadow)
        most = max(most, _percent_of(step))
        pods.append(pods_for(spec.serving, most) if asks else None)
    return pods


def awaited(world: World, stage: StageStatus, share: int) -> StageStatus | str | None:
    """What comes before this share is set, or copied: its pods. None: they are ready. A text: what ends the rollout.

    Also after a change to Surge in between: the candidate has not all pods because the spec says so now.
    """
    if not scales(world.spec) and not any(row.pods_for for row in world.status.stages):
        return None
    other = _elsewhere(world, stage, share) if in_place(world.spec) else ""
    if other:
        return _nobodys_delay(world, stage, other)
    short = _short_of(world, share)
    if short is None and needed(world, _candidate(world)) >= _pods_for(world, share):
        # whatever is doubted of new pods has its whole time
        return evolve(stage, pods_at=0, step_at=world.now, message="") if stage.pods_at else None
    if stage.pods_for < share:
        return evolve(stage, pods_for=share, pods_at=world.now, message=f"waits for the pods for {share} %")
    told = f"the pods for {share} % are not up: {short}"
    is_over = world.now - stage.step_at > seconds(world.spec.rollout.verification.timeout)
    late = is_over and not stage.pods_at and is_known(world.deployment(Role.SERVING, _candidate(world)))
    return f"{stage.name}: {told}" if late else evolve(stage, message=told[:1024])


def _elsewhere(world: World, stage: StageStatus, share: int) -> str:
    """What of another stage is waited for, in place: no pod changes revisions while requests are counted to verify a
    share, because what it has answered cannot be counted any more, and the share would seem to be another."""
    others = [row for row in world.status.stages if row.name != stage.name]
    verifying = next((row for row in others if row.share and not row.verified), None)
    wants_more = stage.pods_at or _pods_for(world, share) > needed(world, _candidate(world))
    if verifying is not None and wants_more:
        return f"waits until {verifying.share} % of {verifying.name} is verified"
    moving = next((row for row in others if row.pods_at), None)
    return f"waits for the pods of {moving.name}" if moving is not None and not stage.pods_at else ""


def _nobodys_delay(world: World, stage: StageStatus, why: str) -> StageStatus:
    """What another stage takes counts for no deadline of this one's; told now and then, which is a write each."""
    at = world.now if world.now - max(stage.step_at, stage.pods_at) > ELSEWHERE_SECONDS else stage.step_at
    pods_at = stage.pods_at and max(stage.pods_at, at)
    return evolve(stage, step_at=at, pods_at=pods_at, message=why)


def overdue(world: World) -> str | None:
    """The sentence that ends a rollout whose next share got no pods."""
    timeout = world.spec.serving.ready_timeout
    for stage in world.status.stages:
        if stage.pods_at and not stage.held and world.now - stage.pods_at > seconds(timeout):
            short = _short_of(world, stage.pods_for)
            if short is not None and is_known(world.deployment(Role.SERVING, _candidate(world))):
                return f"{stage.name}: the pods for {stage.pods_for} % are not up: {short} within {timeout}"
    return None


def _firsts(spec: RewriterReleaseSpec) -> dict[str, int]:
    """What the stages that wait for no other need pods for at their beginning, in percent."""
    return {plan.name.value: _percent_of(plan.steps[0]) for plan in spec.rollout.stages if not plan.depends_on}


def _percent_of(step: Step) -> int:
    """What a step needs pods for."""
    return step.set_share or (step.shadow.percent if step.shadow else 1)


def _short_of(world: World, share: int) -> str | None:
    """How many of a share's pods are ready, where not all are."""
    revision, count = _candidate(world), _pods_for(world, share)
    deployment = world.deployment(Role.SERVING, revision)
    ready = deployment.ready if deployment else 0
    if ready >= count:
        return None
    return f"{ready} of {count} candidate pods are ready{held_up.words_of(world, Role.SERVING, revision)}"


def _pods_for(world: World, share: int) -> int:
    return pods_for(world.spec.serving, share, size(world) if in_place(world.spec) else 0)


def _candidate(world: World) -> int:
    assert world.status.cycle and world.status.cycle.candidate
    return world.status.cycle.candidate.revision
