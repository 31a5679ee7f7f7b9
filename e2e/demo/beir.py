"""Reads a test collection in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CollectionError(ValueError):
    """The collection cannot be used; the message names the file and what is missing."""


@dataclass(frozen=True)
class Document:
    """One document of the corpus."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Query:
    """One query, with the kind and the target that its metadata gives (empty where it gives none)."""

    id: str
    text: str
    kind: str
    target: str = ""


Judgements = dict[str, dict[str, float]]
"""Query id -> document id -> grade above 0."""


def read_corpus(directory: Path) -> list[Document]:
    """All documents, in file order."""
    rows = _rows(directory / "corpus.jsonl")
    return [Document(str(row["_id"]), row.get("title", ""), row.get("text", "")) for row in rows]


def read_queries(directory: Path) -> dict[str, Query]:
    """All queries by id. The kind is `metadata.kind`, or a top-level `kind`; the target `metadata.target`."""
    queries = {}
    for row in _rows(directory / "queries.jsonl"):
        kind = (row.get("metadata") or {}).get("kind") or row.get("kind") or ""
        target = (row.get("metadata") or {}).get("target") or ""
        queries[str(row["_id"])] = Query(str(row["_id"]), row["text"], kind, target)
    return queries


def read_judgements(directory: Path, split: str) -> Judgements | None:
    """Judgements with a grade above 0, or None when the collection has no such split."""
    path = directory / "qrels" / f"{split}.tsv"
    if not path.exists():
        return None
    judgements: Judgements = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if float(row["score"]) > 0:
                judgements.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    return judgements


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise CollectionError(f"{path.name} is missing in {path.parent.name}; the BEIR layout has it") from None
    for line in text.splitlines():
        if line.strip():
            yield json.loads(line)
