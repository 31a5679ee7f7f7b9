"""A release as a tree for people: state, cycle, phases, gate, stages, history. Pure: values in, branches out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rewriter_operator.api.release import Step
from rewriter_operator.api.status import (
    Cycle,
    GateResult,
    MetricVerdict,
    Outcome,
    RewriterReleaseStatus,
    StageStatus,
)
from rewriter_operator.core import intents, kept_up, metric_looks
from rewriter_operator.core.decision import serving_name
from rewriter_operator.core.world import World

GOOD: Final = "green"
BAD: Final = "red"
BUSY: Final = "yellow"
PLAIN: Final = ""

HISTORY_SHOWN: Final = 5

_TONES: Final[dict[MetricVerdict | None, str]] = {MetricVerdict.INSIDE: GOOD, MetricVerdict.OUTSIDE: BAD}


@dataclass(frozen=True)
class Branch:
    """One line, and what hangs below it."""

    text: str
    tone: str = PLAIN
    below: "tuple[Branch, ...]" = ()


def tree(world: World) -> Branch:
    """The whole release."""
    status = world.status
    head = f"{world.release.name}  {status.state}" + (f"  {status.message}" if status.message else "")
    parts = (*_warnings(world), *_cycle(world), _stages(world), *_kept(world), *_history(status), *_volume(status))
    return Branch(head, _state_tone(status), parts)


def lines(branch: Branch, lead: str = "", rest: str = "") -> Iterator[str]:
    """The tree as plain text."""
    yield lead + branch.text
    for index, item in enumerate(branch.below):
        last = index == len(branch.below) - 1
        yield from lines(item, rest + ("`-- " if last else "|-- "), rest + ("    " if last else "|   "))


def gate_branch(gate: GateResult) -> Branch:
    """The verdict with every finding."""
    tone = {"Pass": GOOD, "Fail": BAD}.get(gate.verdict, BUSY)
    below = tuple(Branch(text, _finding_tone(text)) for text in gate.findings)
    return Branch(f"gate: {gate.verdict}: {gate.summary}", tone, below)


def _state_tone(status: RewriterReleaseStatus) -> str:
    truth = {item.type: item.status for item in status.conditions}
    if truth.get("Stalled") == "True" or truth.get("Ready") == "False":
        return BAD
    return BUSY if truth.get("Reconciling") == "True" else GOOD


def _finding_tone(text: str) -> str:
    return BAD if text.startswith("Fail") else BUSY if text.startswith("Inconclusive") else PLAIN


def _volume(status: RewriterReleaseStatus) -> Iterator[Branch]:
    if status.retention and status.retention.message:
        yield Branch(f"volume: {status.retention.message}")


def _warnings(world: World) -> Iterator[Branch]:
    for item in world.status.conditions:
        if item.type == "Stalled" and item.status == "True":
            yield Branch(f"stalled: {item.reason}: {item.message}", BAD)
        if item.type == "GoldKept" and item.status == "False":
            yield Branch(f"gold decays: {item.message}", BUSY)
    if world.status.change:
        yield Branch(f"queued: {world.status.change}", BUSY)
    if world.status.notice:
        yield Branch(f"notice: {world.status.notice}", BUSY)


def _cycle(world: World) -> Iterator[Branch]:
    cycle = world.status.cycle
    if cycle is None:
        due = world.status.next_cycle_at
        yield Branch("no cycle runs" + (f"; the next one is due {due}" if due else ""))
        return
    below = [*_phases(world, cycle)]
    if cycle.gate:
        below.append(gate_branch(cycle.gate))
        if intents.awaited_decision(world):
            how = f"kubectl rewriter approve {world.release.name} gate -n {world.release.namespace}"
            below.append(Branch(f"waits for you: {how}", BUSY))
        if intents.awaited_promotion(world):
            how = f"kubectl rewriter approve {world.release.name} promotion -n {world.release.namespace}"
            below.append(Branch(f"waits for you: {how}", BUSY))
    elif cycle.gate_side:
        below.append(Branch(f"gate: evidence of the {cycle.gate_side}", BUSY))
    started = datetime.fromtimestamp(cycle.started_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    outcome = f", ends as {cycle.outcome}: {cycle.message}" if cycle.outcome else ""
    yield Branch(f"cycle {cycle.number}: {cycle.trigger}, since {started}{outcome}", BUSY, tuple(below))


def _phases(world: World, cycle: Cycle) -> Iterator[Branch]:
    of = world.spec.training.phases
    for done in cycle.phases[-10:]:
        validated = ((f"validation {name}", value) for name, value in sorted(done.validation.items()))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in [*sorted(done.metrics.items()), *validated])
        yield Branch(
            f"phase {done.number} of {of}: {done.weights.version}, {done.seconds:.0f} s"
            + (f", {shown}" if shown else "")
        )
    if cycle.phase:
        told = f": {cycle.phase.progress}" if cycle.phase.progress else ""
        yield Branch(f"phase {cycle.phase.number} of {of}: {cycle.phase.step}{told}", BUSY)


def _stages(world: World) -> Branch:
    limits = world.spec.rollout.limits
    judged = (
        f"limits: errors <= {limits.max_error_rate:g}, p95 <= {limits.max_p95_latency_ms} ms, "
        f"empty <= {limits.max_empty_rate:g}"
    )
    awaited = {stage.name: value for value, stage in intents.awaited_approvals(world).items()}
    below = tuple(_stage(world, stage, awaited.get(stage.name, "")) for stage in world.status.stages)
    return Branch(f"stages ({judged})", PLAIN, below)


def _stage(world: World, stage: StageStatus, awaited: str) -> Branch:
    serves = f"{stage.name}: {serving_name(stage.incumbent)}"
    cycle = world.status.cycle
    if not (cycle and cycle.candidate and (stage.share or stage.step_at)):
        return Branch(serves)
    observed = "unknown" if stage.observed_share is None else f"{stage.observed_share:.1f} %"
    plan = next((item.steps for item in world.spec.rollout.stages if item.name == stage.name), [])
    at = (
        f"step {stage.step + 1} of {len(plan)} ({_step(plan[stage.step])})"
        if stage.step < len(plan)
        else "all steps done"
    )
    has = f"has {stage.share} % set, {observed} observed on {stage.requests} requests"
    if stage.shadow is not None:
        has = f"gets copies of {stage.shadow.percent} % and answers nobody, {stage.shadow.requests} mirrored requests"
    text = f"{serves}; {serving_name(cycle.candidate)} {has}; {at}" + (f": {stage.message}" if stage.message else "")
    how = f"kubectl rewriter approve {world.release.name} {stage.name} -n {world.release.namespace}"
    below = [Branch(f"waits for you: {how}", BUSY)] if awaited else []
    below += [Branch(f"metric {metric_looks.shown(item)}", _TONES.get(item.verdict, BUSY)) for item in stage.metrics]
    return Branch(text, GOOD if stage.verified else BUSY, tuple(below))


def _kept(world: World) -> Iterator[Branch]:
    kept = kept_up.told(world.spec, world.status)
    if kept:
        yield Branch(f"{kept}: kubectl rewriter rollback-to {world.release.name} REVISION loads no model")


def _step(step: Step) -> str:
    if step.set_share is not None:
        return f"setShare {step.set_share}"
    if step.pause is not None:
        return f"pause {step.pause.duration}" if step.pause.duration else "pause until approved"
    if step.shadow is not None:
        return f"shadow of {step.shadow.percent} % for {step.shadow.duration}"
    assert step.analysis is not None
    return f"analysis of {step.analysis.min_requests} requests"


def _history(status: RewriterReleaseStatus) -> Iterator[Branch]:
    shown = status.history[:HISTORY_SHOWN]
    if shown:
        below = tuple(
            Branch(
                f"cycle {item.number}: {item.outcome} {item.finished_at}: {item.message}",
                GOOD if item.outcome is Outcome.PROMOTED else PLAIN,
            )
            for item in shown
        )
        yield Branch("history", PLAIN, below)
