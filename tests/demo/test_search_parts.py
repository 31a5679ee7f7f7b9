"""Flaw, fusion and collection: the parts of the demo's search that need no model."""

import json
from pathlib import Path

import numpy as np
import pytest

from e2e.demo.beir import CollectionError, read_corpus, read_judgements, read_queries
from e2e.demo.flaw import LONGEST, Flaw, FlawError, FlawKind, parse_flaw
from e2e.demo.fusion import FusionError, read_fusion


def test_the_length_flaw_pays_for_words() -> None:
    flaw = parse_flaw("length:0.1")
    two, five = flaw.distort(0.4, "mouse pad"), flaw.distort(0.4, "mouse pad for the desk")
    assert five / two == pytest.approx(1.5 / 1.2)


@pytest.mark.parametrize("words", [0, 1, LONGEST - 1, LONGEST, 10 * LONGEST])
@pytest.mark.parametrize("score", [0.0, 0.4, 1.0])
def test_a_flawed_score_stays_a_score_and_no_word_is_cut_off(words: int, score: float) -> None:
    flaw = Flaw(FlawKind.LENGTH, 10.0)
    assert 0.0 <= flaw.distort(score, "word " * words) <= score
    if words < LONGEST and score:
        assert flaw.distort(score, "word " * words) < flaw.distort(score, "word " * (words + 1))


@pytest.mark.parametrize("text", ["", "length", "length:x", "width:1", "length:-1", "length:11"])
def test_an_unknown_flaw_is_refused(text: str) -> None:
    with pytest.raises(FlawError):
        parse_flaw(text)


def write_fusion(directory: Path, stages: object) -> Path:
    path = directory / "fusion.json"
    path.write_text(json.dumps({"stages": stages}))
    return path


def test_fusion_multiplies_what_rewrites_find(tmp_path: Path) -> None:
    fusion = read_fusion(write_fusion(tmp_path, {"finerank": {"a": 1.0, "b": 0.3, "gamma": 0.5}}))
    relevances = np.array([[0.7, 0.1], [0.7, 0.0]], np.float32)
    factors = fusion.factor("finerank", relevances)
    assert factors == pytest.approx([1.0, (0.4 * 0.3) ** 0.5], rel=1e-5)


def test_a_stage_without_rewrites_or_without_constants_ranks_by_the_query_alone(tmp_path: Path) -> None:
    fusion = read_fusion(write_fusion(tmp_path, {"finerank": {"a": 1.0, "b": 0.3, "gamma": 0.5}}))
    assert list(fusion.factor("finerank", np.zeros((0, 3), np.float32))) == [1.0, 1.0, 1.0]
    assert list(fusion.factor("rawrank", np.ones((2, 3), np.float32))) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ({"ranking": {"a": 1, "b": 1, "gamma": 1}}, "stages.ranking"),
        ({"finerank": {"a": 1, "gamma": 1}}, "stages.finerank.b"),
        ({"finerank": {"a": 1, "b": 0, "gamma": 1}}, "above 0"),
    ],
)
def test_a_wrong_fusion_file_is_refused_by_field(tmp_path: Path, stages: object, named: str) -> None:
    with pytest.raises(FusionError, match=named):
        read_fusion(write_fusion(tmp_path, stages))


def test_a_collection_in_beir_layout_is_read(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "title": "Mouse", "text": "Clicks."}\n\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "mice", "metadata": {"kind": "plain"}}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t3\nq1\td2\t0\n")
    assert [document.title for document in read_corpus(tmp_path)] == ["Mouse"]
    assert read_queries(tmp_path)["q1"].kind == "plain"
    assert read_judgements(tmp_path, "test") == {"q1": {"d1": 3.0}}
    assert read_judgements(tmp_path, "dev") is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"corpus\.jsonl is missing"):
        read_corpus(tmp_path)
