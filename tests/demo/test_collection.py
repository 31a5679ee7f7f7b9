"""The data files that are made of the shipped collection keep the gate's queries and labels out of training."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("transformers")

from e2e.demo.collection import NEGATIVES, POSITIVES, convert

pytestmark = pytest.mark.ml

SHOP = Path(__file__).parents[2] / "e2e" / "data" / "shop"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("data")
    counts = convert(SHOP, out)
    rows = {name: [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()] for name in counts}
    assert {name: len(found) for name, found in rows.items()} == counts
    return rows


def test_no_query_is_in_two_files(files: dict[str, list[dict[str, Any]]]) -> None:
    texts = [{row["query"].casefold() for row in files[name]} for name in ("train", "validation", "gate")]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]


def test_training_rows_carry_no_labels_and_gate_rows_do(files: dict[str, list[dict[str, Any]]]) -> None:
    assert not any(row["labels"] for row in files["train"])
    assert all(row["labels"] for row in files["gate"])


def test_negatives_are_near_and_never_labelled(files: dict[str, list[dict[str, Any]]]) -> None:
    for row in files["gate"]:
        assert len(row["negatives"]) == NEGATIVES
        assert not set(row["negatives"]) & set(row["labels"])


def test_every_document_that_a_row_names_is_in_the_corpus(files: dict[str, list[dict[str, Any]]]) -> None:
    known = {row["_id"] for row in files["corpus"]}
    for row in [*files["train"], *files["gate"]]:
        assert set(row["positives"]) | set(row["negatives"]) <= known
        assert 0 < len(row["positives"]) <= POSITIVES


def test_every_gate_row_has_its_kind(files: dict[str, list[dict[str, Any]]]) -> None:
    assert {row["slice"] for row in files["gate"]} >= {"typo", "wish", "plain", "negation"}
