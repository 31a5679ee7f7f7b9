"""GATING: gather evidence of both sides, judge, put the report on the volume, keep the verdict.

The samplers answer the held-out queries first with the candidate and then with the incumbent's weights. The judge is
core/gate.py; nothing here can turn its verdict into another one: only Pass goes on by itself. What could not be decided
may be held for a person (core/holding.py); everything else ends the cycle.
"""

from dataclasses import replace

from rewriter_contract import volume, wire
from rewriter_contract.messages import EvidenceOrder, GenerationConfig, Selection, WeightsRef, WorkState
from rewriter_contract.reports import CheckName, CheckSettings, GateReport, GateSettings, Judged, Verdict
from rewriter_contract.reports import Role as ReportRole
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import OF_DRAWS
from rewriter_operator.api.status import GateResult, Recipe, Weights
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import drift, holding, reported, restarting, stalls
from rewriter_operator.core.cycle_plan import reward_spread
from rewriter_operator.core.decision import Note, OrderToPod, Step
from rewriter_operator.core.evidence_orders import Measured, measuring
from rewriter_operator.core.gate import may_be_approved, merge, more_queries_would_tell
from rewriter_operator.core.judged_once import Case, report_on
from rewriter_operator.core.recipe import recipe_of
from rewriter_operator.core.samplers import RETRY_SECONDS, broke, sync, waiting
from rewriter_operator.core.states import Event
from rewriter_operator.core.world import Role, World

SIDES = ("candidate", "incumbent")

LATER_CHECKS = frozenset({CheckName.TRUNCATED, *OF_DRAWS})
"""Their names are not known to pods of a contract below DRAWS_FOR_THE_GATE."""

SHOWN_RESULTS = 3
"""Documents of each ranking that the gate's page shows."""


def gate(world: World) -> Step:
    """The next step towards a verdict."""
    cycle = world.status.cycle
    assert cycle is not None
    if cycle.gate is not None:
        return _decided(world)
    deadline = world.spec.training.phase_deadline
    if world.now - cycle.since > seconds(deadline):
        message = f"evidence of the {cycle.gate_side} took longer than spec.training.phaseDeadline {deadline}"
        return broke(world, "EvidenceDeadlineExceeded", message)
    stalled = stalls.trouble(world)
    if stalled is not None:
        return stalled
    for side in _next_first(world):
        if side not in world.evidence:
            return _gather(world, side)
    return _judge(world)


def is_gathered(world: World, side: str) -> bool:
    """Whether all shards of a side are on the volume, and may be read.

    The samplers say so that gathered them. With Restart those are gone once the other side is asked; then status says
    it, which never goes on to the incumbent before the candidate's rows were there.
    """
    cycle = world.status.cycle
    assert cycle is not None
    if _has_moved_on(world) and side == SIDES[0]:
        return True
    return all(_state(world, path) is WorkState.DONE for path in evidence_paths(world, side))


def _next_first(world: World) -> tuple[str, ...]:
    """The sides in the order in which they are gathered; the one that samplers were replaced for is not left again."""
    return SIDES[::-1] if _has_moved_on(world) else SIDES


def _has_moved_on(world: World) -> bool:
    cycle = world.status.cycle
    return restarting.restarts(world) and cycle is not None and cycle.gate_side == SIDES[1]


def _gather(world: World, side: str) -> Step:
    """Order the evidence of one side and wait for it."""
    cycle = world.status.cycle
    assert cycle is not None
    if cycle.gate_side != side:
        return Step(evolve(world.status, cycle=evolve(cycle, gate_side=side, since=world.now)))
    weights = _weights(world, side)
    replicas = world.spec.training.samplers.replicas
    missing = [path for path in evidence_paths(world, side) if _state(world, path) is not WorkState.DONE]
    if missing and weights is not None:
        step = sync(world, weights, cycle.since)
        if step is not None:
            return step
    for index, path in enumerate(evidence_paths(world, side)):
        report = world.works.get(path)
        order = OrderToPod(Role.SAMPLER, index % replicas, path, evidence_order(world, side, index))
        if report is None and path in world.unknown_works:
            return Step(world.status, order=order)
        if report is not None and report.state is WorkState.FAILED:
            if world.now - cycle.since > seconds(world.spec.training.stall_timeout):
                reason = reported.failure(report, "EvidenceFailed")
                return broke(world, reason, f"evidence of the {side}: {report.message}")
            if world.now - report.heartbeat_at < RETRY_SECONDS:
                return waiting(world, f"evidence of the {side} failed and is tried again: {report.message}")
            return Step(world.status, order=order)
    return waiting(world, f"gathering evidence of the {side}")


