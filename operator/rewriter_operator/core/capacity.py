"""How many serving pods a candidate has: all of them from the first share on, or those that its share needs.

spec.serving.capacity.mode ScaleWithShare: what a share needs is decided in status first (podsFor), then made, and the
share is set only when it is ready. The number follows from status alone, over all stages, because pods serve them all;
it never falls before the candidate is off the route (docs/decisions/0037). Incumbents always have all.
"""

from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import RewriterReleaseSpec, Serving, Stage, Step
from rewriter_operator.api.status import StageStatus
from rewriter_operator.core import held_up
from rewriter_operator.core.states import CANDIDATE_STATES
from rewriter_operator.core.world import Deployment, Role, World


def scales(spec: RewriterReleaseSpec) -> bool:
    """Whether a candidate has only the pods that its share needs."""
    return spec.serving.capacity.mode == "ScaleWithShare"


def pods_for(serving: Serving, share: int) -> int:
    """Of a candidate that answers this share of some stage, at most. It may be the stage that asks for nearly all."""
    return max(1, -(-serving.replicas * share // 100))


def replicas(world: World, revision: int) -> int | None:
    """Pods that the revision should have; None: all, as anything but a candidate has."""
    status = world.status
    candidate = status.cycle.candidate if status.cycle and status.state in CANDIDATE_STATES else None
    if candidate is None or candidate.revision != revision or not scales(world.spec):
        return None
    return pods_for(world.spec.serving, max((max(row.share, row.pods_for) for row in status.stages), default=0))


def needed(world: World, revision: int) -> int:
    """The same as a number."""
    return replicas(world, revision) or world.spec.serving.replicas


def are_up(deployment: Deployment | None, count: int) -> bool:
    """Whether all pods are ready, and they are that many. A scaled-down Deployment is not up by what it has left."""
    return deployment is not None and deployment.ready >= max(count, deployment.replicas)


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
    short = _short_of(world, share)
    if short is None and needed(world, _candidate(world)) >= pods_for(world.spec.serving, share):
        # whatever is doubted of new pods has its whole time
        return evolve(stage, pods_at=0, step_at=world.now, message="") if stage.pods_at else None
    if stage.pods_for < share:
        return evolve(stage, pods_for=share, pods_at=world.now, message=f"waits for the pods for {share} %")
    told = f"the pods for {share} % are not up: {short}"
    late = not stage.pods_at and world.now - stage.step_at > seconds(world.spec.rollout.verification.timeout)
    return f"{stage.name}: {told}" if late else evolve(stage, message=told[:1024])


def overdue(world: World) -> str | None:
    """The sentence that ends a rollout whose next share got no pods."""
    timeout = world.spec.serving.ready_timeout
    for stage in world.status.stages:
        if stage.pods_at and not stage.held and world.now - stage.pods_at > seconds(timeout):
            short = _short_of(world, stage.pods_for)
            if short is not None:
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
    revision, count = _candidate(world), pods_for(world.spec.serving, share)
    deployment = world.deployment(Role.SERVING, revision)
    ready = deployment.ready if deployment else 0
    if ready >= count:
        return None
    return f"{ready} of {count} candidate pods are ready{held_up.words_of(world, Role.SERVING, revision)}"


def _candidate(world: World) -> int:
    assert world.status.cycle and world.status.cycle.candidate
    return world.status.cycle.candidate.revision
