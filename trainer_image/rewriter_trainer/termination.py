"""The answer of a pod that runs once: compact JSON in the container's termination message.

Kubernetes keeps 4096 bytes of it; more would be cut in the middle of the JSON, so this program cuts words instead.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rewriter_contract import wire
from rewriter_contract.messages import PrepareResult, Problem

MAX_BYTES: Final = 4096
MAX_MESSAGE: Final = 600
"""Characters of one problem's message."""

LOG_VARIABLE: Final = "TERMINATION_LOG"
"""Path to write to instead of the container's termination log: for tests."""


def write(result: Any) -> None:
    """Leave `result` (a wire value) where the kubelet reads it.

    Raises:
        ValueError: when it does not fit.
    """
    data = wire.dumps(result).encode()
    if len(data) > MAX_BYTES:
        raise ValueError(f"a termination message of {len(data)} bytes would be cut; at most {MAX_BYTES} fit")
    Path(os.environ.get(LOG_VARIABLE, "/dev/termination-log")).write_bytes(data)


def fit(result: PrepareResult) -> PrepareResult:
    """The result with its messages cut, then without paths of what was removed and left, then its last problems
    dropped, then promoted.json's oldest history, until it fits. What is left out is counted and stands in the log."""
    problems = [replace(problem, message=_cut(problem.message)) for problem in result.problems]
    fitted = replace(result, problems=tuple(problems))
    if _size(fitted) > MAX_BYTES and fitted.storage:
        fitted = replace(fitted, storage=replace(fitted.storage, removed=(), left=()))
    while _size(fitted) > MAX_BYTES and len(problems) > 1:
        problems.pop()
        more = Problem("MoreProblems", f"{len(result.problems) - len(problems)} more problems; see the pod's log")
        fitted = replace(fitted, problems=(*problems, more))
    while _size(fitted) > MAX_BYTES and fitted.promoted and fitted.promoted.history:
        fitted = replace(fitted, promoted=replace(fitted.promoted, history=fitted.promoted.history[:-1]))
    return fitted


def _size(result: PrepareResult) -> int:
    return len(wire.dumps(result).encode())


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
