"""What trainer, sampler and prepare pods report, as far as status can hold it. What does not fit is None or a sentence.

Pods run other people's models and data: whatever they answer, a release must go on being planned.
"""

import math
import re
from collections.abc import Collection, Mapping

from rewriter_contract import wire
from rewriter_contract.messages import (
    PASSTHROUGH,
    VOLUME_FULL,
    PrepareResult,
    PromotionRecord,
    RecordResult,
    ShardRef,
    StorageResult,
    WeightsRef,
    WorkReport,
)
from rewriter_operator.api.status import Recipe, Shard, Weights
from rewriter_operator.core.counters import MAX_COUNT

MAX_NUMBER = 999_999
"""Cycles and revisions; names of objects hold no more digits."""

MAX_BYTES = 2**60

MAX_ETA_SECONDS = 100 * 24 * 3600

MAX_MODEL = 256
MAX_METRICS = 40
MAX_METRIC_NAME = 64

_DIGEST = re.compile(r"[0-9a-f]{64}")


def shard(ref: ShardRef | None) -> Shard | None:
    """A finished shard."""
    if ref is None or not _DIGEST.fullmatch(ref.sha256) or len(ref.path) > 256 or not 0 <= ref.rows <= MAX_COUNT:
        return None
    return Shard(path=ref.path, rows=ref.rows, sha256=ref.sha256)


def weights(ref: WeightsRef | None) -> Weights | None:
    """A weight set."""
    if ref is None or not _DIGEST.fullmatch(ref.digest) or not 0 < len(ref.version) <= 64:
        return None
    return Weights(version=ref.version, digest=ref.digest)


def metrics(told: Mapping[str, float]) -> dict[str, float]:
    """The first of a phase's metrics, by name."""
    kept = sorted(name for name in told if len(name) <= MAX_METRIC_NAME)[:MAX_METRICS]
    return {name: round(told[name], 6) for name in kept}


def progress(verb: str, reports: list[WorkReport]) -> str:
    """`sampled 12 of 96`, `trained 12 of 96, about 4 min left`; empty where it cannot be told."""
    counts = [(report.done, report.total) for report in reports]
    if not all(0 <= done <= MAX_COUNT and 0 <= total <= MAX_COUNT for done, total in counts):
        return ""
    done, total = sum(done for done, _ in counts), sum(total for _, total in counts)
    return f"{verb} {done} of {total}{_time_left(reports)}" if total else ""


def _time_left(reports: list[WorkReport]) -> str:
    """`, about 4 min left`: the longest that a report foresees; empty where none does, or where it cannot be."""
    foreseen = [report.metrics["eta_seconds"] for report in reports if "eta_seconds" in report.metrics]
    if not foreseen or not all(0 < left <= MAX_ETA_SECONDS for left in foreseen):
        return ""
    minutes = math.ceil(max(foreseen) / 60)
    return f", about {minutes} min left" if minutes < 120 else f", about {round(minutes / 60)} h left"


def heartbeat(report: WorkReport, since: float, now: float) -> float:
    """The last sign of progress; a pod whose clock is ahead of time is taken to have shown none after `since`."""
    return report.heartbeat_at if report.heartbeat_at <= now + 60 else since


def prepare_fault(result: PrepareResult, data_files: Collection[str]) -> str | None:
    """Why a prepare pod's answer about these files (by role) cannot be used although it names no problem."""
    if weights(result.base) is None:
        return "it names no base model with version and digest"
    missing = set(data_files) - result.data_digests.keys()
    if missing or len(result.data_digests) > 8 or not all(map(_DIGEST.fullmatch, result.data_digests.values())):
        return "it lacks the digest of a data file"
    if not result.relevance_model.strip():
        return "it names no relevance model; set spec.training.trainer.image to one of this version"
    if len(result.relevance_model) > MAX_MODEL:
        return f"the relevance service's model name has {len(result.relevance_model)} characters, at most {MAX_MODEL}"
    if not 0 <= result.last_cycle <= MAX_NUMBER:
        return "it names a last cycle that cannot be"
    return _record_fault(result.promoted) if result.promoted else None


def storage(result: StorageResult | None) -> StorageResult | None:
    """What a prepare pod says of the volume; None where its numbers cannot be."""
    if result is None:
        return None
    sizes = (result.freed_bytes, result.free_bytes or 0, result.needed_bytes or 0)
    counts = (result.removed_count, result.left_count)
    possible = all(0 <= size <= MAX_BYTES for size in sizes) and all(0 <= count <= MAX_COUNT for count in counts)
    return result if possible else None


def failure(report: WorkReport, reason: str) -> str:
    """Why the cycle ends: for want of room on the volume, or for the reason that the caller has."""
    return VOLUME_FULL if report.reason == VOLUME_FULL else reason


def record_result(message: str) -> RecordResult:
    """What a record pod that failed says; text that is not its own words (a log, the kubelet's) is the reason."""
    try:
        result = wire.loads(RecordResult, message)
    except wire.WireError:
        return RecordResult(ok=False, message=message)
    return result if 0 <= result.newer <= MAX_COUNT else RecordResult(ok=False, message=result.message)


def _record_fault(record: PromotionRecord) -> str | None:
    if not 0 <= record.revision <= MAX_NUMBER:
        return "promoted.json names a revision that cannot be"
    if record.revision == 0:  # it says that nothing was promoted
        return None
    named = [ref for ref in record.stages.values() if ref.version != PASSTHROUGH]
    if not named or any(weights(ref) is None for ref in named):
        return "promoted.json names no weights with version and digest; restore the file, or remove it"
    try:
        if record.recipe:
            Recipe.model_validate_json(record.recipe)
    except ValueError:
        return "promoted.json has a recipe that cannot be read; restore the file, or remove it"
    return None
