"""Reads the documents that a shard's rows name from the corpus file.

The file is streamed and only the named documents are kept: a corpus may be far larger than a pod's memory.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from rewriter_contract.messages import DataRow


class CorpusRefused(ValueError):
    """The corpus file cannot be used; the message names the file and line."""


def read_documents(path: Path, rows: Iterable[DataRow]) -> dict[str, str]:
    """Text ("title. text") by id of every document that the rows name; documents that the corpus lacks are left out.

    Raises:
        CorpusRefused: when the file is absent or a line is malformed.
    """
    wanted = {document for row in rows for document in (*row.positives, *row.negatives)}
    return {document: text for document, text in _documents(path) if document in wanted}


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _document(f"{path.name} line {number}", line)
    except FileNotFoundError as error:
        raise CorpusRefused(f"corpus file {path.name} is missing; put it back, or change spec.data") from error


def _document(where: str, line: bytes) -> tuple[str, str]:
    try:
        entry = json.loads(line)
        title, text = entry.get("title") or "", entry["text"]
        return entry["_id"], f"{title}. {text}" if title else text
    except (ValueError, KeyError, AttributeError) as error:
        raise CorpusRefused(f"{where}: must be a JSON object with _id, text and optionally title") from error
