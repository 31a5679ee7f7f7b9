"""The gate's report: what was checked, with which numbers, and the verdict. Made by the operator, kept on the volume.

Everything that a person needs to disagree with the verdict is in it: every number, every bound, the settings, the
seed, and the digests of the evidence. A value that could not be had is None and never makes a check pass.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rewriter_contract.messages import WeightsRef

REPORT_SCHEMA: Final = 3
"""Of report.json. 2: it says who was judged on what. 3: slices. A later one may only add fields."""

MAX_SUMMARY: Final = 300
"""Characters of `GateReport.summary`: it goes into a status and an event."""


class Verdict(StrEnum):
    """Of one finding, and of the whole gate. Inconclusive never promotes and is not the candidate's fault."""

    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    NOT_APPLICABLE = "NotApplicable"
    """Of a finding only: the queries have nothing that the check looks at, and nobody asked for it. No evidence."""


class Role(StrEnum):
    """What a finding means for the verdict of the gate."""

    PRIMARY = "Primary"
    """The reason to promote: must be shown to be better."""
    GUARDRAIL = "Guardrail"
    """Must be shown not to be worse than the margin allows."""
    INVARIANT = "Invariant"
    """Holds for every candidate, whatever the incumbent does."""
    HACKING_DETECTOR = "HackingDetector"
    """Refuses a reward that rises while gold falls."""
    DIAGNOSTIC = "Diagnostic"
    """Shown, never decides."""


class CheckName(StrEnum):
    """Every check of the gate; the values are the names in `spec.gate.checks`. docs/gate.md has a section for each."""

    EVIDENCE_IS_COMPLETE = "EvidenceIsComplete"
    REWARD_GAIN = "RewardGain"
    GOLD_NDCG = "GoldNdcg"
    GOLD_RECALL = "GoldRecall"
    NO_REWARD_HACKING = "NoRewardHacking"
    TAIL_LOSS = "TailLoss"
    SLICE_REGRESSIONS = "SliceRegressions"
    LENGTH_RATIO = "LengthRatio"
    LENGTH_TAIL = "LengthTail"
    COPY_RATE = "CopyRate"
    REPETITION = "Repetition"
    FORMAT = "Format"
    DISTINCT_REWRITES = "DistinctRewrites"
    WINS_AND_LOSSES = "WinsAndLosses"
    REWARD_AGREES_WITH_GOLD = "RewardAgreesWithGold"
    LOOK_ALIKE_LETTERS = "LookAlikeLetters"
    SCRIPT_KEPT = "ScriptKept"
    NUMBERS_KEPT = "NumbersKept"
    UNITS_KEPT = "UnitsKept"
    NEGATIONS_KEPT = "NegationsKept"
    NAMES_KEPT = "NamesKept"
    TARGET_KEPT = "TargetKept"
    ADDED_WORD = "AddedWord"
    UNRELATED_REWRITES = "UnrelatedRewrites"
    UNIQUE_REWRITES = "UniqueRewrites"
    VOCABULARY = "Vocabulary"
    CHANGED_REWRITES = "ChangedRewrites"
    COPIES_LOST = "CopiesLost"
    TOP_REWARD_GOLD = "TopRewardGold"
    SLICE_REWARDS = "SliceRewards"
    QUERIES_SUFFICE = "QueriesSuffice"
    TRUNCATED = "Truncated"
    SAMPLED_REWARD = "SampledReward"
    SAMPLED_GOLD = "SampledGold"
    SAMPLED_VARIETY = "SampledVariety"
    SURPRISE = "Surprise"
    DIVERGENCE = "Divergence"


@dataclass(frozen=True)
class CheckSettings:
    """Numbers of one check; None keeps its default. What each number means for each check is in docs/gate.md."""

    margin: float | None = None
    min: float | None = None
    max: float | None = None
    disabled: bool = False
    """Still measured and shown, as a diagnostic. Without effect on EvidenceIsComplete."""
    enforced: bool = False
    """A diagnostic decides, like a guardrail."""


