"""What the looks at metrics of spec.rollout.metrics come to: inside, outside, or unknown.

Outside in failureLimit looks, with none inside between them, takes the candidate back. Nothing advances before
successLimit looks in a row were inside at the share that is. Everything else is unknown: it begins that row anew and
clears nothing, so it neither promotes nor condemns. A metric that is not inside has spec.rollout.verification.timeout
from when that began, however long the step has been there; then the step's own deadline takes the candidate back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.rollout_metrics import RolloutMetric
from rewriter_operator.api.status import MetricStatus, MetricVerdict, RewriterReleaseStatus, StageStatus
from rewriter_operator.core.decision import Note
from rewriter_operator.core.metric_calls import identity, judging, status_of
from rewriter_operator.core.watching import Watched
from rewriter_operator.core.world import MetricAnswer, World

LATE_SECONDS: Final = 30
"""An answer may come so much later than two intervals and its own time-out before there counts as none."""


@dataclass(frozen=True)
class Doubt:
    """Why nothing good can be concluded now."""

    why: str
    since: float = 0
    """Its time counts from here at the earliest; 0: from the step's beginning."""

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True)
class _Said:
    verdict: MetricVerdict
    message: str


def counted(before: Watched) -> Watched:
    """The world with every answer that came since counted in its stage, and what there is to tell about it."""
    world = before.world
    stages = [_with_looks(world, stage) for stage in world.status.stages]
    if stages == world.status.stages:
        return before
    notes = tuple(note for old, new in zip(world.status.stages, stages, strict=True) for note in _stage_notes(old, new))
    status = evolve(world.status, stages=stages)
    return Watched(replace(world, release=replace(world.release, status=status)), (*before.notes, *notes))


def crossed(world: World, stage: StageStatus) -> str | None:
    """The first metric that takes the candidate back, as a sentence with its numbers; None while none does."""
    limits = {metric.name: metric.failure_limit for metric in world.spec.rollout.metrics}
    for status in stage.metrics:
        if status.outside >= limits.get(status.name, status.outside + 1):
            return f"metric {status.name}: {status.message} (outside in {_times(status.outside)}, inside in none since)"
    return None


def doubt(world: World, stage: StageStatus) -> Doubt | None:
    """The first metric that is not inside for as many looks as it takes; None while all are, or none judges."""
    for metric in judging(world, stage):
        status = status_of(metric, stage)
        if status is None:
            return Doubt(f"metric {metric.name} was not asked yet")
        if status.inside < metric.success_limit:
            return Doubt(f"metric {metric.name}: {_why(metric, status)}", status.doubted_since)
    return None


def shown(status: MetricStatus) -> str:
    """One line for people: `ctr-loss: Inside: 0.991`."""
    verdict = status.verdict.value if status.verdict else "not asked yet"
    return f"{status.name}: {verdict}" + (f": {status.message}" if status.message else "")


def new_verdicts(before: RewriterReleaseStatus, after: RewriterReleaseStatus) -> Iterator[MetricVerdict]:
    """Of the looks that `after` counts and `before` did not."""
    known = {(stage.name, metric.name): metric.asked_at for stage in before.stages for metric in stage.metrics}
    for stage in after.stages:
        for metric in stage.metrics:
            if metric.verdict and metric.asked_at != known.get((stage.name, metric.name), 0):
                yield metric.verdict


def _with_looks(world: World, stage: StageStatus) -> StageStatus:
    looks = [_looked(world, metric, stage) for metric in judging(world, stage)]
    return stage if looks == stage.metrics else evolve(stage, metrics=looks)


def _looked(world: World, metric: RolloutMetric, stage: StageStatus) -> MetricStatus:
    of = identity(world, metric, stage)
    status = status_of(metric, stage)
    if status is None or status.of != of:
        asked_at = status.asked_at if status else 0
        status = MetricStatus(name=metric.name, of=of, asked_at=asked_at, doubted_since=world.now)
    if status.verdict and _is_late(world, metric, status.asked_at):  # the row ends, also where an answer has come now
        reason = f"no answer since {rfc3339(status.asked_at)}"
        status = _with(world, metric, evolve(status, value=None), _Said(MetricVerdict.UNKNOWN, reason))
    answer = world.answers.get(of)
    if answer is None or answer.asked_at == status.asked_at or _is_late(world, metric, answer.asked_at):
        return status
    return _after(world, metric, status, answer)


