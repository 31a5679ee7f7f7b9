"""BOOTSTRAPPING and PREPARING: is everything there that the release needs? Ask the API server first, then a pod.

Nothing is half-created: no GPU pod exists before the prepare pod found no problem. The prepare pod runs once per
attempt and answers through its termination message, because the operator never mounts the volume.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from rewriter_contract import wire
from rewriter_contract.messages import PASSTHROUGH, PrepareOrder, PrepareResult, StorageResult
from rewriter_operator.api.conditions import ConditionType, Reason, set_condition
from rewriter_operator.api.model import evolve
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Cycle, Recipe, RewriterReleaseStatus, Serving, StageStatus, Weights
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import intents, reported, retention, schedule, windows
from rewriter_operator.core.begun_spec import learnt_digest, spec_digest
from rewriter_operator.core.decision import Note, Step
from rewriter_operator.core.recipe import recipe_of
from rewriter_operator.core.reward import expression_problem, fusion_sha256, health_base, reward_revision
from rewriter_operator.core.states import Event
from rewriter_operator.core.world import Role, World

_TOLD_BY_API = (
    Reason.INVALID_SPEC,
    Reason.INVALID_SCHEDULE,
    Reason.CLAIM_MISSING,
    Reason.CLAIM_NOT_SHARED,
    Reason.FUSION_MISSING,
    Reason.FUSION_INVALID,
    Reason.EXPRESSION_INVALID,
)
"""Reasons of `refusal`."""

ASKS_ITSELF = (State.BOOTSTRAPPING, State.IDLE, State.PREPARING)
"""States that look for a refusal of their own, which holds them up."""

RETRY_SECONDS = 20
"""Between two prepare pods: what was missing may have come, and 60 s is what users are promised."""

DECISION_SECONDS = 60
"""For what is kept on the volume to be in status. A CRD from before that field never stores it: the cycle then goes on
without removing anything."""

MAX_FUSION = 4096
"""Characters of the fusion's constants, which are kept in status for the whole cycle."""


@dataclass(frozen=True)
class Refusal:
    """Why the release cannot go on, as a condition shows it."""

    reason: str
    message: str
    storage: StorageResult | None = None
    """What the prepare pod did to the volume all the same."""


def refusal(world: World) -> Refusal | None:
    """What the API server alone can tell to be missing or wrong."""
    volume = world.spec.volume
    if problem := _refusal_of(world.spec, world.now):
        return problem
    if world.claim is None:
        message = f"spec.volume.claimName: PersistentVolumeClaim {volume.claim_name!r} does not exist; create it"
        return Refusal(Reason.CLAIM_MISSING, message)
    if "ReadWriteMany" not in world.claim.access_modes:
        modes = ", ".join(world.claim.access_modes)
        message = (
            f"spec.volume.claimName: {volume.claim_name!r} is {modes}; trainer, samplers and serving need ReadWriteMany"
        )
        return Refusal(Reason.CLAIM_NOT_SHARED, message)
    fusion = world.spec.reward.fusion
    if world.fusion is None:
        message = f"spec.reward.fusion: no ConfigMap {fusion.config_map_name!r} with key {fusion.key!r}; create it"
        return Refusal(Reason.FUSION_MISSING, message)
    if world.fusion.problem:
        return Refusal(Reason.FUSION_INVALID, f"spec.reward.fusion: {world.fusion.problem}")
    if len(wire.dumps(world.fusion.terms)) > MAX_FUSION:
        message = f"spec.reward.fusion: the constants take more than {MAX_FUSION} characters; name fewer stages"
        return Refusal(Reason.FUSION_INVALID, message)
    return None


def _refusal_of(spec: RewriterReleaseSpec, now: float) -> Refusal | None:
    """What the spec alone shows to be wrong."""
    try:
        if spec.schedule:
            schedule.check(spec.schedule, now)
        windows.check(spec.rollout, now)
    except schedule.ScheduleInvalid as error:
        return Refusal(Reason.INVALID_SCHEDULE, str(error))
    problem = expression_problem(spec.reward)
    return Refusal(Reason.EXPRESSION_INVALID, problem) if problem else None


