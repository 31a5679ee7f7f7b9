"""Kinds of queries: a loss of one is found, an accident is no pass, and where there is no kind nothing is concluded."""

from dataclasses import replace

import pytest

from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import CheckName, CheckSettings, Finding, GateSettings, Verdict
from rewriter_operator.core.gate import judge

from .evidence_builder import both_sides

FAST = GateSettings(resamples=200)
BOTH = pytest.mark.parametrize("name", [CheckName.SLICE_REGRESSIONS, CheckName.SLICE_REWARDS])


def find(name: CheckName, losses: dict[str, list[float]], settings: GateSettings = FAST) -> Finding:
    """The finding when the queries of each slice lose so much of both nDCG@10 and log R; 80 queries in all."""
    candidate, incumbent = both_sides()
    flat = [replace(row, slice="", ndcg10=0.5, reward=0.0) for row in incumbent.rows]
    named = [(kind, loss) for kind, values in losses.items() for loss in values]
    sliced = [replace(row, slice=kind) for row, (kind, _) in zip(flat, named, strict=False)] + flat[len(named) :]
    ours = [
        replace(row, rewrites=own.rewrites, ndcg10=0.5 - loss, reward=-loss)
        for row, own, (_, loss) in zip(sliced, candidate.rows, named, strict=False)
    ] + [replace(row, rewrites=own.rewrites) for row, own in zip(sliced, candidate.rows, strict=True)][len(named) :]
    sides = replace(candidate, rows=tuple(ours)), replace(incumbent, rows=tuple(sliced))
    return judge(*sides, settings).finding(name)


def asked(name: CheckName) -> GateSettings:
    """The user names the check."""
    return replace(FAST, checks={name: CheckSettings(margin=0.1)})


@BOTH
def test_slice_that_loses_for_certain_fails(name: CheckName) -> None:
    finding = find(name, {"typo": [0.3] * 12, "head": [0.0] * 20})
    assert finding.verdict is Verdict.FAIL
    assert "worst of 2 slices: typo (12 queries)" in finding.message


@BOTH
def test_slice_that_loses_perhaps_by_chance_is_not_a_pass(name: CheckName) -> None:
    finding = find(name, {"typo": [0.5, -0.1] * 2 + [0.5, -0.4] * 3, "head": [0.0] * 20})
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "< -0.100, perhaps by chance" in finding.message


@BOTH
def test_slice_that_loses_less_than_the_margin_passes(name: CheckName) -> None:
    assert find(name, {"typo": [0.05] * 12}).verdict is Verdict.PASS


@BOTH
@pytest.mark.parametrize(
    ("losses", "said"),
    [({}, "no query names its slice"), ({"typo": [0.3] * 9, "head": [0.3] * 2}, "no slice has 10 queries: head, typo")],
    ids=["none", "all too small"],
)
def test_slices_that_cannot_be_judged_are_no_evidence(
    name: CheckName, losses: dict[str, list[float]], said: str
) -> None:
    by_default, named = find(name, losses), find(name, losses, asked(name))
    assert (by_default.verdict, named.verdict) == (Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE)
    assert said in by_default.message and said in named.message


@BOTH
def test_slice_of_nine_is_named_beside_those_that_are_tested(name: CheckName) -> None:
    finding = find(name, {"typo": [0.3] * 9, "head": [0.0] * 20})
    assert finding.verdict is Verdict.PASS
    assert finding.message.endswith("too small to test: typo")


def without_slices(side: EvidenceRows) -> EvidenceRows:
    def plain(row: EvidenceRow) -> EvidenceRow:
        return replace(row, slice="")

    return replace(side, rows=tuple(map(plain, side.rows)))


def test_release_without_slices_is_promoted_and_told_what_was_not_judged() -> None:
    candidate, incumbent = map(without_slices, both_sides())
    report = judge(candidate, incumbent, FAST)
    silent = sum(finding.verdict is Verdict.NOT_APPLICABLE for finding in report.findings)
    assert report.verdict is Verdict.PASS
    assert report.reason.startswith(
        f"{len(report.findings) - silent} checks on 80 queries ({silent} had nothing to judge)"
    )
    assert judge(candidate, incumbent, asked(CheckName.SLICE_REGRESSIONS)).verdict is Verdict.INCONCLUSIVE
