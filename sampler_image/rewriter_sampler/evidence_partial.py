"""Rows of a shard of evidence that is still being gathered, batch by batch: a killed pod costs a batch and not a shard.

`<shard>.partial`, one line each: the order that the rows belong to, then every batch that came out whole, each line
after its own sha256. A line that was cut off by the kill is left out; with any other damage, or another order, nothing
is taken. A batch with something missing is never kept: asked again it may be whole, and what is kept is not asked.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rewriter_contract import wire
from rewriter_contract.agent import WorkFailed
from rewriter_contract.messages import DataRow, EvidenceOrder, EvidenceRow
from rewriter_contract.shards import replace_file


@dataclass(frozen=True)
class KeptBatch:
    """Rows from `start` on, in the order of the shard."""

    start: int
    rows: tuple[EvidenceRow, ...]
    relevance_model: str
    """What scored them; empty where no score was needed until then."""


@dataclass
class Partial:
    """The file of one shard, in the hands of the pod that gathers it."""

    path: Path
    order: EvidenceOrder
    writer: str
    batches: dict[int, KeptBatch]
    """By start."""
    _is_ours: bool = False
    """The file is what this pod wrote, so that a line can be added to it."""

    def rows(self, start: int, asked: Sequence[DataRow]) -> tuple[EvidenceRow, ...] | None:
        """The rows of the batch that begins at `start` and asks this; None: it must be gathered."""
        kept = self.batches.get(start)
        if kept is None or [row.id for row in kept.rows] != [row.id for row in asked]:
            return None
        return kept.rows

    def keep(self, batch: KeptBatch) -> None:
        """Add a batch, durably. The first one replaces a file that a pod before left, with what counts of it."""
        self.batches[batch.start] = batch
        if not self._is_ours:
            whole = b"".join([_line(self.order), *map(_line, self.batches.values())])
            replace_file(self.path, whole, self.writer)
            self._is_ours = True
            return
        with self.path.open("ab") as file:
            file.write(_line(batch))
            file.flush()
            os.fsync(file.fileno())

    def model_with(self, answered: str) -> str:
        """The relevance model of the whole shard, `answered` being that of the rows gathered by this pod.

        Raises:
            WorkFailed: when rows of two models would be mixed; what was kept is forgotten, so that a retry is of one.
        """
        models = {batch.relevance_model for batch in self.batches.values()} | {answered}
        named = sorted(models - {""})
        if len(named) > 1:
            self.remove()
            raise WorkFailed(f"relevance model: rows were scored by {' and '.join(named)}; all are gathered again")
        return named[0] if named else ""

    def remove(self) -> None:
        """The shard is there, or nothing of this counts."""
        self.path.unlink(missing_ok=True)


def partial_path(shard: Path) -> Path:
    """`candidate-000.jsonl` -> `candidate-000.jsonl.partial`"""
    return shard.with_name(shard.name + ".partial")


def begin(shard: Path, order: EvidenceOrder, writer: str) -> Partial:
    """What was kept of this very order, ready to be added to."""
    path = partial_path(shard)
    return Partial(path, order, writer, {batch.start: batch for batch in _read(path, order)})


def _read(path: Path, order: EvidenceOrder) -> list[KeptBatch]:
    with suppress(FileNotFoundError, wire.WireError):
        first, *others = [_checked(line) for line in path.read_bytes().split(b"\n")[:-1]] or [b""]
        if wire.loads(EvidenceOrder, first, path.name) == order:
            return [wire.loads(KeptBatch, text, path.name) for text in others]
    return []


def _line(value: EvidenceOrder | KeptBatch) -> bytes:
    text = wire.dumps(value).encode()
    return hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"


def _checked(line: bytes) -> bytes:
    """The line's text; nothing that could be read where it is damaged."""
    digest, _, text = line.partition(b" ")
    return text if hashlib.sha256(text).hexdigest().encode() == digest else b""
