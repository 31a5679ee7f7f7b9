"""I6: what a release has come to, once nobody and nothing disturbs it any more.

It has seen its newest spec, and serves, or says why not and what a person must do. `settled` is asked when a story has
come to rest; that no two things that a release says contradict each other is so at every moment.
"""

from collections.abc import Iterator
from typing import Any

from rewriter_operator.api.conditions import ConditionType, Reason
from rewriter_operator.api.states import State
from rewriter_operator.core.states import CYCLE_STATES, TRAFFIC_STATES

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"

OF_ITS_CHECK = ConditionType.ACCEPTED
"""Its generation is the one that was checked last: a spec that changes no cycle is not checked again."""

UNREAD = (Reason.INVALID_SPEC, Reason.PLAN_FAILED, Reason.FORBIDDEN)
"""Reasons of Stalled with which nothing can be told of the release but that."""


def settled(release: dict[str, Any]) -> list[str]:
    """Every breach of I6, as a sentence."""
    status = release.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    found = [*_has_seen_its_spec(release, conditions), *_has_an_end(conditions)]
    return [f"I6: {release['metadata']['name']} ({status.get('state')}): {line}" for line in found] + contradictions(
        release
    )


def contradictions(release: dict[str, Any]) -> list[str]:
    """What conditions say that state, cycle and shares do not: at any moment, because one write writes them all."""
    status = release.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    if not conditions or conditions.get(ConditionType.STALLED, {}).get("reason") in UNREAD:
        return []
    found = _contradictions(status, conditions)
    return [f"I6: {release['metadata']['name']} ({status.get('state')}): {line}" for line in found]


def _has_seen_its_spec(release: dict[str, Any], conditions: dict[str, dict[str, Any]]) -> Iterator[str]:
    generation, observed = release["metadata"]["generation"], release.get("status", {}).get("observedGeneration")
    if observed != generation:
        yield f"observedGeneration is {observed}, the generation {generation}"
    cannot_be_read = conditions.get(ConditionType.STALLED, {}).get("reason") in UNREAD
    for kind in (ConditionType.STALLED,) if cannot_be_read else ConditionType:
        condition = conditions.get(kind)
        if condition is None:
            yield f"it has no condition {kind}"
        elif kind is not OF_ITS_CHECK and condition.get("observedGeneration") != generation:
            yield f"{kind} is of generation {condition.get('observedGeneration')}, not of {generation}"


def _has_an_end(conditions: dict[str, dict[str, Any]]) -> Iterator[str]:
    ready, stalled = (conditions.get(kind, {}) for kind in (ConditionType.READY, ConditionType.STALLED))
    if ready.get("status") != TRUE and stalled.get("status") != TRUE:
        yield f"neither Ready nor Stalled: {ready.get('reason')}: {ready.get('message')}"
    if _is_due(conditions):
        yield "a cycle was to start at once, and did not"
    if stalled.get("status") == TRUE and not (stalled.get("reason") and stalled.get("message")):
        yield "Stalled without reason and message"


def _is_due(conditions: dict[str, dict[str, Any]]) -> bool:
    """Idle for the moment before a cycle starts."""
    return conditions.get(ConditionType.RECONCILING, {}).get("reason") == Reason.CYCLE_DUE


def _is_stalled(conditions: dict[str, dict[str, Any]]) -> bool:
    return conditions.get(ConditionType.STALLED, {}).get("status") == TRUE


def _contradictions(status: dict[str, Any], conditions: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What the conditions say that state, cycle and shares do not."""
    state, cycle, stages = (
        State(status.get("state", State.BOOTSTRAPPING)),
        status.get("cycle"),
        status.get("stages", []),
    )
    shares = {stage["name"]: stage["share"] for stage in stages if stage.get("share")}
    works = state is not State.IDLE
    goes_on = (works or _is_due(conditions)) and not _is_stalled(conditions)
    expected = {
        ConditionType.PROGRESSING: {TRUE if works else FALSE},
        ConditionType.RECONCILING: {TRUE if goes_on else FALSE},
    }
    if conditions.get(ConditionType.ACCEPTED, {}).get("status") == FALSE:
        expected[ConditionType.STALLED] = {TRUE}
    if not shares:
        expected[ConditionType.TRAFFIC_VERIFIED] = {UNKNOWN}
    if state is not State.TRAINING:
        expected[ConditionType.WEIGHTS_SYNCED] = {UNKNOWN}
    if verdict := ((cycle or {}).get("gate") or {}).get("verdict"):
        expected[ConditionType.GATE_PASSED] = {{"Pass": TRUE, "Fail": FALSE}.get(verdict, UNKNOWN)}
    for kind, words in expected.items():
        said = conditions.get(kind, {}).get("status")
        if said not in words:
            yield f"{kind} is {said} ({conditions.get(kind, {}).get('message')})"
    if state in CYCLE_STATES and not cycle:
        yield "there is no cycle"
    if state in (State.IDLE, State.RETURNING) and cycle:
        yield f"cycle {cycle['number']} runs"
    if shares and state not in TRAFFIC_STATES:
        yield f"a candidate has {shares}"
