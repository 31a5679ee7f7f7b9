"""metrics.jsonl of a phase: one row per optimizer step, for people and their scripts. Standard library only.

docs/training.md names every metric. A number that is not finite is left out of its row: unknown is not zero.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Final

AS_OF_THE_LAST_STEP: Final = ("delta", "learning_rate", "kl")
"""Where the phase has come to, and not what it was on average."""

OF_A_STEP_ONLY: Final = ("step", "time", "eta_seconds")

Row = dict[str, float]
"""`step` (from 1), `time` (Unix seconds at its end) and the step's metrics."""

log = logging.getLogger(__name__)


class MetricsLog:
    """The file, cut back to the step that a resumed phase starts from. A worker that does not speak keeps none.

    For want of room, or whatever else is wrong with the volume, the file ends and the phase goes on: the rows are kept.
    """

    def __init__(self, path: Path, from_step: int, speaks: bool) -> None:
        self._path: Path | None = path
        self._speaks = speaks
        self.rows: list[Row] = []
        """Of the steps so far."""
        if speaks:
            self.rows = [row for row in self._earlier() if row["step"] <= from_step]
            self._write("w", self.rows)

    def append(self, step: int, metrics: Mapping[str, float], now: float) -> Row:
        """Add the row of a step that ended at `now`, and return it."""
        row = {"step": step, "time": round(now, 3), **metrics}
        if self._speaks:
            self.rows.append(row)
            self._write("a", [row])
        return row

    def _write(self, mode: str, rows: list[Row]) -> None:
        if self._path is None:
            return
        try:
            with self._path.open(mode) as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))
        except OSError as error:
            log.warning("%s ends here (%s); the phase trains on", self._path.name, error)
            self._path = None  # what follows half a row could not be read

    def summary(self) -> dict[str, float]:
        """Means over the phase's steps; some as of the last one. Rows from before a metric was taken do not count."""
        last = self.rows[-1] if self.rows else {}
        means = {name: fmean(row[name] for row in self.rows if name in row) for name in last}
        found = means | {name: last[name] for name in AS_OF_THE_LAST_STEP if name in last}
        return {name: value for name, value in found.items() if name not in OF_A_STEP_ONLY}

    def _earlier(self) -> Iterator[Row]:
        if self._path is not None and self._path.exists():
            for line in self._path.read_text().splitlines():
                with suppress(ValueError):  # a line that a crash cut off
                    yield json.loads(line)
