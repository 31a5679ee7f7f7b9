"""status.plan: what a cycle is going to do, and what each of its steps can tell, before any of it happens.

From the spec and from what earlier cycles measured; what neither of them gives is absent, never guessed. It holds no
time of day, so the same cycle gives the same plan at every look. It decides nothing.

An effect counts as told when at least POWER of all runs find it, at the first look that has the requests. Shares are
asked with the test that verifies them (core/shares.py), limits and comparison with theirs (core/anytime.py).
"""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist, fmean
from typing import Final

from rewriter_contract import wire
from rewriter_contract.reports import CheckName, GateReport
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import RewriterReleaseSpec, Rollout, ShadowStep, Stage, Step
from rewriter_operator.api.rollout_metrics import RolloutMetric
from rewriter_operator.api.status import (
    Cycle,
    CyclePlan,
    GatePlan,
    Measured,
    RewardSpread,
    StagePlan,
    StepPlan,
    TrainingPlan,
)
from rewriter_operator.api.windows import Day, Window
from rewriter_operator.core import capacity, comparison, limits
from rewriter_operator.core.anytime import at_least, at_most, exceeds
from rewriter_operator.core.gate_checks import DEFAULTS
from rewriter_operator.core.same import PASSES, Same
from rewriter_operator.core.shares import Counts, verified_counts
from rewriter_operator.core.statistics import binomial_at_least

POWER: Final = 0.8

_Z: Final = NormalDist().inv_cdf(POWER)
_HALVINGS: Final = 40
_COUNTED_EXACTLY: Final = 200
"""Bad answers; above, the normal approximation is as good and costs nothing."""
_DO_NOT_SLOW_A_PHASE: Final = ("phases", "seed", "phaseDeadline", "stallTimeout")


def planned(spec: RewriterReleaseSpec, cycle: Cycle, measured: Measured | None) -> CyclePlan:
    """The plan of the cycle that runs."""
    return _planned(Same(spec), cycle.number, cycle.gate_queries, Same(measured))


@lru_cache(maxsize=PASSES)
def _planned(of: Same[RewriterReleaseSpec], number: int, gate_queries: int, known: Same[Measured | None]) -> CyclePlan:
    spec, measured = of.value, known.value
    return CyclePlan(
        cycle=number,
        training=_training(spec, measured),
        gate=_gate(spec, gate_queries, measured),
        stages=[_stage(spec, stage) for stage in spec.rollout.stages],
        bake=spec.rollout.bake,
        windows=[_window(window) for window in spec.rollout.windows],
        freezes=[f"{freeze.from_} to {freeze.to}" for freeze in spec.rollout.freezes],
    )


def measured_by(before: Measured | None, cycle: Cycle, plan: CyclePlan | None) -> Measured | None:
    """What the next plans may expect: what this cycle measured, else what was known before."""
    known = before or Measured()
    if plan is None or plan.cycle != cycle.number:
        return before
    if cycle.phases:
        took = round(fmean(phase.seconds for phase in cycle.phases), 1)
        known = evolve(known, work=plan.training.work, phase_seconds=took)
    if cycle.gate and cycle.gate.reward:
        known = evolve(known, asked=plan.gate.asked, reward=cycle.gate.reward)
    return None if known == Measured() else known


def reward_spread(report: GateReport) -> RewardSpread | None:
    """Standard deviation of the queries' differences of reward, from the width of the gate's interval."""
    finding = report.finding(CheckName.REWARD_GAIN)
    if finding.low is None or finding.high is None or not finding.n or not math.isfinite(finding.high - finding.low):
        return None
    error = (finding.high - finding.low) / (2 * NormalDist().inv_cdf(1 - report.settings.alpha))
    deviation = round(error * math.sqrt(finding.n), 6)
    return RewardSpread(deviation=deviation, queries=finding.n) if deviation > 0 else None


def told_gain(deviation: float, queries: int, alpha: float) -> float:
    """Smallest mean above the threshold that a one-sided test at alpha finds (z test of a mean)."""
    return (NormalDist().inv_cdf(1 - alpha) + _Z) * deviation / math.sqrt(queries)


@lru_cache(maxsize=1024)
def verifying_requests(share: int, min_requests: int, alpha: float) -> int:
    """The fewest requests, of both sides, after which a share that is the set one is verified in POWER of all runs."""

    def is_verified(requests: int) -> bool:
        return _chance(verified_counts(share, requests, alpha), requests, share / 100) >= POWER

    most = max(min_requests, 1)
    if is_verified(most):
        return most
    while not is_verified(most):
        most *= 2
    fewest = most // 2
    while most - fewest > 1:
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if is_verified(middle) else (middle, most)
    return most