@dataclass(frozen=True)
class GateSettings:
    """How strictly to judge."""

    alpha: float = 0.05
    """Error rate of every one-sided bound: 0.05 draws a 90 % interval, whose ends are 95 % bounds."""
    minimum_queries: int = 30
    """Fewer paired queries than this are Inconclusive."""
    seed: int = 0
    resamples: int = 2000
    checks: dict[str, CheckSettings] = field(default_factory=dict)
    """CheckName -> overrides."""


@dataclass(frozen=True)
class Finding:
    """The result of one check. All numbers are in the unit of the check; None = there is no such number."""

    name: CheckName
    role: Role
    verdict: Verdict
    message: str
    """One line with the numbers that decided, e.g. `nDCG@10 difference -0.031, lower bound -0.062 < -0.050`."""
    candidate: float | None = None
    incumbent: float | None = None
    difference: float | None = None
    low: float | None = None
    """One-sided lower bound of `difference` (or of `candidate`, for checks without an incumbent)."""
    high: float | None = None
    threshold: float | None = None
    """What the bound was compared with."""
    n: int = 0
    """Queries that entered."""


@dataclass(frozen=True)
class SelfTest:
    """The gate tried on something whose answer is known: a planted hack must fail, exchanged sides must not differ."""

    name: str
    passed: bool
    message: str
    tested: bool | None = True
    """False: the user's settings leave nothing that could refuse it, so it says nothing about this gate. None: not told
    to pods that would refuse the field; the message tells."""


@dataclass(frozen=True)
class Judged:
    """Who was judged on what, as the cycle recorded it. Evidence that was scored otherwise is not judged."""

    cycle: int
    reward_revision: str
    relevance_model: str
    """Empty: the cycle recorded none (an operator from before that was refused), and no evidence is its own."""
    fusion_sha256: str = ""
    """Of the fusion's constants, as the cycle copied them from the serving config."""
    candidate: WeightsRef | None = None
    incumbent: WeightsRef | None = None
    """None is the passthrough."""
    data_digests: dict[str, str] = field(default_factory=dict)
    """Role (corpus, train, gate, validation) -> sha256 of the file."""


@dataclass(frozen=True)
class Spread:
    """A paired mean difference between its bounds, each wrong at most `GateSettings.alpha` of the time."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class SliceReport:
    """One kind of query, as it is shown; what it means for the verdict, SliceRegressions and SliceRewards say."""

    name: str
    queries: int
    reward: Spread | None
    """Of log R; None where it was measured for fewer than two queries, or is not comparable."""
    ndcg10: Spread | None


@dataclass(frozen=True)
class GateReport:
    """The verdict with all that led to it."""

    verdict: Verdict
    reason: str
    """One sentence: which check decided, or why nothing could be concluded."""
    findings: tuple[Finding, ...]
    self_tests: tuple[SelfTest, ...]
    queries: int
    """Queries that both sides answered."""
    against_passthrough: bool
    """The incumbent answers "no rewrites": checks of its texts are absolute."""
    candidate_sha256: str
    incumbent_sha256: str
    reward_revision: str
    relevance_model: str
    settings: GateSettings
    schema: int | None = None
    """REPORT_SCHEMA; None in reports from before there was one, and where `judged` is left out for a cycle's pods."""
    judged: Judged | None = None
    """None in reports from before it was recorded, of cycles whose pods would refuse it, and of evidence without a
    cycle (benches)."""
    slices: tuple[SliceReport, ...] | None = None
    """By name, of queries that name their slice; None in reports from before schema 3, and for pods that would
    refuse it."""

    def summary(self) -> str:
        """One line for status and events."""
        line = f"{self.verdict}: {self.reason}"
        return line if len(line) <= MAX_SUMMARY else line[: MAX_SUMMARY - 3] + "..."

    def finding(self, name: CheckName) -> Finding:
        """The finding of one check; every report has all of them.

        Raises:
            KeyError: when a report of another version lacks it.
        """
        for finding in self.findings:
            if finding.name is name:
                return finding
        raise KeyError(f"the report has no finding {name}; it was written by another version")


def evidence_digest(shards: Iterable[str]) -> str:
    """One sha256 for a side whose evidence came in several shards (in shard order); a single shard keeps its own."""
    digests = tuple(shards)
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
