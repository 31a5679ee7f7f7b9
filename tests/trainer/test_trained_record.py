"""What was trained on is written down by cycle, and found again through the weights that descend from it. No torch."""

import json
from pathlib import Path

import pytest

from rewriter_contract import volume
from rewriter_contract.agent import WorkFailed
from rewriter_contract.messages import PairsConfig, PhaseOrder, WeightsRef
from rewriter_contract.text import normalise
from rewriter_trainer.pairs import build_pairs
from rewriter_trainer.phase import Job, write_down
from rewriter_trainer.trained_record import RecordUnreadable, lineage, query_digest, record

from . import builders
from .builders import rows_with_signal


def phase(cycle: int, number: int, base: str) -> PhaseOrder:
    return builders.order(WeightsRef(base, "0"), phase=number, out_version=volume.weights_version(cycle, number))


def digests(*queries: str) -> set[str]:
    return {query_digest(normalise(query)) for query in queries}


def learnt(root: Path, version: str) -> set[str]:
    return {query for found in lineage(root, [version]) for query in found.queries}


def test_a_set_has_learnt_what_its_line_was_trained_on_and_not_what_came_beside_or_after(tmp_path: Path) -> None:
    record(tmp_path, 1, phase(1, 1, "base-x"), ["a"], "pod")
    record(tmp_path, 1, phase(1, 2, "r0001-p01"), ["a", "b"], "pod")
    record(tmp_path, 2, phase(2, 1, "r0001-p01"), ["c"], "pod")
    assert learnt(tmp_path, "r0001-p01") == digests("a")
    assert learnt(tmp_path, "r0001-p02") == digests("a", "b")
    assert learnt(tmp_path, "r0002-p01") == digests("a", "c")
    assert learnt(tmp_path, "base-x") == learnt(tmp_path, "r0009-p01") == set()


def test_a_query_is_written_once_for_each_line_of_a_cycle_however_many_phases_draw_it(tmp_path: Path) -> None:
    for number in range(1, 6):
        base = "base-x" if number == 1 else volume.weights_version(1, number - 1)
        record(tmp_path, 1, phase(1, number, base), [f"query {index}" for index in range(100)], "pod")
    assert (tmp_path / volume.trained_file(1)).stat().st_size < 100 * 20 + 5 * 100


def test_a_phase_that_a_new_pod_begins_again_replaces_what_it_said(tmp_path: Path) -> None:
    record(tmp_path, 1, phase(1, 1, "base-x"), ["a"], "pod")
    record(tmp_path, 1, phase(1, 1, "base-x"), ["b"], "another")
    assert learnt(tmp_path, "r0001-p01") == digests("b")
    assert not list(tmp_path.rglob(".tmp-*"))


def test_no_text_of_a_person_is_in_it(tmp_path: Path) -> None:
    record(tmp_path, 1, phase(1, 1, "base-x"), ["my secret illness"], "pod")
    assert "secret" not in (tmp_path / volume.trained_file(1)).read_text()


def test_sets_that_name_each_other_end_the_walk(tmp_path: Path) -> None:
    record(tmp_path, 1, phase(1, 1, "r0002-p01"), ["a"], "pod")
    record(tmp_path, 2, phase(2, 1, "r0001-p01"), ["b"], "pod")
    assert learnt(tmp_path, "r0001-p01") == digests("a", "b")


@pytest.mark.parametrize("text", ["", "{}", '{"phases": [{"version": 1}]}', "\x00"])
def test_a_damaged_record_is_told_with_its_name_and_never_read_as_nothing(tmp_path: Path, text: str) -> None:
    record(tmp_path, 1, phase(1, 1, "base-x"), ["a"], "pod")
    (tmp_path / volume.trained_file(1)).write_text(text)
    with pytest.raises(RecordUnreadable, match=r"restore trained/0001.json, or remove it"):
        learnt(tmp_path, "r0001-p01")


def test_the_trainer_writes_down_the_queries_of_its_pairs_beside_them(tmp_path: Path) -> None:
    order, rows = phase(1, 1, "base-x"), rows_with_signal(4)
    pairs = build_pairs(rows, PairsConfig())
    write_down(Job(tmp_path, 1, 1, "pod"), order, pairs)
    lines = (tmp_path / volume.pairs_file(1, 1)).read_text().splitlines()
    assert learnt(tmp_path, "r0001-p01") == digests(*(json.loads(line)["query"] for line in lines)) != set()
    (tmp_path / volume.trained_file(1)).write_text("{")
    with pytest.raises(WorkFailed, match="restore"):
        write_down(Job(tmp_path, 1, 2, "pod"), phase(1, 2, "r0001-p01"), pairs)
