"""Reads requests files (train, validation, gate) and picks the rows that a Selection names.

The operator never mounts the volume, so it cannot list query ids; it names rows by seed, offset and count instead,
and every pod that gets the same selection over the same file picks the same rows.
"""

import hashlib
from pathlib import Path

from rewriter_contract import wire
from rewriter_contract.messages import DataRow, Selection
from rewriter_contract.shards import ShardError


def read_requests(path: Path, sha256: str) -> list[DataRow]:
    """All rows of a requests file, after checking its bytes.

    Raises:
        ShardError: when the file is absent, was changed since the cycle was prepared, or has a row that is no DataRow.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ShardError(f"requests file {path.name} is missing; put it back, or change spec.data") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ShardError(f"requests file {path.name} changed during the cycle; request a new cycle to use its new rows")
    try:
        return [
            wire.loads(DataRow, line, f"{path.name} line {number}")
            for number, line in enumerate(data.splitlines(), 1)
            if line.strip()
        ]
    except wire.WireError as error:
        raise ShardError(str(error)) from error


def select(rows: list[DataRow], selection: Selection) -> list[DataRow]:
    """The rows that `selection` names, in its order.

    >>> rows = [DataRow(id=str(i), query=f"q{i}") for i in range(5)]
    >>> len(select(rows, Selection(seed=1, offset=4, count=3)))
    3
    """
    ordered = sorted(rows, key=lambda row: hashlib.sha256(f"{selection.seed}:{row.id}".encode()).digest())
    count = min(selection.count or len(ordered), len(ordered))
    window = [ordered[(selection.offset + index) % len(ordered)] for index in range(count)]
    return window[selection.shard :: selection.shards]