def bootstrap(world: World) -> Step:
    """A new release: find out what serves first. Promoted weights on the volume win over everything in the spec."""
    status = world.status
    if status.cycle is None:
        started = Cycle(
            number=0,
            trigger="Created",
            started_at=world.now,
            spec_digest=spec_digest(world.spec),
            since=world.now,
            attempt_at=world.now,
        )
        stages = [StageStatus(name=stage.name) for stage in world.spec.rollout.stages]
        return Step(intents.seen(world, evolve(status, cycle=started, stages=stages)))
    if any(stage.incumbent for stage in status.stages):
        return _serve_first(world)
    answer = _ask(world)
    if isinstance(answer, Step):
        return answer
    status = retention.answered(_accepted(world, status), reported.storage(answer.storage))
    status = evolve(status, last_cycle_number=max(status.last_cycle_number, answer.last_cycle))
    if answer.promoted and answer.promoted.revision > 0:  # 0: it says that nothing was promoted
        return Step(_restored(world, status, answer))
    if world.spec.bootstrap == "BaseModel" and answer.base:
        weights = Weights(version=answer.base.version, digest=answer.base.digest)
        base = Serving(revision=0, weights=weights, recipe=recipe_of(world.spec))
        return Step(evolve(status, stages=[evolve(stage, incumbent=base) for stage in status.stages]))
    return Step(cycles.enter(status, Event.SERVED, world.now))


def prepare(world: World) -> Step:
    """A cycle's start: the same questions again, and the digests that the whole cycle will hold on to."""
    answer = _ask(world)
    if isinstance(answer, Step):
        return answer
    status, cycle = _accepted(world, world.status), world.status.cycle
    status = retention.answered(status, reported.storage(answer.storage))
    assert cycle and answer.base and world.fusion
    incumbent = next((stage.incumbent for stage in status.stages if stage.incumbent), None)
    base = Weights(version=answer.base.version, digest=answer.base.digest)
    from_incumbent = world.spec.training.start_from == "Incumbent" and incumbent
    prepared = evolve(
        cycle,
        fusion=wire.dumps(world.fusion.terms),
        fusion_sha256=fusion_sha256(world.fusion.terms),
        reward_revision=reward_revision(world.spec.reward, world.fusion.terms, answer.relevance_model),
        relevance_model=answer.relevance_model,
        contract=cycles.CONTRACT,
        data_digests=answer.data_digests,
        gate_queries=max(answer.gate_queries, 0),
        start=from_incumbent.weights if from_incumbent else base,
        compared_with=incumbent,
    )
    note = Note(
        "Prepared",
        f"cycle {cycle.number}: {answer.train_queries} training queries, {answer.gate_queries} gate queries, "
        f"relevance model {answer.relevance_model}",
    )
    notes = (note, *retention.notes(world.status, status))
    return Step(cycles.enter(evolve(status, cycle=prepared), Event.PREPARED, world.now), notes=notes)


def prepare_order(world: World) -> PrepareOrder:
    """What the prepare pod is to check and import."""
    spec, cycle = world.spec, world.status.cycle
    assert cycle is not None
    namespace = world.release.namespace
    return PrepareOrder(
        cycle=cycle.number,
        model_path=spec.model.path,
        dtype=spec.model.dtype,
        data_files=spec.data.to_api(),
        services={
            "relevance": health_base(spec.reward.relevance, namespace),
            "search": health_base(spec.gate.search, namespace),
        },
        health_path="/healthz",
        resolved_spec=wire.dumps(spec.to_api()),
        seed=spec.training.seed,
        models_path=None if spec.reward.relevance.api == "Batch" else "/v1/models",
    )


def _ask(world: World) -> PrepareResult | Step:
    """The prepare pod's answer, or the step that waits for one."""
    status, cycle = world.status, world.status.cycle
    assert cycle is not None
    missing = refusal(world)
    if missing:
        return Step(refused(world, status, missing), wait_seconds=5)
    decided = retention.ordered(world)
    if decided != status and world.now - cycle.attempt_at < DECISION_SECONDS:
        return Step(_asked_anew(world, decided), wait_seconds=1)  # in status before the pod exists that acts on it
    pod = world.pod(Role.PREPARE, cycle.number, cycle.attempt)
    if pod is None or pod.phase not in ("Succeeded", "Failed"):
        waiting = f": {pod.message}" if pod and pod.message else ""
        message = f"checking data, model and services{waiting}"[:1024]
        return Step(evolve(_asked_anew(world, status), message=message), wait_seconds=1)
    result = _result(pod.message, pod.exit_code, world.spec.data.to_api())
    if isinstance(result, Refusal):
        again = evolve(cycle, attempt=cycle.attempt + 1, attempt_at=world.now)
        retry = world.now - cycle.attempt_at >= RETRY_SECONDS
        told = retention.answered(refused(world, status, result), result.storage)
        notes = retention.notes(status, told)
        return Step(evolve(told, cycle=again) if retry else told, notes=notes, wait_seconds=2)
    return result