@lru_cache(maxsize=1024)
def told_shares(share: int, requests: int, alpha: float) -> tuple[float | None, float | None]:
    """The nearest real shares in percent, below and above the set one, that so many requests do not verify as it.

    None: not even 0 or 100 would be told.
    """
    part, counts = share / 100, verified_counts(share, requests, alpha)

    def is_told(real: float) -> bool:
        return _chance(counts, requests, real) <= 1 - POWER

    below = _first(lambda step: is_told(part * (1 - step)))
    above = None if share == 100 else _first(lambda step: is_told(part + (1 - part) * step))
    return (
        None if below is None else _rounded(100 * part * (1 - below), math.floor),
        None if above is None else _rounded(100 * (part + (1 - part) * above), math.ceil),
    )


def _chance(counts: Counts | None, requests: int, rate: float) -> float:
    """Of so many requests, of which this part goes to the candidate, its counts are those."""
    if counts is None:
        return 0.0
    return _at_least(counts.fewest, requests, rate) - _at_least(counts.most + 1, requests, rate)


def _at_least(hits: int, requests: int, rate: float) -> float:
    """P(X >= hits) for X ~ Binomial(requests, rate): of the shorter tail, or the normal curve where that is long."""
    misses = requests - hits
    if hits <= 0 or misses < 0 or rate <= 0 or rate >= 1:
        return float(hits <= 0 or (rate >= 1 and misses >= 0))
    if misses <= _COUNTED_EXACTLY:
        return binomial_at_least(hits, requests, rate)
    if hits <= _COUNTED_EXACTLY:
        return 1 - binomial_at_least(misses + 1, requests, 1 - rate)
    spread = math.sqrt(requests * rate * (1 - rate))
    return 1 - NormalDist().cdf((hits - 0.5 - requests * rate) / spread)


@lru_cache(maxsize=1024)
def told_rate(requests: int, limit: float) -> float | None:
    """Smallest true rate of bad answers that takes a candidate back by this limit after so many requests."""
    return _rate_for(requests, lambda bad: bad > limit * requests and exceeds(bad, requests, limit, limits.ALPHA))


@lru_cache(maxsize=1024)
def told_increase(requests: int, others: int, allowed: float) -> float | None:
    """Smallest true rate that takes a candidate back beside incumbents of whose requests none was bad."""
    if others <= 0:
        return None
    most = at_most(0, others, comparison.ALPHA / 2)
    return _rate_for(requests, lambda bad: at_least(bad, requests, comparison.ALPHA / 2) - most > allowed)


def _rate_for(requests: int, is_found: Callable[[int], bool]) -> float | None:
    """The rate at which POWER of all runs have the fewest bad answers that are found; None: no rate has."""
    if not is_found(requests):
        return None
    low, high = 0, requests
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    fewest = high

    def is_told(real: float) -> bool:
        if fewest <= _COUNTED_EXACTLY:  # of the other tail, which has so many terms only
            return 1 - binomial_at_least(requests - fewest + 1, requests, 1 - real) >= POWER
        return requests * real - _Z * math.sqrt(requests * real * (1 - real)) >= fewest - 0.5

    rate = _first(is_told)
    return None if rate is None else _rounded(rate, math.ceil, 4)


