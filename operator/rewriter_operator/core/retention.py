"""What of earlier cycles is kept, objects and weights, and what is given up when a cycle starts.

The operator never mounts the volume: the prepare pod removes, and what it may not remove is decided here. Once for each
attempt of that pod, and into status before the pod exists. A set that was given up once is never kept again, so the
list of what is kept only ever loses names of earlier cycles: a prepare pod that comes late, with an older list, removes
nothing that a newer list keeps. What people may roll back to is read from the same list.
"""

import re

from rewriter_contract.messages import StorageOrder, StorageResult
from rewriter_operator.api.model import evolve
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.status import RetentionStatus, RewriterReleaseStatus, Serving
from rewriter_operator.core import kept_up
from rewriter_operator.core.decision import Note
from rewriter_operator.core.world import Child, Role, World

BASE = "base-"
"""Prefix of imported base models: never removed, and therefore never listed."""

MAX_KEPT = 64
MAX_BUSY = 100

ROW_BYTES = 1024
"""Of a row of samples, beside its prompt template and its rewrites: the query, names, and a margin, of which a step's
metrics and its TensorBoard event (together about a kilobyte for all of its pairs) take a part."""

TOKEN_BYTES = 16
"""Of a token in a row: its text, and its number."""


def rollback_targets(world: World) -> list[Serving]:
    """Promoted revisions whose weights are kept beside those of the incumbents, newest first."""
    status = world.status
    current = {stage.incumbent.revision for stage in status.stages if stage.incumbent}
    earlier = [
        serving
        for serving in status.promoted
        if serving.revision not in current and serving.revision > 0 and is_kept(status, serving)
    ]
    return earlier[: world.spec.retention.weights]


def kept_revisions(world: World) -> set[int]:
    """Numbers of the revisions that must not be collected: incumbents, the candidate, the newest of history, and what
    can be rolled back to, so that no row of rejected ones pushes it out."""
    status = world.status
    kept = {stage.incumbent.revision for stage in status.stages if stage.incumbent}
    if status.cycle:
        kept.add(status.cycle.number)
    if status.rollback and status.rollback.to:
        kept.add(status.rollback.to.revision)
    kept |= {serving.revision for serving in kept_up.revisions(status)}
    newest = [revision.cycle for revision in reversed(world.revisions)][: world.spec.history_limit]
    return kept | set(newest) | {serving.revision for serving in rollback_targets(world)}


def is_kept(status: RewriterReleaseStatus, serving: Serving) -> bool:
    """Whether the revision's weights were never given up."""
    return is_version_kept(status, serving.revision, serving.weights.version)


def is_version_kept(status: RewriterReleaseStatus, cycle: int, version: str) -> bool:
    """The same for a weight set of a cycle."""
    told = status.retention
    return told is None or cycle >= told.cycle or version.startswith(BASE) or version in told.kept


def ordered(world: World) -> RewriterReleaseStatus:
    """`status` with the decision for this attempt of the prepare pod; the same again once it is made."""
    status, cycle = world.status, world.status.cycle
    assert cycle is not None
    told = status.retention
    if told and (told.cycle, told.attempt) == (cycle.number, cycle.attempt):
        return status
    before = told or RetentionStatus(cycle=cycle.number)
    decided = evolve(
        before,
        cycle=cycle.number,
        attempt=cycle.attempt,
        kept=_kept_versions(world),
        busy=_busy_cycles(world),
    )
    return evolve(status, retention=decided)


def _kept_versions(world: World) -> list[str]:
    """Sets of earlier cycles that stay."""
    status, cycle = world.status, world.status.cycle
    serving = [stage.incumbent for stage in status.stages if stage.incumbent]
    if cycle:
        serving += [item for item in (cycle.candidate, cycle.compared_with) if item]
    serving += [item for item in kept_up.revisions(status) if is_kept(status, item)]
    back = status.rollback
    if back and back.to and not back.ended_at and is_kept(status, back.to):
        serving.append(back.to)
    numbers = {item.revision for item in serving}
    first = [item.weights.version for item in serving]
    others = [item.weights.version for item in rollback_targets(world)]
    others += [cycle.start.version] if cycle and cycle.start else []
    others += [item.parent for item in world.revisions if item.cycle in numbers]
    others += _reported(world)
    kept = [version for version in others if is_version_kept(status, _cycle_of(version), version)]
    listed = dict.fromkeys(version for version in [*first, *kept] if version and not version.startswith(BASE))
    return sorted(list(listed)[:MAX_KEPT])  # cut, if ever, where nothing serves


