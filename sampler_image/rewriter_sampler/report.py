"""Puts the gate's report on the volume: report.json as the operator sent it, and a page that a person can read.

The operator has no volume, so it sends the report here. This module must never change a verdict: the page shows what
report.json says, and adds only the rows of evidence that the report's digests name.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from rewriter_contract import wire
from rewriter_contract.messages import DataRow, EvidenceOrder, EvidenceRow
from rewriter_contract.reports import GateReport, evidence_digest
from rewriter_contract.selection import read_requests
from rewriter_contract.shards import ShardError, read_done, read_scored, replace_file
from rewriter_contract.volume import cycle_dir, report_file, resolve
from rewriter_sampler.corpus import read_snippets
from rewriter_sampler.evidence import read_about
from rewriter_sampler.report_page import Answered, page, shown_documents

CORPUS_SECONDS: Final = 2.0
"""For reading what the page says of documents: the operator waits for the report, but not long."""


def write(root: Path, cycle: int, body: bytes, writer: str) -> None:
    """Check `body` and write cycles/NNNN/gate/report.{json,html}. Writing the same report again is harmless.

    Raises:
        WireError: when `body` is not a GateReport.
    """
    report = wire.loads(GateReport, body, "gate report")
    order = _order(root, cycle)
    answered = _answered(root, cycle, report, order)
    shown = page(cycle, report, answered, _phases(root, cycle), _snippets(root, order, answered))
    replace_file(resolve(root, report_file(cycle, "html")), shown.encode(), writer)
    replace_file(resolve(root, report_file(cycle, "json")), wire.dumps(report).encode(), writer)


def _phases(root: Path, cycle: int) -> list[list[dict[str, float]]]:
    """The steps of each phase that was trained; lines that a crash cut off are left out."""
    found = []
    for file in sorted(resolve(root, f"{cycle_dir(cycle)}/phases").glob("*/metrics.jsonl")):
        rows = []
        for line in file.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append({name: value for name, value in row.items() if isinstance(value, int | float)})
        found.append(rows)
    return found


def _answered(root: Path, cycle: int, report: GateReport, order: EvidenceOrder | None) -> list[Answered]:
    """What both sides answered, query by query; nothing when the volume no longer has the evidence that was judged."""
    candidate = _side(root, cycle, "candidate", report.candidate_sha256)
    incumbent = _side(root, cycle, "incumbent", report.incumbent_sha256)
    asked = _asked(root, order)
    return [
        Answered(asked[key].query, candidate[key], incumbent[key], asked[key].labels)
        if key in asked
        else Answered(candidate[key].query or key, candidate[key], incumbent[key])
        for key in sorted(candidate.keys() & incumbent)
    ]


def _side(root: Path, cycle: int, side: str, digest: str) -> dict[str, EvidenceRow]:
    announced = [(shard, done) for shard in _shards(root, cycle, side) if (done := read_done(shard)) is not None]
    if not announced or evidence_digest(done.sha256 for _, done in announced) != digest:
        return {}
    try:
        shards = [read_scored(EvidenceRow, shard, done.sha256, done.reward_revision) for shard, done in announced]
    except ShardError:
        return {}
    return {row.id: row for rows in shards for row in rows}


def _order(root: Path, cycle: int) -> EvidenceOrder | None:
    """What the candidate's first shard was ordered with: it names the files."""
    for shard in _shards(root, cycle, "candidate"):
        about = read_about(shard)
        if about is not None:
            return about.order
    return None


def _asked(root: Path, order: EvidenceOrder | None) -> dict[str, DataRow]:
    """Queries with their labels by id; none where the file was changed since."""
    try:
        rows = read_requests(resolve(root, order.requests_file), order.requests_sha256) if order else []
    except ShardError:
        return {}
    return {row.id: row for row in rows}


def _snippets(root: Path, order: EvidenceOrder | None, answered: Sequence[Answered]) -> dict[str, str]:
    """What the page says of documents; it shows the ids of those that are not there."""
    if order is None:
        return {}
    return read_snippets(resolve(root, order.corpus_file), shown_documents(answered), CORPUS_SECONDS)


def _shards(root: Path, cycle: int, side: str) -> list[Path]:
    return sorted(resolve(root, f"{cycle_dir(cycle)}/gate").glob(f"{side}-*.jsonl"))
