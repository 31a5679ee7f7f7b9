"""Checks the data files of a cycle: every row can be used, and training never sees a gate query.

Standard library only. All problems are collected, because a person who mends files wants to do it once; each names
file, line and remedy. Rows are read one by one, and of the corpus only the ids are kept.
"""

import codecs
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rewriter_contract import volume, wire
from rewriter_contract.messages import DataRow, Problem
from rewriter_contract.text import normalise
from rewriter_trainer.trained_record import RecordUnreadable, lineage, query_digest

MAX_QUERY_CHARS: Final = 2048
MAX_EXAMPLES: Final = 5
"""How many offenders a message names."""

PRECEDENCE: Final = ("train", "validation", "gate")
"""Of two files with the same query, the one named first is to give it up: gate queries are the dearest."""

HELD_OUT: Final = ("validation", "gate")

CORPUS_FIELDS: Final = ("_id", "title", "text")


@dataclass
class FileProblems:
    """Problems of one file: the first few in words, all of them in number."""

    name: str
    reason: str = "DataFileInvalid"
    examples: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, line: int, text: str) -> None:
        """Note a bad line."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"line {line}: {text}")

    def problems(self) -> list[Problem]:
        """None, or one problem for the file."""
        if not self.count:
            return []
        more = f"; and {self.count - len(self.examples)} more lines" if self.count > len(self.examples) else ""
        return [Problem(self.reason, f"{self.name}: {'; '.join(self.examples)}{more}")]


@dataclass(frozen=True)
class DataReport:
    """What the data files are."""

    problems: tuple[Problem, ...]
    digests: dict[str, str]
    """Role -> sha256 (hex) of the file."""
    rows: dict[str, int]
    """Role -> number of rows that can be used."""


@dataclass
class RequestsFile:
    """What later checks need of a requests file."""

    queries: dict[str, str] = field(default_factory=dict)
    """Normalised query -> id of the first row that has it."""
    rows: int = 0


def check_data(root: Path, files: dict[str, str], serving: Iterable[str] = ()) -> DataReport:
    """Check the files of all roles (`corpus`, and requests files: `train`, `validation`, `gate`).

    `serving`: versions of the weights that serve; what they were trained on may not be asked of them.
    """
    problems: list[Problem] = []
    digests, rows = {}, {}
    found: dict[str, Path] = {}
    for role, relative in files.items():
        path = _locate(root, role, relative, problems)
        if path:
            found[role] = path
            with path.open("rb") as file:
                digests[role] = hashlib.file_digest(file, "sha256").hexdigest()
    corpus: set[str] | None = None
    if "corpus" in found:
        corpus = read_corpus(found["corpus"], files["corpus"], problems)
        rows["corpus"] = len(corpus)
    requests: dict[str, RequestsFile] = {}
    for role in [role for role in found if role != "corpus"]:
        requests[role] = read_requests(found[role], files[role], corpus, problems)
        rows[role] = requests[role].rows
    problems += shared_queries(requests)
    problems += learnt_queries(root, serving, requests)
    return DataReport(tuple(problems), digests, rows)


def read_corpus(path: Path, name: str, problems: list[Problem]) -> set[str]:
    """Ids of all documents; bad lines are added to `problems`."""
    bad, ids = FileProblems(name), set()
    for number, row in _json_rows(path, bad):
        wrong = (
            [key for key in CORPUS_FIELDS if not isinstance(row.get(key), str)] if isinstance(row, dict) else ["_id"]
        )
        if wrong:
            bad.add(number, f"{', '.join(wrong)} must be text; a document is {{_id, title, text}}")
        elif row["_id"] in ids:
            bad.add(number, f"_id {row['_id']!r} is there twice; keep one of the documents")
        else:
            ids.add(row["_id"])
    _refuse_empty(bad, len(ids))
    problems += bad.problems()
    return ids


def read_requests(path: Path, name: str, corpus: set[str] | None, problems: list[Problem]) -> RequestsFile:
    """Rows of a requests file; bad lines, and documents that are not in `corpus`, are added to `problems`."""
    bad, unknown = FileProblems(name), FileProblems(name, reason="UnknownDocuments")
    ids: set[str] = set()
    result = RequestsFile()
    for number, data in _json_rows(path, bad):
        try:
            row = wire.from_wire(DataRow, data, "row")
        except wire.WireError as error:
            bad.add(number, f"{error}; see docs/data.md")
            continue
        if complaint := _complaint(row, ids):
            bad.add(number, complaint)
            continue
        ids.add(row.id)
        absent = {*row.positives, *row.negatives, *row.labels} - corpus if corpus is not None else set()
        if absent:
            unknown.add(
                number, f"{', '.join(sorted(absent)[:MAX_EXAMPLES])} not in the corpus; add them or remove them"
            )
        result.rows += 1
        result.queries.setdefault(normalise(row.query), row.id)
    _refuse_empty(bad, result.rows)
    problems += [*bad.problems(), *unknown.problems()]
    return result


def shared_queries(requests: Mapping[str, RequestsFile]) -> list[Problem]:
    """Queries in two files: a gate that training saw measures memory, and one that chose the phase flatters it."""
    problems = []
    for first, second in itertools.combinations([role for role in PRECEDENCE if role in requests], 2):
        one, other = requests[first].queries, requests[second].queries
        shared = sorted(one.keys() & other.keys())
        if shared:
            named = ", ".join(f"{one[query]} = {other[query]}" for query in shared[:MAX_EXAMPLES])
            message = (
                f"{len(shared)} queries are in both {first} and {second} ({first} id = {second} id): {named}; "
                f"remove them from {first}"
            )
            problems.append(Problem(f"{first.title()}{second.title()}Overlap", message))
    return problems


def learnt_queries(root: Path, serving: Iterable[str], requests: Mapping[str, RequestsFile]) -> list[Problem]:
    """Queries that the weights that serve, or any that they descend from, were trained on in an earlier cycle.

    The incumbent would answer them from memory, and so would a candidate that starts from it.
    """
    asked = {
        role: {query_digest(query): name for query, name in requests[role].queries.items()}
        for role in HELD_OUT
        if role in requests
    }
    learnt: dict[str, dict[str, str]] = {role: {} for role in asked}
    try:
        for phase in lineage(root, serving):
            for role, digests in asked.items():
                found = digests.keys() & phase.queries
                learnt[role] |= {digests[query]: phase.version for query in found}
    except RecordUnreadable as error:
        return [Problem("TrainedRecordInvalid", str(error))]
    return [_learnt(role, by) for role, by in learnt.items() if by]


def _learnt(role: str, by: Mapping[str, str]) -> Problem:
    named = ", ".join(f"{name} = {by[name]}" for name in sorted(by)[:MAX_EXAMPLES])
    message = (
        f"earlier cycles trained what serves on {len(by)} queries of {role} ({role} id = weights that learnt it): "
        f"{named}; remove them from {role}, or see docs/data.md for how a query moves from train to {role}"
    )
    return Problem(f"Lineage{role.title()}Overlap", message)


def _complaint(row: DataRow, ids: set[str]) -> str:
    if not row.id:
        return "id is empty; give every row its own"
    if row.id in ids:
        return f"id {row.id!r} is there twice; give every row its own"
    if not row.query.strip():
        return f"query of {row.id!r} is empty; remove the row"
    if len(row.query) > MAX_QUERY_CHARS:
        return f"query of {row.id!r} has {len(row.query)} characters; at most {MAX_QUERY_CHARS}: shorten or remove it"
    return ""


def _json_rows(path: Path, bad: FileProblems) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if line.startswith(codecs.BOM_UTF8):
                bad.add(number, "begins with a byte order mark (EF BB BF); save the file as UTF-8 without one")
                line = line.removeprefix(codecs.BOM_UTF8)  # what else is wrong is told at once
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                bad.add(number, f"not UTF-8 at byte {error.start}; save the file as UTF-8")
            except (ValueError, RecursionError) as error:
                bad.add(number, f"not JSON ({error}); write one JSON object a line")
            else:
                if half := _half_character(line, row):
                    bad.add(number, f"holds {half}, half of a character; write the whole one, or remove it")
                else:
                    yield number, row


def _half_character(line: bytes, row: Any) -> str:
    """A surrogate that JSON may escape alone, and that no UTF-8 file, prompt or URL can hold; empty for none."""
    if rb"\u" not in line:
        return ""
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x} alone"
    return ""


def _refuse_empty(bad: FileProblems, rows: int) -> None:
    if not rows and not bad.count:
        bad.add(1, "the file has no rows; put data into it or name another file in spec.data")


def _locate(root: Path, role: str, relative: str, problems: list[Problem]) -> Path | None:
    try:
        path = volume.resolve(root, relative)
    except volume.OutsideVolume as error:
        problems.append(Problem("DataFileMissing", f"data file {role}: {error}"))
        return None
    if path.is_file():
        return path
    message = f"data file {role}: {relative} is not on the volume; put it there or change spec.data.{role}"
    problems.append(Problem("DataFileMissing", message))
    return None
