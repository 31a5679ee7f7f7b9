"""The program of a phase that is ended at a point: `python -m tests.trainer.dying_phase POINT --root ...`.

It sends itself the signal, so that the point is always the same one. Of several workers only the first does.
"""

import os
import signal
import sys
from typing import Any

from rewriter_trainer import checkpoint, phase, publish
from rewriter_trainer.progress_lines import ProgressLine, Reporter

STEP = 6
"""Optimizer step after which the process is told to stop, or is killed."""

IN_STEPS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
PUBLISHING = {
    "before anything is written": (publish, "publish_policy"),
    "with tensors and no manifest": (publish, "look_at"),
    "with a weight set beside its checkpoint": (checkpoint, "discard"),
}


def end_at(point: str) -> None:
    """Make this process end there."""
    if point in PUBLISHING:
        setattr(*PUBLISHING[point], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        return
    say = Reporter.say

    def say_and_end(self: Any, line: ProgressLine) -> None:
        say(self, line)
        if line.done == STEP and line.metrics and os.environ.get("RANK", "0") == "0":
            os.kill(os.getpid(), IN_STEPS[point])

    Reporter.say = say_and_end  # type: ignore[method-assign]


if __name__ == "__main__":
    end_at(sys.argv.pop(1))
    sys.exit(phase.main())
