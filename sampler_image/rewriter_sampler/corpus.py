"""Reads the documents that a shard's rows name from the corpus file.

The file is streamed and only the named documents are kept: a corpus may be far larger than a pod's memory.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from rewriter_contract.messages import DataRow

SNIPPET_CHARS: Final = 80

_ID: Final = re.compile(rb'"_id"\s*:\s*"([^"\\]*)"')
"""Of a line whose id needs no escapes: with 100 words a document, reading it so takes a fifth of the time."""


class CorpusRefused(ValueError):
    """The corpus file cannot be used; the message names the file and line."""


def read_documents(path: Path, rows: Iterable[DataRow]) -> dict[str, str]:
    """Text ("title. text") by id of every document that the rows name; documents that the corpus lacks are left out.

    Raises:
        CorpusRefused: when the file is absent or a line is malformed.
    """
    wanted = {document for row in rows for document in (*row.positives, *row.negatives)}
    return {document: text for document, text in _documents(path) if document in wanted}


def read_snippets(path: Path, documents: Iterable[str], seconds: float) -> dict[str, str]:
    """The beginning of "title. text" by id, for people to see.

    Left out is what the corpus lacks, what was not reached within `seconds`, and what is malformed: this must never
    hold up what it is shown with.
    """
    missing, found = set(documents), dict[str, str]()
    keys, end = {document.encode(errors="replace") for document in missing}, time.monotonic() + seconds
    with suppress(OSError), path.open("rb") as lines:
        for line in lines:
            if not missing or time.monotonic() > end:
                break
            plain = _ID.search(line)
            if plain and plain[1] not in keys:
                continue
            with suppress(CorpusRefused, TypeError):
                document, text = _document(path.name, line)
                if document in missing:
                    found[document] = _snippet(text)
                    missing.remove(document)
    return found


def _snippet(text: str) -> str:
    line = " ".join(str(text).split())
    cut = line if len(line) <= SNIPPET_CHARS else line[: SNIPPET_CHARS - 1].rstrip() + "\u2026"
    return cut.encode(errors="replace").decode()


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