def evidence_paths(world: World, side: str) -> list[str]:
    """One call per shard, those of the first look first; shard i is sampler i's, counted round."""
    cycle = world.status.cycle
    assert cycle is not None
    shards = world.spec.training.samplers.replicas * (1 + cycle.extensions)
    return [f"/v1/evidence/{cycle.number}/{side}/{index}" for index in range(shards)]


def evidence_order(world: World, side: str, index: int) -> EvidenceOrder:
    """Shard `index` of one side: for both sides the same queries, seeds and reward, but each with its own recipe."""
    cycle, training = world.status.cycle, world.spec.training
    assert cycle is not None
    out = volume.evidence_file(cycle.number, side, index)
    look, shard = divmod(index, training.samplers.replicas)
    count = world.spec.gate.extension.queries if _extends(world) else 0
    selection = Selection(training.seed, look * count, count, shard, training.samplers.replicas)
    order = measuring(world, Measured(_weights(world, side), _recipe(world, side), "gate", out), selection)
    if cycle.contract < cycles.DRAWS_FOR_THE_GATE:
        return order
    two_models = _weights(world, "incumbent") is not None
    sampled = _sampled(world, order.generation.max_tokens)
    weighs = sampled and two_models and side == "incumbent"
    return replace(
        order,
        sampled=sampled,
        first_results=SHOWN_RESULTS,
        query_alone=(two_models and side == "candidate") or None,  # the passthrough's rankings are just that
        weigh=volume.evidence_file(cycle.number, "candidate", index) if weighs else None,
    )


def _sampled(world: World, max_tokens: int) -> GenerationConfig | None:
    """How rewrites are drawn with chance: as training draws them, for both sides alike. None: not at all."""
    spec = world.spec
    if not spec.gate.sampled_rewrites:
        return None
    sampling = spec.training.sampling
    return GenerationConfig(
        n=spec.gate.sampled_rewrites,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=max_tokens,
        seed=spec.training.seed,
    )


def report_of(world: World) -> GateReport:
    """The judge's report on the evidence that is there; the same evidence gives the same report, byte for byte."""
    spec = world.spec
    overrides = {
        check.name.value: CheckSettings(check.margin, check.min, check.max, check.disabled, check.enforced)
        for check in spec.gate.checks
    }
    looks = 1 + (spec.gate.extension.max_extensions if _extends(world) else 0)
    settings = GateSettings(
        alpha=spec.gate.alpha / looks,  # shared by all looks that there may be (Bonferroni), whether they come or not
        minimum_queries=spec.gate.minimum_queries,
        seed=spec.training.seed,
        checks=overrides,
    )
    candidate, incumbent = (merge(world.evidence[side]) for side in SIDES)
    report = report_on(Case(candidate, incumbent, settings, _judged(world)))
    cycle = world.status.cycle
    assert cycle is not None
    return _for_pods(report, cycle.contract)


def _for_pods(report: GateReport, contract: int) -> GateReport:
    """The same verdict in words that the pods of a cycle from before the upgrade know: they refuse all others."""
    if contract < cycles.DRAWS_FOR_THE_GATE:
        known = tuple(found for found in report.findings if found.name not in LATER_CHECKS)
        report = replace(report, findings=known)
    return report if contract >= cycles.NAMES_ITS_MODEL else _before_models_were_named(report)


def _before_models_were_named(report: GateReport) -> GateReport:
    findings = tuple(
        replace(found, verdict=Verdict.INCONCLUSIVE, role=ReportRole.DIAGNOSTIC)  # shown, and decides nothing
        if found.verdict is Verdict.NOT_APPLICABLE
        else found
        for found in report.findings
    )
    self_tests = tuple(replace(test, tested=None) for test in report.self_tests)
    return replace(report, findings=findings, self_tests=self_tests, schema=None, judged=None, slices=None)


