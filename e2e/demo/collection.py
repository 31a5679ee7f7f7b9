"""Makes the operator's data files (docs/data.md) from a test collection in BEIR layout.

    python -m e2e.demo.collection COLLECTION OUT

writes OUT/{corpus,train,validation,gate}.jsonl and OUT/corpus.npz (embeddings, so that services start quickly).
Training queries come from qrels/train, validation from qrels/validation or dev (or every sixth training query), the
gate's from qrels/test. No judgement of a gate query ever enters a training file, and no text of a gate query either.
"""

import argparse
import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import bm25s
import numpy as np

from e2e.demo.beir import CollectionError, Document, Judgements, Query, read_corpus, read_judgements, read_queries
from e2e.demo.encoder import EmbeddingsRefused, Encoder, document_text, packaged_model
from rewriter_contract import wire
from rewriter_contract.messages import DataRow
from rewriter_contract.text import normalise

NEGATIVES: Final = 24
"""Documents near a query that nobody judged relevant to it."""
POSITIVES: Final = 8
"""Most relevant documents that a row names; the reward is a mean over them."""
VALIDATION_EVERY: Final = 6


@dataclass(frozen=True)
class Splits:
    """Judgements by role. The three sets of queries are disjoint."""

    train: Judgements
    validation: Judgements
    gate: Judgements


def split(directory: Path) -> Splits:
    """The collection's own splits; validation is taken from train where there is no such split.

    Raises:
        CollectionError: when train or test is missing.
    """
    train, test = read_judgements(directory, "train"), read_judgements(directory, "test")
    if not train or not test:
        raise CollectionError("qrels/train.tsv and qrels/test.tsv are required: the gate never sees a training query")
    validation = read_judgements(directory, "validation") or read_judgements(directory, "dev")
    if validation is None:
        held_out = set(list(train)[::VALIDATION_EVERY])
        validation = {query: grades for query, grades in train.items() if query in held_out}
    kept = {query: grades for query, grades in train.items() if query not in validation and query not in test}
    return Splits(kept, {q: grades for q, grades in validation.items() if q not in test}, test)


class NearMisses:
    """Finds documents that look right for a query (BM25) and were not judged relevant."""

    def __init__(self, corpus: list[Document]) -> None:
        self._ids = np.array([document.id for document in corpus])
        self._index = bm25s.BM25()
        texts = [document_text(document.title, document.text) for document in corpus]
        self._index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def find(self, query: str, relevant: Iterable[str], count: int = NEGATIVES) -> tuple[str, ...]:
        """At most `count` ids, the nearest first."""
        tokens = bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0]
        scores = self._index.get_scores(tokens) if tokens else np.zeros(len(self._ids))
        excluded = set(relevant)
        ranked = self._ids[np.argsort(-scores, kind="stable")]
        return tuple(str(found) for found in ranked if found not in excluded)[:count]


def data_rows(
    judgements: Judgements, queries: Mapping[str, Query], near: NearMisses, with_labels: bool
) -> list[DataRow]:
    """One row per judged query. Labels are the gate's gold; training files carry none."""
    rows = []
    for query_id, grades in judgements.items():
        query = queries[query_id]
        best = sorted(grades, key=lambda document: (-grades[document], document))[:POSITIVES]
        rows.append(
            DataRow(
                id=query_id,
                query=query.text,
                positives=tuple(best),
                negatives=near.find(query.text, grades),
                labels=dict(grades) if with_labels else {},
                slice=query.kind,
                target=query.target,
            )
        )
    return rows


def without_texts_of(rows: list[DataRow], held_out: list[DataRow]) -> list[DataRow]:
    """Rows whose query is none that is held out, not even with other white space or case."""
    texts = {normalise(row.query) for row in held_out}
    return [row for row in rows if normalise(row.query) not in texts]


def convert(directory: Path, out: Path) -> dict[str, int]:
    """Write all files but the embeddings; returns rows by file name."""
    corpus, queries, splits = read_corpus(directory), read_queries(directory), split(directory)
    near = NearMisses(corpus)
    gate = data_rows(splits.gate, queries, near, with_labels=True)
    validation = without_texts_of(data_rows(splits.validation, queries, near, with_labels=True), gate)
    train = without_texts_of(data_rows(splits.train, queries, near, with_labels=False), [*gate, *validation])
    out.mkdir(parents=True, exist_ok=True)
    documents = [{"_id": document.id, **_without_id(document)} for document in corpus]
    files: dict[str, list[Any]] = {"corpus": documents, "train": train, "validation": validation, "gate": gate}
    for name, rows in files.items():
        _write(out / f"{name}.jsonl", rows)
    return {name: len(rows) for name, rows in files.items()}


def embed(directory: Path, out: Path, threads: int) -> None:
    """Write corpus.npz; vectors that an older one has already are kept."""
    encoder = Encoder(packaged_model(), threads)
    texts = [document_text(document.title, document.text) for document in read_corpus(directory)]
    with contextlib.suppress(FileNotFoundError, EmbeddingsRefused):
        encoder.load(out / "corpus.npz")
    encoder.save(out / "corpus.npz", texts)


def _without_id(document: Document) -> dict[str, str]:
    return {name: value for name, value in asdict(document).items() if name != "id"}


def _write(path: Path, rows: list[Any]) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text("".join(json.dumps(wire.to_wire(row), ensure_ascii=False) + "\n" for row in rows))
    temporary.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(convert(options.collection, options.out)))
    embed(options.collection, options.out, options.threads)


if __name__ == "__main__":
    main()