def _after(world: World, metric: RolloutMetric, status: MetricStatus, answer: MetricAnswer) -> MetricStatus:
    said = _judged(metric, answer)
    return _with(world, metric, evolve(status, asked_at=answer.asked_at, value=answer.value), said)


def _with(world: World, metric: RolloutMetric, status: MetricStatus, said: _Said) -> MetricStatus:
    inside, outside = 0, status.outside
    match said.verdict:
        case MetricVerdict.INSIDE:
            inside, outside = min(status.inside + 1, metric.success_limit), 0
        case MetricVerdict.OUTSIDE:
            outside = min(status.outside + 1, metric.failure_limit)
    is_sure = inside >= metric.success_limit
    return evolve(
        status,
        verdict=said.verdict,
        message=said.message[:256],
        inside=inside,
        outside=outside,
        doubted_since=0 if is_sure else status.doubted_since or world.now,
    )


def _judged(metric: RolloutMetric, answer: MetricAnswer) -> _Said:
    if answer.passes is not None:
        word = "Pass" if answer.passes else "Fail"
        said = f"the web hook says {word}" + (f": {answer.reason}" if answer.reason else "")
        return _Said(MetricVerdict.INSIDE if answer.passes else MetricVerdict.OUTSIDE, said)
    value, least, most = answer.value, metric.minimum, metric.maximum
    if value is None:
        return _Said(MetricVerdict.UNKNOWN, answer.reason)
    if least is None and most is None:
        return _Said(MetricVerdict.UNKNOWN, f"answered {value:g}, and neither minimum nor maximum is set")
    if least is not None and value < least:
        return _Said(MetricVerdict.OUTSIDE, f"{_number(value)} < minimum {_number(least)}")
    if most is not None and value > most:
        return _Said(MetricVerdict.OUTSIDE, f"{_number(value)} > maximum {_number(most)}")
    return _Said(MetricVerdict.INSIDE, _number(value))


def _number(value: float) -> str:
    return f"{value:.6g}"


def _why(metric: RolloutMetric, status: MetricStatus) -> str:
    match status.verdict:
        case None:
            return "not asked yet at this share"
        case MetricVerdict.INSIDE:
            return f"{status.message}, inside in {status.inside} of {_times(metric.success_limit)}"
        case MetricVerdict.OUTSIDE:
            return f"{status.message} ({status.outside} of {_times(metric.failure_limit)} that take the candidate back)"
        case MetricVerdict.UNKNOWN:
            return f"unknown: {status.message}"


def _times(count: int) -> str:
    return f"{count} look" if count == 1 else f"{count} looks"


def _is_late(world: World, metric: RolloutMetric, asked_at: float) -> bool:
    """Asked so long ago that it says nothing of now; or later than now, by a clock that was set back since."""
    timeout = seconds(metric.service.timeout) if metric.service else 0
    return not -1 <= world.now - asked_at <= 2 * seconds(metric.interval) + timeout + LATE_SECONDS


def _stage_notes(before: StageStatus, after: StageStatus) -> Iterator[Note]:
    """An Event for each change of a verdict; none for a metric that is inside from its first look on."""
    old = {status.name: status.verdict for status in before.metrics}
    for status in after.metrics:
        was = old.get(status.name)
        if status.verdict is None or status.verdict is was:
            continue
        if was is not None or status.verdict is not MetricVerdict.INSIDE:
            is_bad = status.verdict is not MetricVerdict.INSIDE
            message = f"{after.name}: metric {status.name}: {status.message}"
            yield Note(f"Metric{status.verdict.value}", message, warning=is_bad)