def _result(message: str, exit_code: int | None, data_files: Collection[str]) -> PrepareResult | Refusal:
    if exit_code != 0:
        return Refusal("PrepareFailed", f"the prepare pod ended with exit code {exit_code}: {message[-600:]}")
    try:
        result = wire.loads(PrepareResult, message)
    except wire.WireError as error:
        return Refusal("PrepareFailed", f"the prepare pod's answer cannot be read: {error}")
    if result.problems:
        text = "; ".join(problem.message for problem in result.problems)
        return Refusal(_condition_reason(result.problems[0].reason), text[:1000], reported.storage(result.storage))
    fault = reported.prepare_fault(result, data_files)
    return Refusal("PrepareFailed", f"the prepare pod's answer cannot be used: {fault}") if fault else result


def _condition_reason(reason: str) -> str:
    """A pod's reason, where the API server would take it as one."""
    return reason if re.fullmatch(r"[A-Za-z]\w{0,63}", reason, re.ASCII) else "PrepareFailed"


def refused(world: World, status: RewriterReleaseStatus, refusal: Refusal) -> RewriterReleaseStatus:
    """The status that says why the release cannot go on."""
    conditions = set_condition(
        status.conditions,
        ConditionType.ACCEPTED,
        False,
        refusal.reason,
        refusal.message,
        world.release.generation,
        world.now,
    )
    return evolve(status, conditions=conditions, message=refusal.message[:1024])


def foreseen(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """While a cycle runs: what its spec, as it is written now, will be refused for is told now, and not in hours.

    The cycle goes on: it has what it needs, and only the next one needs the change.
    """
    if status.state in ASKS_ITSELF:
        return status
    accepted = next((item for item in status.conditions if item.type == ConditionType.ACCEPTED), None)
    if accepted and accepted.status != "False" and accepted.observed_generation == world.release.generation:
        return status
    problem = _refusal_of(world.release.spec, world.now)
    if problem:
        return evolve(refused(world, status, problem), message=status.message)
    return mended(world, status)


def mended(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """Between cycles: what `refusal` said no to, and does not any more, is accepted without waiting for a cycle."""
    accepted = next((item for item in status.conditions if item.type == ConditionType.ACCEPTED), None)
    if accepted and accepted.status == "False" and accepted.reason in _TOLD_BY_API and refusal(world) is None:
        return _accepted(world, status)
    return status


def _asked_anew(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """What the API server missed is there; whether all else is, the prepare pod will say, which may take its time."""
    accepted = next((item for item in status.conditions if item.type == ConditionType.ACCEPTED), None)
    if not (accepted and accepted.status == "False" and accepted.reason in _TOLD_BY_API):
        return status
    conditions = set_condition(
        status.conditions,
        ConditionType.ACCEPTED,
        None,
        Reason.PREPARING,
        "what the cluster has to have is there; data, model and services are being checked",
        world.release.generation,
        world.now,
    )
    return evolve(status, conditions=conditions)


def _accepted(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    conditions = set_condition(
        status.conditions,
        ConditionType.ACCEPTED,
        True,
        Reason.ACCEPTED,
        "everything that the spec names is there",
        world.release.generation,
        world.now,
    )
    return evolve(status, conditions=conditions)


def _restored(world: World, status: RewriterReleaseStatus, answer: PrepareResult) -> RewriterReleaseStatus:
    """The incumbents that promoted.json names; cycles are numbered on from there, and the spec counts as seen."""
    record = answer.promoted
    assert record is not None
    recipe = Recipe.model_validate_json(record.recipe) if record.recipe else recipe_of(world.spec)
    newest = next(ref for ref in record.stages.values() if ref.version != PASSTHROUGH)
    stages = []
    for stage in status.stages:
        ref = record.stages.get(stage.name, newest)
        if ref.version != PASSTHROUGH:
            weights = Weights(version=ref.version, digest=ref.digest)
            serving = Serving(revision=record.revision, weights=weights, recipe=recipe)
            stage = evolve(stage, incumbent=serving)
        stages.append(stage)
    return evolve(
        status,
        stages=stages,
        last_cycle_number=max(status.last_cycle_number, record.revision),
        last_spec_digest=spec_digest(world.spec),
        last_learnt_digest=learnt_digest(world.spec),
    )


def _serve_first(world: World) -> Step:
    """Wait for the first incumbent's pods; until then the passthrough answers."""
    serving = next(stage.incumbent for stage in world.status.stages if stage.incumbent)
    deployment = world.deployment(Role.SERVING, serving.revision)
    if deployment and deployment.answering:
        return Step(cycles.enter(world.status, Event.SERVED, world.now))
    return Step(evolve(world.status, message=f"waiting for the serving pods of revision {serving.revision}"))
