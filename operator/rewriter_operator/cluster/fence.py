"""The fence around every write: a process that lost its lease writes nothing, whatever it was doing when it lost it.

Three rings, because each has a hole that the next one closes (docs/decisions/0007):
1. the clock: a write begins only inside the term, and its request ends with the term;
2. the kernel: while a write is under way an alarm is set that ends the process soon after its term, so that a process
   that was stopped between the check and the send never sends;
3. the API server: every object carries the epoch of the leader that last wrote it, a new leader marks all of them
   before it acts, and a write names the version that was read: what is sent late meets a newer one and is refused.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rewriter_operator import metrics
from rewriter_operator.errors import Retry

ANNOTATION_EPOCH: Final = "rewriter.dev/epoch"
"""On every child: epoch of the leader that wrote it last."""

_TIGHT_SECONDS: Final = 0.05


class Fenced(Retry):
    """The term is over: nothing was sent."""


class Superseded(Retry):
    """The object carries a higher epoch than ours: another leader has been here."""

    def __init__(self, what: str, epoch: int, ours: int) -> None:
        super().__init__(f"{what} carries epoch {epoch}, ours is {ours}: another leader has been here")
        self.epoch = epoch


def set_alarm(seconds: float) -> None:
    """SIGALRM in so many seconds, 0 for none. Nobody handles it: the kernel ends the process (exit code 142)."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@dataclass
class Term:
    """One stretch of leadership. Used by the thread that renews the lease and by the one that works."""

    epoch: int
    until: float
    """Monotonic time after which no write begins; moved on by each renewal."""
    grace: float
    """Seconds after `until` at which a write that is still under way ends the process; still inside the lease."""
    clock: Callable[[], float] = time.monotonic
    alarm: Callable[[float], None] = set_alarm
    ended: str = ""
    """Why it is over; empty while it lasts."""
    _writes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def extend(self, until: float) -> None:
        """The lease was renewed."""
        with self._lock:
            self.until = until
            if self._writes and not self.ended:
                self._wind()

    def end(self, why: str) -> None:
        """No further write. The alarm of one that is under way stays set until that one is back."""
        with self._lock:
            self.ended = self.ended or why

    def left(self) -> float:
        """Seconds in which writes may still be made."""
        return 0.0 if self.ended else max(0.0, self.until - self.clock())

    @contextmanager
    def writing(self) -> Iterator[float]:
        """Around one write; gives the seconds that it may take.

        Raises:
            Fenced: when the term is over.
        """
        with self._lock:
            self._writes += 1
            self._wind()
            left = self.left()
        try:
            if left <= 0:
                metrics.FENCED.inc()
                raise Fenced(
                    f"not sent: the term of epoch {self.epoch} is over ({self.ended or 'not renewed in time'})"
                )
            yield left
        finally:
            with self._lock:
                self._writes -= 1
                if self._writes == 0:
                    self.alarm(0)

    def _wind(self) -> None:
        """Set the alarm; again when this thread was held up in between, because an interval starts when it is set."""
        while (left := self.left()) > 0:
            self.alarm(left + self.grace)
            if left - self.left() < _TIGHT_SECONDS:
                return


def epoch_of(live: dict[str, Any]) -> int:
    """The epoch that a child carries; 0 for one from before epochs, or with a value that is none."""
    text = str(live["metadata"].get("annotations", {}).get(ANNOTATION_EPOCH, ""))
    return int(text) if text.isdecimal() else 0


def release_epoch(live: dict[str, Any]) -> int:
    """The epoch that a release's status carries."""
    return int(live.get("status", {}).get("operatorEpoch", 0))


def check_epoch(live: dict[str, Any], ours: int) -> None:
    """
    Raises:
        Superseded: when a later leader has written, or marked, this object.
    """
    found = release_epoch(live) if live["kind"] == "RewriterRelease" else epoch_of(live)
    if found > ours:
        raise Superseded(f"{live['kind']} {live['metadata']['name']}", found, ours)


def marked(body: dict[str, Any], epoch: int) -> dict[str, Any]:
    """The manifest with the epoch on it. Beside the digest of the manifest, not inside it: no pod restarts for it."""
    metadata = body["metadata"]
    annotations = {**metadata.get("annotations", {}), ANNOTATION_EPOCH: str(epoch)}
    return {**body, "metadata": {**metadata, "annotations": annotations}}
