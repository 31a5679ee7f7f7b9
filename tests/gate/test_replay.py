"""A verdict that is doubted can be had again from the files of the volume, and from no others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import EvidenceRows, WeightsRef
from rewriter_contract.reports import GateSettings, Judged, Verdict
from rewriter_contract.shards import write_shard
from rewriter_operator.core.gate import judge, merge
from rewriter_operator.replay import evidence_of, main, replay
from tests.builders import RELEVANCE, REWARD

from .evidence_builder import World, both_sides

DEFAULT = World()
FAST = GateSettings(resamples=100, seed=3)


def volume(root: Path, world: World = DEFAULT) -> Path:
    """cycles/NNNN/gate with the candidate in two shards, and its report."""
    candidate, incumbent = both_sides(world)
    halves = [candidate.rows[:40], candidate.rows[40:]]
    stored = merge(
        [shard(root, "candidate", index, replace(candidate, rows=rows)) for index, rows in enumerate(halves)]
    )
    report = judge(stored, shard(root, "incumbent", 0, incumbent), FAST)
    (root / "report.json").write_text(wire.dumps(report))
    return root


def shard(root: Path, side: str, index: int, rows: EvidenceRows) -> EvidenceRows:
    """One shard with its files, as the sampler names them."""
    path = root / f"{side}-{index:03d}.jsonl"
    done = write_shard(path, rows.rows, "w", rows.reward_revision, "test")
    path.with_name(f"{path.name}.about").write_text(json.dumps({"relevanceModel": rows.relevance_model}))
    return replace(rows, sha256=done.sha256)


@pytest.mark.parametrize(("gain", "verdict"), [(0.08, Verdict.PASS), (0.0, Verdict.INCONCLUSIVE), (-0.2, Verdict.FAIL)])
def test_replay_gives_the_report_again_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gain: float, verdict: Verdict
) -> None:
    written, again = replay(volume(tmp_path, World(reward_gain=gain)))
    assert wire.dumps(again) == wire.dumps(written)
    assert again.verdict is verdict
    assert main([str(tmp_path)]) == 0
    assert "every number is the same" in capsys.readouterr().out


def test_other_evidence_than_was_judged_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume(tmp_path)
    candidate, _ = both_sides(World(seed=9))
    shard(tmp_path, "candidate", 1, replace(candidate, rows=candidate.rows[40:]))
    assert main([str(tmp_path)]) == 2
    assert "which was judged" in capsys.readouterr().err


def test_edited_report_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume(tmp_path, World(reward_gain=-0.2))
    report = tmp_path / "report.json"
    report.write_text(report.read_text().replace('"verdict":"Fail"', '"verdict":"Pass"'))
    assert main([str(tmp_path)]) == 1
    assert "RewardGain: Pass -> Fail" in capsys.readouterr().out


JUDGED = Judged(
    7, REWARD, RELEVANCE, "f" * 64, WeightsRef("r0007-p02", "a" * 64), None, {"gate": "b" * 64, "corpus": "c" * 64}
)


def test_a_report_that_says_who_was_judged_on_what_is_replayed_against_that(tmp_path: Path) -> None:
    directory = volume(tmp_path)
    sides = [evidence_of(directory, side) for side in ("candidate", "incumbent")]
    (directory / "report.json").write_text(wire.dumps(judge(*sides, FAST, JUDGED)))
    written, again = replay(directory)
    assert again == written and (again.judged, again.verdict) == (JUDGED, Verdict.PASS)
    moved = replace(written, judged=replace(JUDGED, relevance_model="other@1"))
    (directory / "report.json").write_text(wire.dumps(moved))
    assert replay(directory)[1].verdict is Verdict.INCONCLUSIVE


def test_a_report_from_before_it_had_a_schema_is_replayed_as_it_was_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = volume(tmp_path) / "report.json"
    older = {name: part for name, part in json.loads(report.read_text()).items() if name not in ("schema", "slices")}
    assert "judged" not in older
    report.write_text(json.dumps(older))
    assert main([str(tmp_path)]) == 0
    assert "every number is the same" in capsys.readouterr().out


def test_results_that_rows_keep_for_people_move_no_number_of_the_verdict(tmp_path: Path) -> None:
    candidate, incumbent = both_sides(DEFAULT)
    shown = replace(
        candidate,
        rows=tuple(replace(row, results=("d1",), alone_results=("d2",), alone_ndcg10=0.1) for row in candidate.rows),
    )
    stored = [shard(tmp_path, "candidate", 0, shown), shard(tmp_path, "incumbent", 0, incumbent)]
    (tmp_path / "report.json").write_text(wire.dumps(judge(*stored, FAST)))
    written, again = replay(tmp_path)
    before = judge(replace(candidate, sha256=stored[0].sha256), stored[1], FAST)
    assert written == again == before


@pytest.mark.parametrize("absent", ["report.json", "candidate-000.jsonl.done", "incumbent-000.jsonl"])
def test_absent_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], absent: str) -> None:
    (volume(tmp_path) / absent).unlink()
    assert main([str(tmp_path)]) == 2
    assert absent.split("-")[0].split(".")[0] in capsys.readouterr().err
