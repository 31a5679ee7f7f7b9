"""Condition types and reasons of a RewriterRelease, each on one line, and the rules for setting them.

All conditions are good when True, but for kstatus' Reconciling and Stalled. `lastTransitionTime` changes only with the
status, `observedGeneration` always with the generation that was looked at.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

from rewriter_contract import messages
from rewriter_operator.api.status import Condition


class ConditionType(StrEnum):
    """The contract with everything that reads a release."""

    ACCEPTED = "Accepted"
    """The spec can be carried out: everything it names is there."""
    READY = "Ready"
    """Every stage's incumbent serves. Unknown until something serves for the first time."""
    PROGRESSING = "Progressing"
    """A cycle runs."""
    WEIGHTS_SYNCED = "WeightsSynced"
    """All samplers run the version that the phase asks for."""
    GATE_PASSED = "GatePassed"
    """The verdict on the newest candidate."""
    GOLD_KEPT = "GoldKept"
    """What serves has not lost gold little by little over the releases before it. Shown; it blocks nothing."""
    TRAFFIC_VERIFIED = "TrafficVerified"
    """The observed share of every stage fits the share that was set."""
    RECONCILING = "Reconciling"
    """kstatus: the operator is still working towards the spec."""
    STALLED = "Stalled"
    """kstatus: a person must act."""


class Reason(StrEnum):
    """Reasons that the operator itself sets; the prepare pod's and the cycle's outcomes add theirs."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    PLAN_FAILED = "PlanFailed"
    INVALID_SCHEDULE = "InvalidSchedule"
    CLAIM_MISSING = "ClaimMissing"
    CLAIM_NOT_SHARED = "ClaimNotReadWriteMany"
    FUSION_MISSING = "FusionConfigMissing"
    FUSION_INVALID = "FusionConfigInvalid"
    EXPRESSION_INVALID = "RewardExpressionInvalid"
    VOLUME_FULL = messages.VOLUME_FULL
    RECORD_FAILED = "RecordFailed"
    CHILD_REFUSED = "ChildRefused"
    CHILD_CONTESTED = "ChildContested"
    POD_NOT_STARTING = "PodNotStarting"
    POD_NOT_GONE = "PodNotGone"
    POD_NOT_SERVING = "PodNotServing"
    FORBIDDEN = "Forbidden"
    STATUS_REFUSED = "StatusRefused"
    GATEWAY_REFUSED = "RouteNotAccepted"
    PREPARING = "Preparing"
    SERVING = "Serving"
    NOT_SERVING = "NotServing"
    IDLE = "Idle"
    SUSPENDED = "Suspended"
    CYCLE_RUNNING = "CycleRunning"
    CYCLE_DUE = "CycleDue"
    SYNCED = "Synced"
    SYNCING = "Syncing"
    SYNC_FAILED = "SyncFailed"
    NOT_JUDGED = "NotJudged"
    GATE_APPROVED = "GateApproved"
    """The gate could not decide, and a person did: the verdict stays unknown."""
    NO_SERIES = "NoSeries"
    GOLD_HOLDS = "GoldHolds"
    GOLD_DECAYS = "GoldDecays"
    VERIFIED = "Verified"
    VERIFYING = "Verifying"
    SHARE_DOUBTED = "ShareDoubted"
    COUNTERS_SILENT = "CountersSilent"
    NO_CANDIDATE = "NoCandidate"


def rfc3339(unix_seconds: float) -> str:
    """1764000000.0 -> 2025-11-24T16:00:00Z"""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def set_condition(
    conditions: Iterable[Condition],
    kind: ConditionType,
    status: bool | None,
    reason: str,
    message: str,
    generation: int,
    now: float,
) -> list[Condition]:
    """The list with one condition set; None is Unknown. Sorted by type, so that equal facts give equal lists."""
    word = {True: "True", False: "False", None: "Unknown"}[status]
    others = [item for item in conditions if item.type != kind]
    before = next((item for item in conditions if item.type == kind), None)
    since = before.last_transition_time if before and before.status == word else rfc3339(now)
    condition = Condition(
        type=kind,
        status=word,
        reason=reason,
        message=message[:1024],
        observed_generation=generation,
        last_transition_time=since,
    )
    return sorted([*others, condition], key=lambda item: item.type)
