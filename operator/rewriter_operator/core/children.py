"""Which objects should exist, as a function of spec and status alone.

Level-triggered: whatever is missing is made, whatever is too many is removed, whoever did it and whenever it happened.
"""

from typing import Final

from rewriter_contract.messages import LOAD_SECONDS, PASSTHROUGH, ServingConfig, ServingOrder, WeightsRef
from rewriter_operator.api.model import seconds
from rewriter_operator.api.revision import RevisionPhase, RewriterRevisionSpec, RewriterRevisionStatus
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Cycle, Serving
from rewriter_operator.core import capacity, kept_up, recording, restarting, retention, validating
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core.decision import (
    RevisionOutcome,
    Wanted,
    WantedMeeting,
    WantedPod,
    WantedPool,
    WantedRevision,
    WantedRoute,
    WantedServing,
    WantedToken,
    serving_name,
)
from rewriter_operator.core.preparing import prepare_order, refusal
from rewriter_operator.core.recipe import engine_of, recipe_of
from rewriter_operator.core.states import CANDIDATE_STATES, TRAFFIC_STATES
from rewriter_operator.core.world import Revision, Role, World

DRAIN_SECONDS = 30
"""Serving pods that nothing routes to any more are kept this long for requests that are under way."""

OF_SERVING_PODS: Final = ("Deployment", "Service", "PodDisruptionBudget")
"""Kinds of children that a revision has while it serves, and until its requests have drained."""


def wanted(world: World) -> tuple[Wanted, ...]:
    """Every child that should exist now, in the order in which missing ones are made."""
    return (WantedToken(), *_servings(world), *_routes(world), *_revisions(world), *_cycle_pods(world))


def _routes(world: World) -> tuple[WantedRoute, ...]:
    """The route; none yet over an address that is called already, while nobody behind the route would answer.

    Only before it is made: one that is there stays, whatever its pods do, or every request would change its way.
    """
    found = route(world)
    waits = world.route is None and world.spec.traffic.is_called_before
    return () if waits and not _is_answered(world, found) else (found,)


def _is_answered(world: World, wanted: WantedRoute) -> bool:
    revisions = {revision for _, revision in wanted.incumbents}
    return all(_is_up(world, revision) for revision in revisions)


def _is_up(world: World, revision: int | None) -> bool:
    role, number = (Role.PASSTHROUGH, -1) if revision is None else (Role.SERVING, revision)
    deployment = world.deployment(role, number)
    return deployment is not None and deployment.answering > 0


def route(world: World) -> WantedRoute:
    """Who answers each stage. Before the bootstrap is over that is the passthrough, whatever is planned."""
    status = world.status
    serving = status.state is not State.BOOTSTRAPPING
    incumbents = tuple(
        (stage.name, stage.incumbent.revision if serving and stage.incumbent else None) for stage in status.stages
    )
    if status.state not in TRAFFIC_STATES or not (status.cycle and status.cycle.candidate):
        return WantedRoute(incumbents, idle=_idle(world), withdrawn=_withdrawn(world))
    shares = tuple((stage.name, stage.share) for stage in status.stages if stage.share)
    mirrors = tuple((stage.name, stage.shadow.percent) for stage in status.stages if stage.shadow)
    return WantedRoute(incumbents, status.cycle.candidate.revision, shares, idle=_idle(world), mirrors=mirrors)


def _idle(world: World) -> tuple[int, ...]:
    """Backends to list without giving them requests: the passthrough, what is coming up, kept up, or draining."""
    status = world.status
    revisions = {-1} | {stage.incumbent.revision for stage in status.stages if stage.incumbent}
    revisions |= {serving.revision for serving in kept_up.revisions(status)}
    if status.state in CANDIDATE_STATES and status.cycle and status.cycle.candidate:
        revisions.add(status.cycle.candidate.revision)
    back = _brought_back(world)
    if back:
        revisions.add(back.revision)
    last = max(status.draining_since, status.leaving.since if status.leaving else 0)
    if not status.draining_since or world.now - last < DRAIN_SECONDS:
        present = (child for child in world.children if child.kind == "Service" and child.role is Role.SERVING)
        revisions |= {child.cycle for child in present if not child.deleting}
    return tuple(sorted(revisions))


