"""Starts a background process that outlives its starter, and tells the start's follower when it fails early."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.cluster.paths import REPOSITORY
from e2e.cluster.progress import Event, What, append


def start_detached(arguments: Sequence[str], log: Path) -> None:
    """Runs `python -m ARGUMENTS`, which must call `detached`; returns when that has left this process's children."""
    with log.open("ab") as stream:
        subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            check=True,
        )


def detached(progress: Path, part: str, run: Callable[[], None]) -> None:
    """Continues in a child that nobody waits for, so that closing a terminal or a test process leaves no zombie."""
    if os.fork():
        os._exit(0)
    try:
        run()
    except Exception as error:
        traceback.print_exc()
        append(progress, Event(What.FAILED, part, 0.0, f"failed: {error}"))
        sys.exit(1)
