"""metrics.jsonl of a phase: one row per optimizer step, for people and their scripts. Standard library only.

docs/training.md names every metric. A number that is not finite is left out of its row: unknown is not zero.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Final

AS_OF_THE_LAST_STEP: Final = ("delta", "learning_rate", "kl")
"""Where the phase has come to, and not what it was on average."""

OF_A_STEP_ONLY: Final = ("step", "eta_seconds")


class MetricsLog:
    """The file, cut back to the step that a resumed phase starts from. A worker that does not speak keeps none."""

    def __init__(self, path: Path, from_step: int, speaks: bool) -> None:
        self._path, self._speaks = path, speaks
        self._rows: list[dict[str, float]] = []
        if speaks:
            self._rows = [row for row in self._earlier() if row["step"] <= from_step]
            self._path.write_text("".join(json.dumps(row) + "\n" for row in self._rows))

    def append(self, step: int, row: Mapping[str, float]) -> None:
        """Add the row of a step."""
        if self._speaks:
            self._rows.append({"step": step, **row})
            with self._path.open("a") as file:
                file.write(json.dumps(self._rows[-1]) + "\n")

    def summary(self) -> dict[str, float]:
        """Means over the phase's steps; some as of the last one. Rows from before a metric was taken do not count."""
        last = self._rows[-1] if self._rows else {}
        means = {name: fmean(row[name] for row in self._rows if name in row) for name in last}
        found = means | {name: last[name] for name in AS_OF_THE_LAST_STEP if name in last}
        return {name: value for name, value in found.items() if name not in OF_A_STEP_ONLY}

    def _earlier(self) -> Iterator[dict[str, float]]:
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                with suppress(ValueError):  # a line that a crash cut off
                    yield json.loads(line)