def revision_outcomes(world: World) -> tuple[RevisionOutcome, ...]:
    """RewriterRevisions whose status does not yet say what became of them."""
    records = {record.number: record for record in world.status.history}
    changes = []
    for revision in world.revisions:
        record = records.get(revision.cycle)
        serving = [
            stage.name
            for stage in world.status.stages
            if stage.incumbent and stage.incumbent.revision == revision.cycle
        ]
        outcome = record.outcome.value if record else revision.outcome
        message = record.message if record else revision.message
        kept = _kept(world, revision)
        known = (revision.outcome, revision.serving, revision.message, revision.kept)
        if (outcome, tuple(serving), message, kept) != known:
            status = RewriterRevisionStatus.model_validate(
                {"outcome": outcome or None, "message": message, "serving": serving, "weights": kept or None}
            )
            changes.append(RevisionOutcome(revision.cycle, status))
    return tuple(changes)


def _kept(world: World, revision: Revision) -> str:
    """What the revision's status says of its weights; as before while nothing was decided about any."""
    if world.status.retention is None:
        return revision.kept
    return "Kept" if retention.is_version_kept(world.status, revision.cycle, revision.weights) else "Removed"


def servings(world: World) -> dict[int, Serving]:
    """Revisions whose serving pods should exist: incumbents, the candidate from its deployment on, what comes back, and
    for a while what was replaced."""
    status = world.status
    found = {serving.revision: serving for serving in kept_up.revisions(status)}
    for stage in status.stages:
        if stage.incumbent:
            found[stage.incumbent.revision] = stage.incumbent
    if status.state in CANDIDATE_STATES and status.cycle and status.cycle.candidate:
        found[status.cycle.candidate.revision] = status.cycle.candidate
    back = _brought_back(world)
    if back:
        found[back.revision] = back
    return found


def _brought_back(world: World) -> Serving | None:
    """The earlier revision that a person wants to serve again."""
    rollback = world.status.rollback
    return rollback.to if rollback and world.status.state is State.RETURNING else None


def _servings(world: World) -> list[Wanted]:
    wanted: list[Wanted] = [WantedServing(-1, _config(world, PASSTHROUGH, None, world.spec.serving.max_tokens))]
    if _has_pool(world):
        held = world.status.state in CANDIDATE_STATES | {State.RETURNING} or _is_divided(world)
        wanted.append(WantedPool(held=held))
    for number, order in orders(world).items():
        has_deployment = _has_deployment(world, number)
        replicas = capacity.replicas(world, number)
        wanted.append(WantedServing(number, order.serving, order.engine, replicas, has_deployment))
    return wanted


def orders(world: World) -> dict[int, ServingOrder]:
    """What the pods of each revision that should have any are to serve."""
    return {number: _order(world, serving) for number, serving in sorted(servings(world).items())}


def _order(world: World, serving: Serving) -> ServingOrder:
    recipe = serving.recipe or recipe_of(world.spec)
    ref = WeightsRef(serving.weights.version, serving.weights.digest)
    config = _config(world, serving_name(serving), ref, recipe.max_tokens)
    return ServingOrder(config, engine_of(recipe, world.spec.serving.tensor_parallel), _load_seconds(world))


def _load_seconds(world: World) -> float | None:
    """Nothing where it is what pods take anyway, or in a cycle whose pods may be from before they could be told."""
    cycle, limit = world.status.cycle, float(seconds(world.spec.serving.ready_timeout))
    return None if limit == LOAD_SECONDS or (cycle and cycle.contract < cycles.LIMITS_LOADS) else limit


def _has_pool(world: World) -> bool:
    """In place, and after a change to another mode until every revision's own pods are up: both are behind the same
    Services."""
    serving = servings(world)
    if not serving or capacity.in_place(world.spec):
        return bool(serving)
    own = (world.own_deployment(Role.SERVING, number) for number in serving)
    return world.own_deployment(Role.POOL) is not None and not all(
        item and 0 < item.replicas <= item.ready for item in own
    )


def _is_divided(world: World) -> bool:
    """Whether some pods of the pool answer for revisions that should have any, and others that are ready do not: what
    has just been replaced, or serves nobody yet. To its controller they are all alike, and it would take the former.

    Not while it replaces pods already: what changes then may be what mends them.
    """
    pool, serving = world.own_deployment(Role.POOL), servings(world)
    if pool is None or pool.rolls:
        return False
    due = [pod for pod in world.pool if pod.role is Role.SERVING and pod.cycle in serving]
    return bool(due) and any(pod.ready and pod not in due for pod in world.pool)


