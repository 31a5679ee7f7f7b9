"""Judges a cycle's evidence again, offline: `python -m rewriter_operator.replay cycles/0007/gate`.

For a person who doubts a verdict. It reads the directory as the samplers left it (candidate-*.jsonl, incumbent-*.jsonl,
report.json), checks that the evidence is what was judged, judges it with the settings of the report and says whether
the verdict is the same. It must never write, and never judge evidence that the report does not name.
"""

import argparse
import json
import sys
from pathlib import Path

from rewriter_contract import wire
from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import GateReport
from rewriter_contract.shards import ShardError, read_done, read_scored
from rewriter_operator.core.gate import judge, merge


class ReplayRefused(ValueError):
    """The directory does not hold what the report judged."""


def replay(directory: Path) -> tuple[GateReport, GateReport]:
    """(the report as it was written, the report of today's code on the same evidence).

    Raises:
        ReplayRefused: naming what is absent or differs.
    """
    try:
        written = wire.loads(GateReport, (directory / "report.json").read_bytes(), "report.json")
        candidate, incumbent = (evidence_of(directory, side) for side in ("candidate", "incumbent"))
    except (FileNotFoundError, ShardError, wire.WireError) as error:
        raise ReplayRefused(f"{directory}: {error}") from error
    for side, digest in ((candidate, written.candidate_sha256), (incumbent, written.incumbent_sha256)):
        if side.sha256 != digest:
            raise ReplayRefused(f"{directory}: evidence {side.sha256[:12]} is not {digest[:12]}, which was judged")
    return written, judge(candidate, incumbent, written.settings, written.judged)


def differences(written: GateReport, again: GateReport) -> list[str]:
    """What another version of the gate sees differently, one line per finding."""
    before = {finding.name: finding for finding in written.findings}
    return [
        f"{finding.name}: {before[finding.name].verdict} -> {finding.verdict}: {finding.message}"
        if finding.name in before
        else f"{finding.name}: new, {finding.verdict}: {finding.message}"
        for finding in again.findings
        if finding != before.get(finding.name)
    ]


def main(arguments: list[str]) -> int:
    """0: the same verdict. 1: another one. 2: nothing to judge."""
    parser = argparse.ArgumentParser(prog="python -m rewriter_operator.replay", description=__doc__)
    parser.add_argument("directory", type=Path, help="cycles/NNNN/gate of a volume, or a copy of it")
    try:
        written, again = replay(parser.parse_args(arguments).directory)
    except ReplayRefused as refused:
        print(refused, file=sys.stderr)
        return 2
    print(f"written: {written.summary()}\nagain:   {again.summary()}")
    print("\n".join(differences(written, again)) or "every number is the same")
    return 0 if written.verdict is again.verdict else 1


def evidence_of(directory: Path, side: str) -> EvidenceRows:
    """All shards of one side, as the gate judges them.

    Raises:
        ShardError, FileNotFoundError: when a shard is absent, unfinished or damaged.
    """
    shards = sorted(directory.glob(f"{side}-*.jsonl"))
    if not shards:
        raise ShardError(f"no {side}-*.jsonl")
    return merge([_shard(path) for path in shards])


def _shard(path: Path) -> EvidenceRows:
    done = read_done(path)
    if done is None:
        raise ShardError(f"{path.name} was never finished")
    about = json.loads(path.with_name(f"{path.name}.about").read_bytes())
    rows = read_scored(EvidenceRow, path, done.sha256, done.reward_revision)
    return EvidenceRows(rows, done.sha256, done.reward_revision, str(about["relevanceModel"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
