"""What each phase was trained on, one file a cycle: so that no gate asks what the weights that serve have learnt.

trained/0007.json is written by the trainer before a phase's first step, and read when a later cycle is prepared. It
names weight sets, the sets that they started from, and digests of normalised queries; no text of a person is in it.
Where a record is missing (weights from before there were any) the line ends: nothing is guessed. Standard library only.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rewriter_contract import volume, wire
from rewriter_contract.messages import PhaseOrder
from rewriter_contract.shards import replace_file
from rewriter_contract.text import normalise

DIGITS: Final = 16
"""Hexadecimal, of a digest: 64 bits, so that records stay small and no two queries are ever likely to share one."""

_VERSION: Final = re.compile(r"r(\d{4,6})-p\d{2,4}")


class RecordUnreadable(ValueError):
    """A record is there and says nothing; the sentence names file and remedy."""


@dataclass(frozen=True)
class TrainedPhase:
    """One weight set, and what it learnt that the sets of this cycle before it in its line had not."""

    version: str
    base: str
    """Version of the set that training started from."""
    queries: tuple[str, ...]
    """`query_digest`s, sorted."""


@dataclass(frozen=True)
class TrainedCycle:
    """A record."""

    phases: tuple[TrainedPhase, ...]


def query_digest(normalised: str) -> str:
    """Of a query as `normalise` gives it: equal for queries that differ only in case, width or white space."""
    return hashlib.sha256(normalised.encode()).hexdigest()[:DIGITS]


def record(root: Path, cycle: int, order: PhaseOrder, queries: Iterable[str], writer: str) -> None:
    """Add a phase to its cycle's record; the same phase again replaces what it said before.

    Raises:
        RecordUnreadable: when the record of the phases before cannot be read.
    """
    path = volume.trained_file(cycle)
    others = [phase for phase in read(root, path) if phase.version != order.out_version]
    learnt = {query for phase in _line(others, order.base.version) for query in phase.queries}
    own = tuple(sorted({query_digest(normalise(query)) for query in queries} - learnt))
    whole = TrainedCycle((*others, TrainedPhase(order.out_version, order.base.version, own)))
    replace_file(volume.resolve(root, path), wire.dumps(whole).encode(), writer)


def read(root: Path, path: str) -> tuple[TrainedPhase, ...]:
    """The phases of a record; none where there is no such file.

    Raises:
        RecordUnreadable: when there is one that is damaged.
    """
    try:
        return wire.loads(TrainedCycle, volume.resolve(root, path).read_bytes(), path).phases
    except FileNotFoundError:
        return ()
    except (wire.WireError, volume.OutsideVolume, OSError) as error:
        raise RecordUnreadable(
            f"{error}; restore {path}, or remove it: then what that cycle trained on is no longer kept out of the gate"
        ) from error


def lineage(root: Path, versions: Iterable[str]) -> Iterator[TrainedPhase]:
    """The records of `versions` and of all that they descend from, as far back as there are any.

    Raises:
        RecordUnreadable: when one of them is damaged.
    """
    waiting, known = list(versions), set[str]()
    while waiting:
        version = waiting.pop()
        cycle = _VERSION.fullmatch(version)
        if version in known or cycle is None:
            continue
        known.add(version)
        line = _line(read(root, volume.trained_file(int(cycle[1]))), version)
        known |= {phase.version for phase in line}
        waiting += [phase.base for phase in line]
        yield from line


def _line(phases: Sequence[TrainedPhase], version: str) -> list[TrainedPhase]:
    """`version` and what it descends from within one record, newest first."""
    by_version = {phase.version: phase for phase in phases}
    line = []
    while phase := by_version.pop(version, None):
        line.append(phase)
        version = phase.base
    return line