def _has_deployment(world: World, number: int) -> bool:
    """Unless in place; after a change to it until the pool answers in its stead.

    A candidate that is taken back gets no more pods of the pool: its own go when they have drained, like any others.
    """
    if not capacity.in_place(world.spec):
        return True
    lent = sum(world.answers_from_pool(pod) for pod in world.pool if pod.cycle == number)
    due = capacity.targets(world, servings(world)).get(number, 0)
    is_needed = number == _withdrawn(world) or lent < max(1, due)
    return world.own_deployment(Role.SERVING, number) is not None and is_needed


def _config(world: World, name: str, weights: WeightsRef | None, max_tokens: int) -> ServingConfig:
    serving = world.spec.serving
    return ServingConfig(
        revision=name,
        weights=weights,
        max_tokens=max_tokens,
        max_rewrites=serving.max_rewrites,
        request_timeout_seconds=float(seconds(serving.request_timeout)),
    )


def _cycle_pods(world: World) -> list[Wanted]:
    """Pods that exist only while they work, so that GPUs are free between cycles."""
    cycle, back = world.status.cycle, _brought_back(world)
    if world.status.rollback and back and world.status.rollback.switched:
        record = recording.as_served(world)
        return [*recording.writers(world, back.revision, world.status.rollback.attempt, record)]
    if cycle is None:
        return []
    match world.status.state:
        case State.BOOTSTRAPPING | State.PREPARING:
            asked = any(stage.incumbent for stage in world.status.stages) and world.status.state is State.BOOTSTRAPPING
            if refusal(world) or asked:
                return []
            storage = retention.storage_order(world)
            return [WantedPod(Role.PREPARE, cycle.number, cycle.attempt, prepare=prepare_order(world), storage=storage)]
        case State.TRAINING:
            return [*_trainers(world, cycle), *_samplers(world, cycle)]
        case State.GATING:
            return _samplers(world, cycle)
        case State.PROMOTING:
            return [*recording.writers(world, cycle.number, cycle.attempt, recording.promotion(world, cycle))]
        case State.WITHDRAWING if cycle.restore_record:
            return [*recording.writers(world, cycle.number, cycle.attempt, recording.as_served(world))]
        case _:
            return []


def _trainers(world: World, cycle: Cycle) -> list[Wanted]:
    replicas = world.spec.training.trainer.replicas
    meeting: list[Wanted] = [WantedMeeting()] if replicas > 1 else []
    return meeting + [WantedPod(Role.TRAINER, cycle.number, number) for number in range(replicas)]


def _samplers(world: World, cycle: Cycle) -> list[Wanted]:
    weights = restarting.wanted_weights(world)
    return [
        WantedPod(Role.SAMPLER, cycle.number, index, weights=weights)
        for index in range(world.spec.training.samplers.replicas)
    ]


def _revisions(world: World) -> list[Wanted]:
    """The running cycle's revision, once it has a verdict; older ones exist already and never change."""
    cycle = world.status.cycle
    if not (cycle and cycle.candidate and cycle.gate):
        return []
    spec = RewriterRevisionSpec(
        release_name=world.release.name,
        revision=cycle.number,
        weights=cycle.candidate.weights,
        chosen_because=validating.why(world.spec, cycle.phases),
        parent=cycle.start.version if cycle.start else "",
        spec_digest=cycle.spec_digest,
        reward_revision=cycle.reward_revision,
        fusion_sha256=cycle.fusion_sha256,
        relevance_model=cycle.relevance_model,
        data_digests=cycle.data_digests,
        phases=[
            RevisionPhase(
                number=phase.number,
                version=phase.weights.version,
                metrics=phase.metrics,
                validation=phase.validation,
            )
            for phase in cycle.phases
        ],
        gate=cycle.gate,
        compared_with=serving_name(cycle.compared_with),
    )
    return [WantedRevision(spec)]


def _withdrawn(world: World) -> int | None:
    """Kept on the route while the withdrawal is under way, so that a crash in between is seen."""
    cycle = world.status.cycle
    if world.status.state is State.WITHDRAWING and cycle and cycle.candidate:
        return cycle.candidate.revision
    return None