def _first(is_told: Callable[[float], bool]) -> float | None:
    """The smallest number of 0 to 1 from which on it is told."""
    if not is_told(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_told(middle) else (middle, high)
    return high


def _rounded(value: float, way: Callable[[float], int], digits: int = 1) -> float:
    """Away from what can be told, so that the number shown is one that is."""
    scale = float(10**digits)
    return way(round(value * scale, 6)) / scale


def _training(spec: RewriterReleaseSpec, measured: Measured | None) -> TrainingPlan:
    training, work = spec.training, _work(spec)
    known = measured.phase_seconds if measured and measured.work == work else None
    sampling = training.sampling
    return TrainingPlan(
        phases=training.phases,
        queries=sampling.queries_per_phase,
        samples=sampling.queries_per_phase * sampling.samples_per_query,
        phase_deadline=training.phase_deadline,
        phase_seconds=known,
        work=work,
    )


def _work(spec: RewriterReleaseSpec) -> str:
    """Digest of what a phase's time depends on: only phases of equal work are expected to take as long."""
    parts = spec.to_api()
    kept = {key: part for key, part in parts["training"].items() if key not in _DO_NOT_SLOW_A_PHASE}
    return _digest({"model": parts["model"], "data": parts["data"], "reward": parts["reward"], "training": kept})


def _digest(parts: dict[str, object]) -> str:
    return wire.digest(wire.dumps(parts))[:16]


def _gate(spec: RewriterReleaseSpec, rows: int, measured: Measured | None) -> GatePlan:
    gate = spec.gate
    looks = 1 + (gate.extension.max_extensions if gate.on_inconclusive == "Extend" else 0)
    asked = min(rows, gate.extension.queries) if looks > 1 else rows
    most = min(rows, gate.extension.queries * looks) if looks > 1 else rows
    alpha = gate.alpha / looks
    asked_of = _digest({"data": spec.data.to_api(), "reward": spec.reward.to_api()})
    spread = measured.reward if measured and measured.asked == asked_of else None
    gain = None
    if spread and asked >= gate.minimum_queries:
        least = next((item.min for item in gate.checks if item.name == CheckName.REWARD_GAIN), None)
        needed = DEFAULTS[CheckName.REWARD_GAIN].min if least is None else least
        gain = round((needed or 0.0) + told_gain(spread.deviation, asked, alpha), 6)
    return GatePlan(
        queries=asked or None,
        most_queries=most if most > asked else None,
        minimum_queries=gate.minimum_queries,
        looks=looks,
        alpha=alpha,
        reward_gain=gain,
        reward_deviation=spread.deviation if spread and gain is not None else None,
        asked=asked_of,
    )


def _stage(spec: RewriterReleaseSpec, stage: Stage) -> StagePlan:
    rollout, share, steps = spec.rollout, 0, []
    for step, pods in zip(stage.steps, capacity.foretold(spec, stage), strict=True):
        share = step.set_share or share
        steps.append(evolve(_step(rollout, step, share), pods=pods))
    return StagePlan(
        name=stage.name.value,
        depends_on=[name.value for name in stage.depends_on],
        steps=steps,
        metrics=[_metric(metric) for metric in rollout.metrics if metric.is_of(stage.name)],
    )


def _step(rollout: Rollout, step: Step, share: int) -> StepPlan:
    if step.set_share is not None:
        check = rollout.verification
        requests = verifying_requests(share, check.min_requests, check.alpha)
        below, above = told_shares(share, requests, check.alpha)
        return StepPlan(
            does="SetShare",
            share=share,
            requests=requests,
            share_below=below,
            share_above=above,
            deadline=check.timeout,
            waits_for_window=bool(rollout.windows or rollout.freezes),
        )
    if step.pause is not None:
        wait = seconds(step.pause.duration) if step.pause.duration else None
        return StepPlan(does="Pause" if wait is not None else "Approval", share=share, seconds=wait)
    if step.shadow is not None:
        return _shadow(rollout, step.shadow)
    assert step.analysis is not None
    requests = max(step.analysis.min_requests, rollout.limits.min_requests)
    others = requests * (100 - share) // share if share else 0
    allowed = rollout.comparison.max_error_rate_increase
    compared = allowed < 1 and min(requests, others) >= rollout.limits.min_requests
    return StepPlan(
        does="Analysis",
        share=share,
        requests=requests,
        stage_requests=math.ceil(requests * 100 / share) if share else None,
        error_rate=told_rate(requests, rollout.limits.max_error_rate),
        error_rate_increase=told_increase(requests, others, allowed) if compared else None,
        deadline=step.analysis.deadline,
    )


def _shadow(rollout: Rollout, shadow: ShadowStep) -> StepPlan:
    requests = rollout.limits.min_requests
    return StepPlan(
        does="Shadow",
        share=0,
        mirrored=shadow.percent,
        requests=requests,
        stage_requests=math.ceil(requests * 100 / shadow.percent),
        error_rate=told_rate(requests, rollout.limits.max_error_rate),
        seconds=seconds(shadow.duration),
        deadline=rollout.verification.timeout,
    )


def _metric(metric: RolloutMetric) -> str:
    bounds = [f">= {metric.minimum:g}"] if metric.minimum is not None else []
    bounds += [f"<= {metric.maximum:g}"] if metric.maximum is not None else []
    told = " and ".join(bounds) or "by its verdict"
    looks = f"{metric.success_limit} inside in a row to go on, {metric.failure_limit} outside take back"
    return f"{metric.name} {told} every {metric.interval}: {looks}"


def _window(window: Window) -> str:
    days = "daily" if len(window.days) == len(Day) else ",".join(day.value for day in Day if day in window.days)
    return f"{days} {window.from_}-{window.to} {window.time_zone}"
