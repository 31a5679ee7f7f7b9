"""The parts of a spec that a cycle hangs on: their digest, and the copy of them that a running cycle keeps.

The copy is in status because nothing else tells, after a change, what a cycle began with: the release has only the new
spec, the old one in Git may never have been applied, and what is on the volume the operator does not read.
"""

import json
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from rewriter_contract import wire
from rewriter_operator.api.release import AFTER_THE_VERDICT, RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import MAX_BEGAN_WITH, Cycle, RewriterReleaseStatus
from rewriter_operator.core.same import PASSES, Same

PARTS: Final = ("volume", "model", "data", "reward", "training", "gate")
STAGES: Final = "rollout.stages"

HOW_PODS_RUN: Final = {
    *("resources", "labels", "annotations"),
    *("nodeSelector", "tolerations", "priorityClassName", "runtimeClassName"),
}
"""Of training.trainer and training.samplers. Not their image, which is the program, nor how many samplers draw."""
HOW_MANY_TRAIN: Final = "replicas"
"""Of training.trainer: a step's loss does not depend on who computes which part of it."""
HOW_LONG_IT_MAY_TAKE: Final = ("phaseDeadline", "stallTimeout")
"""Of training."""
HOW_WEIGHTS_ARRIVE: Final = ("sync",)
"""Of training: the same weights, whichever way samplers come to hold them."""


def spec_digest(spec: RewriterReleaseSpec) -> str:
    """Digest of the parts of the spec that a cycle depends on.

    A change of the others (schedule, suspend, limits, replicas, history) never ends a running cycle. Nor does an
    operator that knows more fields: what is left at its default is not in it.
    """
    return _digest(Same(spec))


@lru_cache(maxsize=PASSES)
def _digest(of: Same[RewriterReleaseSpec]) -> str:
    kept = _depended_on(of.value)
    kept["stages"] = kept.pop(STAGES)
    return wire.digest(wire.dumps(kept))


def learnt_digest(spec: RewriterReleaseSpec) -> str:
    """Digest of the parts that a cycle learns from and is judged by: a change of them is worth a cycle of its own.

    Not what a cycle only goes by: its stages, where its pods run, how long they may take, and how weights reach them.
    """
    return _learnt_digest(Same(spec))


@lru_cache(maxsize=PASSES)
def _learnt_digest(of: Same[RewriterReleaseSpec]) -> str:
    kept = _depended_on(of.value)
    del kept[STAGES]
    gone_by = (*HOW_LONG_IT_MAY_TAKE, *HOW_WEIGHTS_ARRIVE)
    training = {key: part for key, part in kept["training"].items() if key not in gone_by}
    for role in ("trainer", "samplers"):
        pods = {key: part for key, part in training.pop(role, {}).items() if key not in HOW_PODS_RUN}
        if role == "trainer":
            pods.pop(HOW_MANY_TRAIN, None)
        training |= {role: pods} if pods else {}  # as where it is left at its defaults
    return wire.digest(wire.dumps(kept | {"training": training}))


def began_with(spec: RewriterReleaseSpec) -> str:
    """What a cycle that begins with this spec keeps of it; empty where that would take too much of the object."""
    parts = spec.chosen()
    kept = {key: parts.get(key, {}) for key in PARTS} | {STAGES: parts["rollout"]["stages"]}
    text = wire.dumps(kept)
    return text if len(text) <= MAX_BEGAN_WITH else ""


def as_begun(spec: RewriterReleaseSpec, cycle: Cycle) -> RewriterReleaseSpec | None:
    """The spec as it is written now, but for what the cycle hangs on, which is as it was; None: nobody knows that."""
    return _as_begun(Same(spec), cycle.began_with, cycle.spec_digest) if cycle.began_with else None


@lru_cache(maxsize=PASSES)
def _as_begun(of: Same[RewriterReleaseSpec], copy: str, digest: str) -> RewriterReleaseSpec | None:
    try:
        kept, written = json.loads(copy), of.value.chosen()
        body = written | {key: kept[key] for key in PARTS}
        body["gate"] = _gate(kept["gate"], written["gate"])
        body["rollout"] = written["rollout"] | {"stages": kept[STAGES]}
        found = RewriterReleaseSpec.model_validate(body)
    except (ValueError, KeyError, TypeError, ValidationError):
        return None  # written by a version that knows more, or by hand
    return found if spec_digest(found) == digest else None


def changed_parts(before: RewriterReleaseSpec, after: RewriterReleaseSpec) -> tuple[str, ...]:
    """E.g. ("training", "rollout.stages")."""
    one, other = _depended_on(before), _depended_on(after)
    return tuple(key for key in one if one[key] != other[key])


def in_force(spec: RewriterReleaseSpec, status: RewriterReleaseStatus) -> RewriterReleaseSpec:
    """The spec that decides now: with a change that waits for the cycle's end, the one that it began with."""
    cycle = status.cycle
    if cycle is None or not is_held(spec, status) or cycle.spec_digest == spec_digest(spec):
        return spec
    return as_begun(spec, cycle) or spec


def is_held(spec: RewriterReleaseSpec, status: RewriterReleaseStatus) -> bool:
    """Whether a change waits for the end of the cycle that runs.

    Not while it is prepared: nothing is lost then, and what it waits for may be what the change mends. A change that
    was to be refused waits, too: it was written in the moment in which the cycle came that far.
    """
    runs = status.cycle is not None and status.cycle.number > 0
    return spec.on_change != "Supersede" and runs and status.state is not State.PREPARING


def _depended_on(spec: RewriterReleaseSpec) -> dict[str, Any]:
    parts = spec.chosen()
    kept: dict[str, Any] = {key: parts.get(key, {}) for key in PARTS}
    if spec.gate.on_inconclusive != "Extend":
        kept["gate"] = {key: part for key, part in kept["gate"].items() if key not in AFTER_THE_VERDICT}
    kept[STAGES] = parts.get("rollout", {}).get("stages", [])
    return kept


def _gate(begun: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """What follows from a verdict acts at once, as without a change that waits; but for Extend, on either side."""
    if "Extend" in (begun.get("onInconclusive"), written.get("onInconclusive")):
        return begun
    judged = {key: part for key, part in begun.items() if key not in AFTER_THE_VERDICT}
    return judged | {key: part for key, part in written.items() if key in AFTER_THE_VERDICT}
