"""TRAINING: the phases. Sync the samplers, sample and score, train, publish; then the next phase, one sync each.

With validation queries, what a phase published is measured right after that sync, and the best of all becomes the
candidate (validating.py).

Every question is asked of the pods anew, so a pod that restarted is simply told again: work has the same path, and
files that are already on the volume are found there. This module never sees a tensor.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from rewriter_contract import volume
from rewriter_contract.messages import (
    GenerationConfig,
    LoraConfig,
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    SamplesOrder,
    Selection,
    ShardRef,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.status import Phase, PhaseResult, PhaseStep, Serving, Stalls, Weights
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import reported, slow_shards, stalls, trainers, validating
from rewriter_operator.core.decision import Note, OrderToPod, Step
from rewriter_operator.core.recipe import recipe_of
from rewriter_operator.core.samplers import Ask, broke, cycle_reward, sync, waiting, work_of_all
from rewriter_operator.core.states import Event
from rewriter_operator.core.world import Role, World

KEPT_METRICS = 20
"""Phases whose metrics stay in status; the volume has all of them."""

PROGRESS_SECONDS = 10
"""Between two writes of progress into status."""


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
    return _STEPS[phase.step](world, phase)


def _to(world: World, phase: Phase, *notes: Note) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    message = f"phase {phase.number} of {world.spec.training.phases}: {phase.step.lower()}"
    return Step(evolve(world.status, cycle=evolve(cycle, phase=phase), message=message), notes=notes)


def _sync(world: World, phase: Phase) -> Step:
    step = sync(world, phase.weights, phase.since)
    if step is not None:
        return step
    if validating.due(world):
        return _to(world, evolve(phase, step=PhaseStep.VALIDATING, since=world.now))
    return _onwards(world, phase)


def _onwards(world: World, phase: Phase) -> Step:
    """The samplers have what the phase before published: is there another one to train?"""
    cycle, spec = world.status.cycle, world.spec
    assert cycle is not None
    if phase.number > spec.training.phases or validating.exhausted(spec, cycle.phases):
        return _trained(world)
    return _to(world, evolve(phase, step=PhaseStep.SAMPLING, since=world.now, progress="", progress_at=0))


def _trained(world: World) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    best = validating.best(world.spec, cycle.phases)
    assert best is not None
    candidate = Serving(revision=cycle.number, weights=best.weights, recipe=recipe_of(world.spec))
    done = evolve(cycle, phase=None, candidate=candidate, gate_side="candidate", stalls=Stalls())
    why = validating.why(world.spec, cycle.phases)
    message = f"{len(cycle.phases)} phases done; candidate is {best.weights.version}" + (f": {why}" if why else "")
    status = cycles.enter(evolve(world.status, cycle=done), Event.TRAINED, world.now)
    return Step(status, notes=(Note("Trained", message),))


def _validate(world: World, phase: Phase) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    asks = validating.asks(world, phase)
    reports = work_of_all(world, phase, asks)
    if isinstance(reports, Step):
        return reports
    done = [report for report in reports if report.state is WorkState.DONE]
    if len(done) < len(asks):
        return _progress(world, phase, "validated", reports)
    results = [*cycle.phases[:-1], evolve(cycle.phases[-1], validation=validating.measured(done))]
    status = evolve(world.status, cycle=evolve(cycle, phases=results))
    return _onwards(replace(world, release=replace(world.release, status=status)), phase)


def _sample(world: World, phase: Phase) -> Step:
    replicas = world.spec.training.samplers.replicas
    shards = slow_shards.drawn(world, phase)
    if len(shards) == replicas:
        in_order = [shards[index] for index in range(replicas)]
        return _to(
            world, evolve(phase, step=PhaseStep.TRAINING, since=world.now, shards=in_order, progress="", progress_at=0)
        )
    step = slow_shards.take_over(world, phase)
    if step is not None:
        return step
    takeover = slow_shards.next_order(world, phase)
    if takeover is not None:
        number = slow_shards.second_number(world, takeover.shard)
        order = samples_order(world, phase, takeover.shard, number)
        path = slow_shards.second_path(world, takeover)
        return Step(world.status, order=OrderToPod(Role.SAMPLER, takeover.sampler, path, order))
    asks = [
        Ask(index, slow_shards.own_path(world, index), samples_order(world, phase, index, index), "sampling")
        for index in range(replicas)
        if not slow_shards.is_drawn_elsewhere(world, phase, index)
    ]
    reports = work_of_all(world, phase, asks)
    if isinstance(reports, Step):
        return reports
    return _progress(world, phase, "sampled", slow_shards.furthest(world, phase))


def samples_order(world: World, phase: Phase, shard: int, number: int) -> SamplesOrder:
    """What is drawn for `shard` in this phase, into the file of `number`."""
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
            shard=shard,
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
        out=volume.samples_file(cycle.number, phase.number, number),
    )


def _optimise(world: World, phase: Phase) -> Step:
    for report in trainers.done(world):
        weights = reported.weights(report.weights)
        if weights is not None:
            return _published(world, phase, report, weights)
    failed = trainers.failure(world)
    if failed is not None:
        reason = reported.failure(failed, "TrainingFailed")
        return broke(world, reason, f"phase {phase.number}: {failed.message}")
    silent = trainers.waited_for(world)
    if silent is not None:
        return waiting(world, silent)
    untold = trainers.untold(world)
    if untold is not None:
        number, path = untold
        return Step(world.status, order=OrderToPod(Role.TRAINER, number, path, phase_order(world, phase)))
    return _progress(world, phase, "trained", [trainers.furthest(world)])


def phase_order(world: World, phase: Phase) -> PhaseOrder:
    """What the trainer learns in this phase."""
    cycle, training = world.status.cycle, world.spec.training
    assert cycle and cycle.start
    base = WeightsRef(phase.weights.version, phase.weights.digest)
    start = WeightsRef(cycle.start.version, cycle.start.digest)
    stop = world.spec.model.prompt.stop
    recomputes = training.optimizer.activation_checkpointing or None
    return PhaseOrder(
        base=base,
        reference=base if training.reference == "PhaseStart" else start,
        samples=tuple(ShardRef(path=shard.path, rows=shard.rows, sha256=shard.sha256) for shard in phase.shards),
        pairs=PairsConfig(**dict(training.pairs)),
        mpo=MpoConfig(**dict(training.mpo)),
        optimizer=OptimizerConfig(**dict(training.optimizer) | {"activation_checkpointing": recomputes}),
        dtype=world.spec.model.dtype,
        seed=training.seed + 1000 * cycle.number + phase.number,
        reward_revision=cycle.reward_revision,
        out_version=volume.weights_version(cycle.number, phase.number),
        stop=stop[0] if stop else "",
        lora=LoraConfig(**dict(training.lora)) if training.lora else None,
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


_STEPS: Final[Mapping[PhaseStep, Callable[[World, Phase], Step]]] = {
    PhaseStep.SYNCING: _sync,
    PhaseStep.VALIDATING: _validate,
    PhaseStep.SAMPLING: _sample,
    PhaseStep.TRAINING: _optimise,
}
