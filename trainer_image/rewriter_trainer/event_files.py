"""The rows of metrics.jsonl as a TensorBoard event file, one directory for each phase.

    tensorboard --logdir cycles          # in the release's directory on the volume: a run for each cycle and phase

For people only: whatever is wrong with it (no room, no library, a broken file system) ends this file, is told once in
the log, and never ends the phase. The library's own SummaryWriter is not used, because it writes in a thread that dies
of the first error, and then waits without end for room in the queue that nobody empties.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

FLUSH_SECONDS: Final = 10.0
"""Between two times that events reach the disk; what a killed process loses of them, a resumed phase writes again."""

NO_METRICS: Final = frozenset({"step", "time"})

log = logging.getLogger(__name__)


class EventFile:
    """The event file of a phase. A worker that does not speak keeps none."""

    def __init__(self, directory: Path, rows: Iterable[Mapping[str, float]], speaks: bool) -> None:
        """A new file that begins with `rows`, the steps before the checkpoint that the phase resumes from; older files
        of the phase go, so that no step is there twice."""
        self._writer: Any = None
        self._directory, self._flushed_at = directory, time.monotonic()
        if speaks:
            self._attempt(lambda: self._begin(list(rows)))

    def append(self, row: Mapping[str, float]) -> None:
        """Add a step: a row as metrics.jsonl has it, `time` being Unix seconds."""
        if self._writer:
            self._attempt(lambda: self._add(row))

    def close(self) -> None:
        """Bring what is left to the disk."""
        if self._writer:
            self._attempt(self._writer.close)
            self._writer = None

    def _begin(self, rows: list[Mapping[str, float]]) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        self._directory.mkdir(parents=True, exist_ok=True)
        for older in self._directory.glob("*tfevents*"):
            older.unlink()
        self._writer = EventsWriter(str(self._directory / "events"))
        for row in rows:
            self._writer.write_event(_event(row))
        self._writer.flush()

    def _add(self, row: Mapping[str, float]) -> None:
        self._writer.write_event(_event(row))
        if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self._writer.flush()
            self._flushed_at = time.monotonic()

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # the boundary of the library, and of what a phase does not depend on
            log.warning("no event files of this phase any more (%s: %s); it trains on", type(error).__name__, error)
            broken, self._writer = self._writer, None
            with suppress(Exception):
                broken.close()


def _event(row: Mapping[str, float]) -> Any:
    """A step's metrics as one event."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name not in NO_METRICS]
    return Event(wall_time=row.get("time", time.time()), step=int(row["step"]), summary=Summary(value=values))
