"""Replaces promoted.json in rising order: a writer that comes late finds that a later one has been there, and stops.

A record pod can outlive its operator's patience: its machine was paused, its node was cut off. Checking before writing
is not enough, because it may be paused between the two. So each writer, in this order,

1. puts its content beside its place, as `promotions/<order>.<writer>.staged`,
2. claims its turn with the empty file `promotions/<order>`, which stays,
3. looks for a higher claim; where there is one, it gives up,
4. removes everything of lower orders, their staged contents above all,
5. renames its staged content to promoted.json: that fails if a later writer was at its step 4 meanwhile.

Of two writers, either the earlier one sees the later one's claim (3), or it was staged before that claim was made, so
that the later one removes what it staged (4) and its rename fails (5), or its rename came first and is replaced. All it
takes is that create, unlink and rename happen at once and in one order for all, which POSIX file systems promise and an
NFS server does too. An NFS client may list a directory from its cache; but it has just created two files in it, which
makes the cached list old. And it may repeat a rename whose answer was lost, so one that fails is compared before it is
believed.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from rewriter_contract import volume
from rewriter_contract.shards import sync_directory


class NotMyTurn(Exception):
    """A writer with a higher order has been here; the message says so."""

    def __init__(self, order: int, newer: int) -> None:
        super().__init__(
            f"record {order} comes too late: record {newer} is on the volume already, and promoted.json stays as it is"
        )
        self.newer = newer


@dataclass(frozen=True)
class Turn:
    """One writer's attempt to replace promoted.json."""

    root: Path
    order: int
    writer: str
    """Different for every process that may ever write."""

    @property
    def _directory(self) -> Path:
        return self.root / volume.TURNS

    @property
    def _staged(self) -> Path:
        return self._directory / f"{self.order:015d}.{self.writer}.staged"

    def replace(self, data: bytes) -> None:
        """Make `data` the content of promoted.json.

        Raises:
            NotMyTurn: when a later writer has been here.
            FileNotFoundError: when somebody else removed what was staged.
        """
        self.stage(data)
        self.claim()
        self.give_way()
        self.clear()
        self.publish(data)

    def stage(self, data: bytes) -> None:
        """Step 1."""
        self._directory.mkdir(exist_ok=True)
        with self._staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def claim(self) -> None:
        """Step 2."""
        (self._directory / f"{self.order:015d}").touch()
        sync_directory(self._directory)

    def give_way(self) -> None:
        """Step 3."""
        newest = max(order for path in self._directory.iterdir() if (order := _order(path)) is not None)
        if newest > self.order:
            self._staged.unlink(missing_ok=True)
            raise NotMyTurn(self.order, newest)

    def clear(self) -> None:
        """Step 4."""
        for path in self._directory.iterdir():
            order = _order(path)
            if order is not None and order < self.order:
                path.unlink(missing_ok=True)

    def publish(self, data: bytes) -> None:
        """Step 5."""
        promoted = self.root / volume.PROMOTED
        try:
            self._staged.rename(promoted)
        except FileNotFoundError:
            if not promoted.exists() or promoted.read_bytes() != data:
                self.give_way()
                raise
        sync_directory(self.root)


def _order(path: Path) -> int | None:
    """The order of a claim or of staged content; None for what is neither."""
    found = re.fullmatch(r"([0-9]{15})(\..+\.staged)?", path.name)
    return int(found[1]) if found else None
