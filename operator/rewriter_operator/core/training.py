"""TRAINING: the phases. Sync the samplers, sample and score, train, publish; then the next phase, one sync each.

Every question is asked of the pods anew, so a pod that restarted is simply told again: work has the same path, and
files that are already on the volume are found there. This module never sees a tensor.
"""

from rewriter_contract import volume, wire
from rewriter_contract.messages import (
    FusionTerm,
    GenerationConfig,
    LoadState,
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    RewardConfig,
    SamplesOrder,
    Selection,
    ShardRef,
    WeightsOrder,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.status import Phase, PhaseResult, PhaseStep, Serving, Shard, Stalls, Weights
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import reported, stalls
from rewriter_operator.core.decision import Note, OrderToPod, Removal, Step
from rewriter_operator.core.recipe import recipe_of
from rewriter_operator.core.reward import reward_config
from rewriter_operator.core.states import Event
from rewriter_operator.core.world import Pod, Role, World

KEPT_METRICS = 20
"""Phases whose metrics stay in status; the volume has all of them."""

PROGRESS_SECONDS = 10
"""Between two writes of progress into status."""

RETRY_SECONDS = 15
"""Between two tries of work or of a sync that failed."""

SYNC_TRIES_SECONDS = 90
"""A version that samplers still refuse after this long ends the cycle: the files are bad, not the moment."""


def train(world: World) -> Step:
    """The next step of the phase that runs."""
    cycle = world.status.cycle
    assert cycle and cycle.start
    phase = cycle.phase
    if phase is None:
        return _to(
            world, Phase(number=1, step=PhaseStep.SYNCING, weights=cycle.start, started_at=world.now, since=world.now)
        )
    overdue = world.now - phase.started_at > seconds(world.spec.training.phase_deadline)
    if overdue:
        message = (
            f"phase {phase.number} took longer than spec.training.phaseDeadline {world.spec.training.phase_deadline}"
        )
        return broke(world, "PhaseDeadlineExceeded", message)
    stalled = stalls.trouble(world)
    if stalled is not None:
        return stalled
    return {PhaseStep.SYNCING: _sync, PhaseStep.SAMPLING: _sample, PhaseStep.TRAINING: _optimise}[phase.step](
        world, phase
    )


def sync(world: World, weights: Weights, since: float) -> Step | None:
    """Bring all samplers to `weights`; None once they all run it."""
    for index in range(world.spec.training.samplers.replicas):
        state = world.samplers.get(index)
        if state is None:
            pod = _sampler(world, index)
            return waiting(world, f"waiting for sampler {index}" + (f": {pod.message}" if pod and pod.message else ""))
        if state.state is LoadState.READY and state.weights == WeightsRef(weights.version, weights.digest):
            continue
        if state.state is LoadState.LOADING:
            return waiting(world, f"sampler {index} loads {weights.version}")
        refused = bool(state.message)
        if refused and world.now - since > SYNC_TRIES_SECONDS:
            return broke(world, "SyncFailed", f"sampler {index} refused {weights.version}: {state.message}")
        if refused and int(world.now - since) % RETRY_SECONDS > 2:
            return waiting(world, f"sampler {index} refused {weights.version}: {state.message}")
        order = WeightsOrder(version=weights.version, digest=weights.digest)
        return Step(world.status, order=OrderToPod(Role.SAMPLER, index, "/v1/weights", order))
    return None


def waiting(world: World, message: str) -> Step:
    """Nothing to do but look again; the message is for people, and written seldom enough."""
    status = world.status
    return Step(status if status.message == message else evolve(status, message=message[:1024]))


def broke(world: World, reason: str, message: str) -> Step:
    """End the cycle as Failed."""
    status = cycles.enter(world.status, Event.BROKE, world.now, reason, message)
    return Step(status, notes=(Note(reason, message, warning=True),))


def failed_pod(world: World, role: Role) -> tuple[Removal, ...]:
    """Pods of `role` that ended by themselves: removed, so that they are made anew, but not one after the other."""
    return tuple(
        Removal("Pod", pod.name, pod.uid, f"{pod.name} ended: {pod.message}"[:300])
        for pod in world.pods(role)
        if pod.phase in ("Failed", "Succeeded")
        and not pod.deleting
        and world.now - pod.created_at >= RETRY_SECONDS  # a node that refuses its pods does so within a second
    )


def cycle_reward(world: World) -> RewardConfig:
    """The cycle's reward, exactly as it was when the cycle was prepared."""
    cycle = world.status.cycle
    assert cycle is not None
    terms = wire.loads(tuple[FusionTerm, ...], cycle.fusion, "status.cycle.fusion")
    return reward_config(world.spec.reward, terms, cycle.reward_revision, world.release.namespace)


def _sampler(world: World, index: int) -> Pod | None:
    cycle = world.status.cycle
    return world.pod(Role.SAMPLER, cycle.number, index) if cycle else None


def _to(world: World, phase: Phase, *notes: Note) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    message = f"phase {phase.number} of {world.spec.training.phases}: {phase.step.lower()}"
    return Step(evolve(world.status, cycle=evolve(cycle, phase=phase), message=message), notes=notes)


def _sync(world: World, phase: Phase) -> Step:
    step = sync(world, phase.weights, phase.since)
    if step is not None:
        return step
    if phase.number > world.spec.training.phases:
        return _trained(world, phase)
    return _to(world, evolve(phase, step=PhaseStep.SAMPLING, since=world.now))


def _trained(world: World, phase: Phase) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    candidate = Serving(revision=cycle.number, weights=phase.weights, recipe=recipe_of(world.spec))
    done = evolve(cycle, phase=None, candidate=candidate, gate_side="candidate", stalls=Stalls())
    message = f"{len(cycle.phases)} phases done; candidate is {phase.weights.version}"
    status = cycles.enter(evolve(world.status, cycle=done), Event.TRAINED, world.now)
    return Step(status, notes=(Note("Trained", message),))


def _sample(world: World, phase: Phase) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    shards: list[Shard] = []
    reports: list[WorkReport] = []
    for index in range(world.spec.training.samplers.replicas):
        path = f"/v1/samples/{cycle.number}/{phase.number}/{index}"
        report = world.works.get(path)
        if report is None or report.state is WorkState.FAILED:
            step = _order_samples(world, phase, index, path, report)
            if step is not None:
                return step
        if report is not None:
            reports.append(report)
            shard = reported.shard(report.shard) if report.state is WorkState.DONE else None
            if shard is not None:
                shards.append(shard)
    if len(shards) == world.spec.training.samplers.replicas:
        return _to(
            world, evolve(phase, step=PhaseStep.TRAINING, since=world.now, shards=shards, progress="", progress_at=0)
        )
    return _progress(world, phase, "sampled", reports)


def _order_samples(world: World, phase: Phase, index: int, path: str, report: WorkReport | None) -> Step | None:
    """Order a shard of samples; None when the sampler must be given time."""
    synced = sync(world, phase.weights, phase.since)
    if synced is not None:  # a sampler restarted: it needs its weights before it may sample
        return synced
    if report is not None:
        if world.now - phase.since > seconds(world.spec.training.stall_timeout):
            return broke(world, "SamplingFailed", f"sampler {index}: {report.message}")
        if world.now - report.heartbeat_at < RETRY_SECONDS:
            return waiting(world, f"sampling failed and is tried again: {report.message}")
    elif path not in world.unknown_works:
        return waiting(world, f"sampler {index} does not answer")
    return Step(world.status, order=OrderToPod(Role.SAMPLER, index, path, samples_order(world, phase, index)))


def samples_order(world: World, phase: Phase, index: int) -> SamplesOrder:
    """What sampler `index` draws in this phase."""
    cycle, spec = world.status.cycle, world.spec
    assert cycle is not None
    sampling = spec.training.sampling
    return SamplesOrder(
        weights=WeightsRef(phase.weights.version, phase.weights.digest),
        requests_file=spec.data.train,
        requests_sha256=cycle.data_digests["train"],
        corpus_file=spec.data.corpus,
        selection=Selection(
            seed=spec.training.seed + cycle.number,
            offset=(phase.number - 1) * sampling.queries_per_phase,
            count=sampling.queries_per_phase,
            shard=index,
            shards=spec.training.samplers.replicas,
        ),
        generation=GenerationConfig(
            n=sampling.samples_per_query,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=spec.training.seed + 1000 * cycle.number + phase.number,
        ),
        reward=cycle_reward(world),
        out=volume.samples_file(cycle.number, phase.number, index),
    )


def _optimise(world: World, phase: Phase) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    path = f"/v1/phases/{cycle.number}/{phase.number}"
    report = world.works.get(path)
    if report is None:
        if path in world.unknown_works:
            return Step(world.status, order=OrderToPod(Role.TRAINER, 0, path, phase_order(world, phase)))
        pod = world.pod(Role.TRAINER, cycle.number)
        return waiting(world, "waiting for the trainer" + (f": {pod.message}" if pod and pod.message else ""))
    if report.state is WorkState.FAILED:
        return broke(world, "TrainingFailed", f"phase {phase.number}: {report.message}")
    weights = reported.weights(report.weights) if report.state is WorkState.DONE else None
    if weights is not None:
        return _published(world, phase, report, weights)
    return _progress(world, phase, "trained", [report])


def phase_order(world: World, phase: Phase) -> PhaseOrder:
    """What the trainer learns in this phase."""
    cycle, training = world.status.cycle, world.spec.training
    assert cycle and cycle.start
    base = WeightsRef(phase.weights.version, phase.weights.digest)
    start = WeightsRef(cycle.start.version, cycle.start.digest)
    stop = world.spec.model.prompt.stop
    return PhaseOrder(
        base=base,
        reference=base if training.reference == "PhaseStart" else start,
        samples=tuple(ShardRef(path=shard.path, rows=shard.rows, sha256=shard.sha256) for shard in phase.shards),
        pairs=PairsConfig(**dict(training.pairs)),
        mpo=MpoConfig(**dict(training.mpo)),
        optimizer=OptimizerConfig(**dict(training.optimizer)),
        dtype=world.spec.model.dtype,
        seed=training.seed + 1000 * cycle.number + phase.number,
        reward_revision=cycle.reward_revision,
        out_version=volume.weights_version(cycle.number, phase.number),
        stop=stop[0] if stop else "",
    )


def _published(world: World, phase: Phase, report: WorkReport, weights: Weights) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    result = PhaseResult(
        number=phase.number,
        weights=weights,
        seconds=round(world.now - phase.started_at, 1),
        metrics=reported.metrics(report.metrics),
    )
    older = [item if item.number > phase.number - KEPT_METRICS else evolve(item, metrics={}) for item in cycle.phases]
    following = Phase(
        number=phase.number + 1, step=PhaseStep.SYNCING, weights=weights, started_at=world.now, since=world.now
    )
    status = evolve(world.status, cycle=evolve(cycle, phases=[*older, result], phase=following, stalls=Stalls()))
    note = Note("PhaseDone", f"cycle {cycle.number} phase {phase.number} published {weights.version}")
    return Step(status, notes=(note,))


def _progress(world: World, phase: Phase, verb: str, reports: list[WorkReport]) -> Step:
    progress = reported.progress(verb, reports)
    if progress == phase.progress or world.now - phase.progress_at < PROGRESS_SECONDS:
        return Step(world.status)
    cycle = world.status.cycle
    assert cycle is not None
    told = evolve(phase, progress=progress, progress_at=world.now)
    message = f"phase {phase.number} of {world.spec.training.phases}: {progress or phase.step.lower()}"
    return Step(evolve(world.status, cycle=evolve(cycle, phase=told), message=message))
