"""The gate: judges a candidate against its incumbent by evidence, and says why with numbers.

For the reconciler, which runs it in a thread and stores the report. Pure: the same evidence and settings give the
same report, byte for byte. It must never pass on missing evidence: what is unknown is Inconclusive, and Inconclusive
never promotes.
"""

from collections.abc import Sequence
from typing import Final

from rewriter_contract.messages import EvidenceRows
from rewriter_contract.reports import (
    REPORT_SCHEMA,
    CheckName,
    Finding,
    GateReport,
    GateSettings,
    Judged,
    Role,
    SelfTest,
    Verdict,
    evidence_digest,
)
from rewriter_operator.core import gate_self_test
from rewriter_operator.core.gate_checks import CHECKS
from rewriter_operator.core.gate_evidence import gather
from rewriter_operator.core.gate_measured import worst_of
from rewriter_operator.core.gate_slices import slice_reports

BOUNDED: Final = frozenset({CheckName.REWARD_GAIN, CheckName.GOLD_NDCG, CheckName.GOLD_RECALL})
"""Checks that pass by a bound at alpha and by nothing else."""


def judge(
    candidate: EvidenceRows, incumbent: EvidenceRows, settings: GateSettings, judged: Judged | None = None
) -> GateReport:
    """Run every check and every self-test, and sum them up. `judged`: what the cycle recorded; None is not known."""
    evidence = gather(candidate, incumbent, settings, judged)
    findings = tuple(check.find(evidence) for check in CHECKS)
    self_tests = gate_self_test.run(evidence)
    verdict = _verdict(findings, self_tests)
    return GateReport(
        verdict=verdict,
        reason=_reason(verdict, findings, self_tests),
        findings=findings,
        self_tests=self_tests,
        queries=len(evidence.pairs),
        against_passthrough=evidence.against_passthrough,
        candidate_sha256=candidate.sha256,
        incumbent_sha256=incumbent.sha256,
        reward_revision=candidate.reward_revision,
        relevance_model=candidate.relevance_model or incumbent.relevance_model,
        settings=settings,
        schema=REPORT_SCHEMA,
        judged=judged,
        slices=slice_reports(evidence),
    )


def may_be_approved(report: GateReport) -> bool:
    """Whether a person can decide what the gate could not: whole evidence, a gate that works, and no failure.

    Where evidence is missing or the self-test failed there are no numbers that a person could trust more than the gate.
    """
    complete = report.finding(CheckName.EVIDENCE_IS_COMPLETE).verdict is Verdict.PASS
    tested = all(test.passed for test in report.self_tests)
    return report.verdict is Verdict.INCONCLUSIVE and complete and tested


def more_queries_would_tell(report: GateReport) -> bool:
    """Whether only bounds stand in the way, which narrow with more queries and are honest at any number of looks.

    Limits of rates and tails are compared with what was counted, not with a bound: to count again until the count fits
    would let through what one look keeps out.
    """
    deciding = [finding for finding in report.findings if finding.role is not Role.DIAGNOSTIC]
    open_ones = {finding.name for finding in deciding if finding.verdict is Verdict.INCONCLUSIVE}
    return may_be_approved(report) and open_ones <= BOUNDED


def merge(shards: Sequence[EvidenceRows]) -> EvidenceRows:
    """One side's shards, in shard order, as one. Shards that were scored differently get a name that matches nothing.

    Raises:
        ValueError: without any shard.
    """
    if not shards:
        raise ValueError("evidence: no shard of this side; order at least one")
    return EvidenceRows(
        rows=tuple(row for shard in shards for row in shard.rows),
        sha256=evidence_digest(shard.sha256 for shard in shards),
        reward_revision="+".join(dict.fromkeys(shard.reward_revision for shard in shards)),
        relevance_model="+".join(dict.fromkeys(shard.relevance_model for shard in shards if shard.relevance_model)),
    )


def _verdict(findings: Sequence[Finding], self_tests: Sequence[SelfTest]) -> Verdict:
    """A gate that does not work says nothing about the candidate, neither good nor bad."""
    if not all(test.passed for test in self_tests):
        return Verdict.INCONCLUSIVE
    return worst_of([finding.verdict for finding in findings if finding.role is not Role.DIAGNOSTIC])


def _reason(verdict: Verdict, findings: Sequence[Finding], self_tests: Sequence[SelfTest]) -> str:
    broken = [test for test in self_tests if not test.passed]
    incomplete = [finding for finding in findings if _is_incomplete(finding)]
    if verdict is Verdict.PASS:
        gain = next(finding for finding in findings if finding.name is CheckName.REWARD_GAIN)
        judged = sum(finding.verdict is not Verdict.NOT_APPLICABLE for finding in findings)
        silent = f" ({len(findings) - judged} had nothing to judge)" if judged < len(findings) else ""
        untested = ", ".join(test.name for test in self_tests if not test.tested)
        without = f"; self-test without {untested}" if untested else ""
        return f"{judged} checks on {gain.n} queries{silent}{without}; {gain.message}"
    if broken and not incomplete:  # too little evidence is the simpler truth where both are so
        return f"self-test {broken[0].name} failed: {broken[0].message}"
    deciding = [finding for finding in findings if finding.verdict is verdict and finding.role is not Role.DIAGNOSTIC]
    first = (incomplete if verdict is Verdict.INCONCLUSIVE and incomplete else deciding)[0]
    others = f" (and {len(deciding) - 1} more)" if len(deciding) > 1 else ""
    return f"{first.name}: {first.message}{others}"


def _is_incomplete(finding: Finding) -> bool:
    return finding.name is CheckName.EVIDENCE_IS_COMPLETE and finding.verdict is not Verdict.PASS