def _judged(world: World) -> Judged:
    """Who is judged on what, as status has it."""
    cycle = world.status.cycle
    assert cycle is not None
    candidate, incumbent = (_weights(world, side) for side in SIDES)
    return Judged(
        cycle=cycle.number,
        reward_revision=cycle.reward_revision,
        relevance_model=cycle.relevance_model,
        fusion_sha256=cycle.fusion_sha256,
        candidate=WeightsRef(candidate.version, candidate.digest) if candidate else None,
        incumbent=WeightsRef(incumbent.version, incumbent.digest) if incumbent else None,
        data_digests=dict(cycle.data_digests),
    )


def _judge(world: World) -> Step:
    """Judge, put the report on the volume, and only then let the verdict into status."""
    cycle = world.status.cycle
    assert cycle is not None
    report = report_of(world)
    digest = wire.digest(wire.dumps(report))
    if world.report_digest != digest:
        path = f"/v1/report/{cycle.number}"
        return Step(world.status, order=OrderToPod(Role.SAMPLER, 0, path, report))
    if _may_extend(world, report):
        return _extend(world, report)
    result = GateResult(
        verdict=report.verdict,
        summary=report.summary(),
        report=volume.report_file(cycle.number, "json"),
        findings=[f"{finding.verdict} {finding.name}: {finding.message}"[:1024] for finding in report.findings][:32],
        gold=drift.gold_changes(report),
        reward=reward_spread(report),
        report_sha256=digest,
        approvable=may_be_approved(report),
    )
    note = Note(f"Gate{report.verdict}", report.summary(), warning=report.verdict is not Verdict.PASS)
    return Step(evolve(world.status, cycle=evolve(cycle, gate=result)), notes=(note,))


def _extends(world: World) -> bool:
    return world.spec.gate.on_inconclusive == "Extend"


def _may_extend(world: World, report: GateReport) -> bool:
    """Whether there are further queries, and they could tell."""
    cycle, extension = world.status.cycle, world.spec.gate.extension
    assert cycle is not None
    if not _extends(world) or not more_queries_would_tell(report):
        return False
    unasked = cycle.gate_queries - (1 + cycle.extensions) * extension.queries
    return cycle.extensions < extension.max_extensions and unasked >= extension.queries


def _extend(world: World, report: GateReport) -> Step:
    """Ask both sides as many queries more, and judge all of them."""
    cycle, extension = world.status.cycle, world.spec.gate.extension
    assert cycle is not None
    number = cycle.extensions + 1
    told = f"extension {number} of {extension.max_extensions}, {extension.queries} further queries; {report.summary()}"
    more = evolve(cycle, extensions=number, gate_side="", since=world.now)
    return Step(evolve(world.status, cycle=more, message=told[:1024]), notes=(Note("GateExtended", told[:1024]),))


def _decided(world: World) -> Step:
    """Leave only after the RewriterRevision with the evidence exists."""
    cycle = world.status.cycle
    assert cycle and cycle.gate
    if not any(revision.cycle == cycle.number for revision in world.revisions):
        return Step(world.status)
    if cycle.gate.verdict == Verdict.PASS:
        return Step(cycles.enter(world.status, Event.PASSED, world.now))
    if holding.is_wanted(world):
        return holding.begin(world)
    reason = "GateFailed" if cycle.gate.verdict == Verdict.FAIL else "GateInconclusive"
    return Step(cycles.enter(world.status, Event.REFUSED, world.now, reason, cycle.gate.summary))


def _weights(world: World, side: str) -> Weights | None:
    cycle = world.status.cycle
    assert cycle and cycle.candidate
    if side == "candidate":
        return cycle.candidate.weights
    return cycle.compared_with.weights if cycle.compared_with else None


def _recipe(world: World, side: str) -> Recipe:
    """How the side's weights are asked for rewrites where they serve."""
    cycle = world.status.cycle
    assert cycle is not None
    serving = cycle.candidate if side == "candidate" else cycle.compared_with
    return (serving.recipe if serving else None) or recipe_of(world.spec)


def _state(world: World, path: str) -> WorkState | None:
    report = world.works.get(path)
    return report.state if report else None
