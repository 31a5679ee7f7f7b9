"""Follows the file that says what a pod is to serve: an annotation of the pod, which kubelet writes into it.

The file is there before the operator is and after it has gone, so a container that restarts comes back with what it
served. It is read whole and again and again: kubelet replaces it in one rename, and no event of it can be relied on.
While something loads nothing is read: a load that does not end is ended with its process.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from rewriter_contract import wire
from rewriter_contract.messages import LOAD_SECONDS, ServingOrder

LOOK_SECONDS: Final = 1.0
LOOK_AGAIN_SECONDS: Final = 15.0
"""At files that were refused: some may arrive late on a network volume."""


class Served(Protocol):
    """What is told."""

    def load(self, order: ServingOrder, digest: str) -> bool:
        """`digest`: of the order as it was written. False: it could not, and is to be asked again."""
        ...

    def refuse(self, why: str) -> None: ...


@dataclass
class ServingFile:
    """One file, and what was done about it."""

    path: Path
    served: Served
    hangs: Callable[[str], None]
    """Told of a load that takes too long, from another thread; ends the process."""
    clock: Callable[[], float] = time.monotonic
    _text: str = ""
    _order: ServingOrder | None = None
    _again_at: float = field(default=0.0)

    def follow(self) -> None:
        """Never returns."""
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Load what is new, and what could not be loaded, once its time has come.

        An empty file tells nothing: a pod is made before anybody has told it what to serve, and goes on with what it
        has when a hand takes the annotation away.
        """
        text = self._read()
        if text and text != self._text:
            self._text, self._order = text, self._read_order(text)
        elif self._order is None or self.clock() < self._again_at:
            return
        if self._order is not None:
            done = self._load(self._order)
            self._again_at = self.clock() + LOOK_AGAIN_SECONDS
            self._order = None if done else self._order

    def _load(self, order: ServingOrder) -> bool:
        limit = order.load_seconds or LOAD_SECONDS
        watchdog = threading.Timer(limit, self.hangs, [f"{order.serving.revision} has been loading for {limit:g} s"])
        watchdog.daemon = True
        watchdog.start()
        try:
            return self.served.load(order, wire.digest(self._text))
        finally:
            watchdog.cancel()

    def _read(self) -> str:
        try:
            return self.path.read_text()
        except FileNotFoundError:
            return ""

    def _read_order(self, text: str) -> ServingOrder | None:
        try:
            order = wire.loads(ServingOrder, text)
        except wire.WireError as error:
            self.served.refuse(f"what this pod is to serve cannot be read: {error}")
            return None
        if order.serving.weights is None:
            self.served.refuse(f"{order.serving.revision} has no weights, and this pod serves weights")
            return None
        return order
