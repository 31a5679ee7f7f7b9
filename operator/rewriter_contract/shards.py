"""JSONL files that one pod writes and another reads: complete and checked, or not there.

A shard is written under a temporary name, synced, renamed, and then announced by a `.done` file that carries its
row count and sha256. A reader that finds no `.done`, or one that does not fit, refuses: half a shard must never be
trained on or judged.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rewriter_contract import wire


class ShardError(ValueError):
    """A shard is missing, incomplete, or not what its `.done` file says."""


@dataclass(frozen=True)
class ShardDone:
    """The `.done` file beside a shard."""

    rows: int
    sha256: str
    """Hex digest of the shard's bytes."""
    weights: str
    """Version of the weight set that made the rows; `passthrough` where none did."""
    reward_revision: str
    """Digest of the reward that scored the rows; empty where nothing is scored."""


def done_path(shard: Path) -> Path:
    """`shard-003.jsonl` -> `shard-003.jsonl.done`"""
    return shard.with_name(shard.name + ".done")


def write_shard(path: Path, rows: Iterable[Any], weights: str, reward_revision: str, writer: str) -> ShardDone:
    """Write `rows` (JSON-ready) to `path` and announce it. `writer` makes the temporary name unique (the pod's uid)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{writer}-{path.name}")
    digest, count = hashlib.sha256(), 0
    with temporary.open("wb") as file:
        for row in rows:
            line = (json.dumps(wire.to_wire(row), ensure_ascii=False, allow_nan=False) + "\n").encode()
            file.write(line)
            digest.update(line)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    done = ShardDone(rows=count, sha256=digest.hexdigest(), weights=weights, reward_revision=reward_revision)
    replace_file(done_path(path), wire.dumps(done).encode(), writer)
    return done


def read_done(path: Path) -> ShardDone | None:
    """What is announced for the shard at `path`, or None while nothing (or nothing readable) is."""
    try:
        return wire.loads(ShardDone, done_path(path).read_bytes(), path.name)
    except (FileNotFoundError, wire.WireError):
        return None


def read_shard(path: Path, sha256: str) -> Iterator[dict[str, Any]]:
    """The rows of a shard, after checking its bytes against `sha256`.

    Raises:
        ShardError: if the file is absent or its digest differs.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ShardError(f"shard {path.name} is missing; sample it again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ShardError(f"shard {path.name} has sha256 {found[:12]}, the order says {sha256[:12]}; sample it again")
    for line in data.splitlines():
        yield json.loads(line)


class Scored(Protocol):
    """A row that says which reward scored it; None where it is from before rows said so."""

    @property
    def reward_revision(self) -> str | None: ...


Row = TypeVar("Row", bound=Scored)


def read_scored(kind: type[Row], path: Path, sha256: str, reward_revision: str) -> tuple[Row, ...]:
    """The rows of a shard, after checking its bytes, and that no other reward scored one of them than the shard's.

    Raises:
        ShardError: if the file is absent, its digest differs, or a row is of another reward: then two were mixed.
    """
    rows = tuple(wire.from_wire(kind, raw, f"{path.name} row") for raw in read_shard(path, sha256))
    for number, row in enumerate(rows, start=1):
        if row.reward_revision not in (None, reward_revision):
            raise ShardError(
                f"shard {path.name} line {number}: reward {str(row.reward_revision)[:12]} in a shard of reward "
                f"{reward_revision[:12]}; sample it again"
            )
    return rows


def replace_file(path: Path, data: bytes, writer: str) -> None:
    """Put `data` at `path` in one step, durably: temporary name, fsync, rename, fsync of the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{writer}-{path.name}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """fsync a directory, so that a rename in it survives a crash of the machine."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """fsync a file that somebody else wrote."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