def _cycle_of(version: str) -> int:
    """`r0007-p02` -> 7; -1 for any other name."""
    found = re.fullmatch(r"r(\d{4,6})-p\d{2,4}", version)
    return int(found[1]) if found else -1


def _reported(world: World) -> list[str]:
    """Versions that pods say they have loaded."""
    samplers = [state.weights for state in world.samplers.values()]
    refs = [*samplers, *(stats.weights for stats in world.stats.values())]
    return [ref.version for ref in refs if ref and len(ref.version) <= 64]


def _busy_cycles(world: World) -> list[int]:
    """Earlier cycles of which a pod is left, one on its way out included: it may still read, or publish."""
    status, cycle = world.status, world.status.cycle
    assert cycle is not None
    serving = {stage.incumbent.revision for stage in status.stages if stage.incumbent}
    at_work = {child.cycle for child in world.children if _works(child)}
    draining = {child.cycle for child in world.children if child.role is Role.SERVING} - serving
    found = {number for number in at_work | draining if 0 < number < cycle.number}
    return sorted(found, reverse=True)[:MAX_BUSY]


def _works(child: Child) -> bool:
    return child.kind == "Pod" and child.role in (Role.TRAINER, Role.SAMPLER)


def storage_order(world: World) -> StorageOrder | None:
    """What the prepare pod of this attempt is told; None before it is decided."""
    status, cycle, spec = world.status, world.status.cycle, world.spec
    told = status.retention
    if cycle is None or told is None or (told.cycle, told.attempt) != (cycle.number, cycle.attempt):
        return None
    return StorageOrder(
        release=world.release.name,
        claim=claim_named(world),
        cycle=cycle.number,
        weights=tuple(told.kept),
        busy=tuple(told.busy),
        reports=tuple(sorted(kept_revisions(world) - {0, cycle.number})),
        sample_cycles=spec.retention.samples,
        report_cycles=spec.retention.reports,
        phases=spec.training.phases if cycle.number else 0,
        phase_bytes=phase_bytes(spec),
    )


def claim_named(world: World) -> str:
    """The volume, as a sentence names it."""
    volume = world.spec.volume
    return f"the volume of spec.volume.claimName {volume.claim_name!r} (directory {volume.sub_path})"


def phase_bytes(spec: RewriterReleaseSpec) -> int:
    """Samples, pairs and validation rows of one phase at most; each text with its tokens."""
    sampling, template = spec.training.sampling, len(spec.model.prompt.template.encode())
    row = ROW_BYTES + template + sampling.samples_per_query * TOKEN_BYTES * sampling.max_tokens
    pairs = spec.training.pairs.top_k * (ROW_BYTES + template + 2 * TOKEN_BYTES * sampling.max_tokens)
    validation = spec.training.validation.queries if spec.training.validation else 200
    validated = validation * (ROW_BYTES + TOKEN_BYTES * sampling.max_tokens) if spec.data.validation else 0
    return sampling.queries_per_phase * (row + pairs) + validated


def answered(status: RewriterReleaseStatus, result: StorageResult | None) -> RewriterReleaseStatus:
    """`status` with what the prepare pod says that it did."""
    if result is None or status.retention is None:
        return status
    told = evolve(
        status.retention,
        removed=result.removed_count,
        freed_bytes=result.freed_bytes,
        free_bytes=result.free_bytes,
        needed_bytes=result.needed_bytes,
        left=[text[:256] for text in result.left[:8]],
        trouble=result.trouble[:1024],
        message=_sentence(result)[:1024],
    )
    return evolve(status, retention=told)


def notes(before: RewriterReleaseStatus, after: RewriterReleaseStatus) -> tuple[Note, ...]:
    """One Event for each answer that removed something, finds something else unknown, or other trouble than before."""
    then, now = before.retention, after.retention
    if then is None or now is None or then == now:
        return ()
    told = [Note("VolumeCleaned", now.message)] if now.removed or now.left not in ([], then.left) else []
    if now.trouble not in ("", then.trouble):
        told.append(Note("VolumeNotCleaned", now.trouble, warning=True))
    return tuple(told)


def _sentence(result: StorageResult) -> str:
    said = []
    if result.removed_count:
        named = ", ".join(result.removed) + (", ..." if result.removed_count > len(result.removed) else "")
        said.append(f"removed {result.removed_count} from the volume ({named}), {result.freed_bytes} bytes")
    if result.left_count:
        said.append(f"left {result.left_count} that the release does not know: {'; '.join(result.left)}")
    if result.trouble:
        said.append(result.trouble)
    if result.free_bytes is not None:
        needed = "" if result.needed_bytes is None else f", a cycle needs {result.needed_bytes}"
        said.append(f"{result.free_bytes} bytes free{needed}")
    return "; ".join(said)
