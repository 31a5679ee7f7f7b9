"""Only the documents that a shard's rows name are read from the corpus."""

from pathlib import Path

import pytest

from rewriter_contract.messages import DataRow
from rewriter_sampler.corpus import CorpusRefused, read_documents

ROW = DataRow(id="q1", query="shoes", positives=("d1",), negatives=("d3", "gone"))


def corpus(directory: Path, text: str) -> Path:
    path = directory / "corpus.jsonl"
    path.write_text(text)
    return path


def test_named_documents_are_read_with_their_titles(tmp_path: Path) -> None:
    lines = '{"_id":"d1","title":"Red","text":"a shoe"}\n{"_id":"d2","text":"no"}\n\n{"_id":"d3","text":"bare"}\n'
    assert read_documents(corpus(tmp_path, lines), [ROW]) == {"d1": "Red. a shoe", "d3": "bare"}


@pytest.mark.parametrize("line", ["{", '{"_id":"d1"}', "[]", '"d1"'])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(CorpusRefused, match=r"corpus\.jsonl line 2: must be a JSON object"):
        read_documents(corpus(tmp_path, '{"_id":"d1","text":"x"}\n' + line + "\n"), [ROW])


def test_an_absent_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusRefused, match=r"corpus\.jsonl is missing"):
        read_documents(tmp_path / "corpus.jsonl", [ROW])
