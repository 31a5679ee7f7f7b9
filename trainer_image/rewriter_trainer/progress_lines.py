"""What the process of a phase tells the control server: one JSON object a line. Standard library only.

Exactly one of the outcomes (`result`, `failed`, `stopped`) ends the stream of a process that did not crash.
"""

import os
import sys
from dataclasses import dataclass, field
from typing import TextIO

from rewriter_contract import wire
from rewriter_contract.messages import WorkReport


@dataclass(frozen=True)
class ProgressLine:
    """One line."""

    done: int = 0
    total: int = 0
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    result: WorkReport | None = None
    """The phase is done."""
    failed: str = ""
    """The phase ended without a result; the sentence goes to the operator."""
    volume_full: bool = False
    """It failed for want of room on the volume."""
    passing: bool = False
    """It failed in a way that may be another worker's loss, so that the same may succeed once that one is back."""
    stopped: bool = False
    """The process was told to stop and left a checkpoint where one was possible."""


class Reporter:
    """Writes progress lines; only the first worker's count."""

    def __init__(self, stream: TextIO, speaks: bool) -> None:
        self._stream, self._speaks = stream, speaks

    def say(self, line: ProgressLine) -> None:
        """Send one line at once."""
        if self._speaks:
            self._stream.write(wire.dumps(line) + "\n")
            self._stream.flush()


def take_over_stdout() -> Reporter:
    """Keep standard output for progress lines and send everything else that is printed to standard error.

    Call before importing libraries: some print to standard output, from Python and from C, and their words must not
    stand between the lines.
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return Reporter(stream, speaks=os.environ.get("RANK", "0") == "0")
