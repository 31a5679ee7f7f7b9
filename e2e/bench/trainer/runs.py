"""Starts one side in a process of its own and takes its figures. Imports no torch: this process must stay small,
because the kernel counts its memory into its children's peak."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from e2e.bench.trainer.workload import CYCLE, PHASE, WRITER
from rewriter_contract import wire
from rewriter_trainer.progress_lines import ProgressLine

SIDES: Final = ("ours", "trl")


class RunFailed(RuntimeError):
    """A side ended without training to its end."""


@dataclass(frozen=True)
class Run:
    """What one process did."""

    side: str
    losses: tuple[float, ...]
    """Of every step."""
    step_s: tuple[float, ...]
    """Seconds of every step."""
    step_cpu_s: tuple[float, ...]
    """Processor seconds of every step, of all threads and of the kernel: on a machine that is shared, they say more."""
    whole_s: float
    """From the start of the process to its end: imports, reference, training, writing the weights."""
    peak_mib: float
    """Largest resident memory of the process."""


def command(side: str, root: Path) -> list[str]:
    """How a side is started on the volume at `root`."""
    where = [f"--root={root}", f"--cycle={CYCLE}", f"--phase={PHASE}"]
    if side == "ours":
        return [sys.executable, "-m", "rewriter_trainer.phase", *where, f"--writer={WRITER}"]
    return [sys.executable, "-m", "e2e.bench.trainer.peer", *where, f"--out={root / 'trl'}"]


def run(side: str, root: Path) -> Run:
    """Train the phase on the volume by `side`.

    Raises:
        RunFailed: with how it ended.
    """
    started = time.monotonic()
    process = subprocess.Popen(command(side, root), stdout=subprocess.PIPE, text=True)
    lines = [(time.monotonic(), processor_seconds(process.pid), line) for line in process.stdout or ()]
    _, status, usage = os.wait4(process.pid, 0)
    whole = time.monotonic() - started
    if status:
        raise RunFailed(f"{side} ended with status {os.waitstatus_to_exitcode(status)}: {lines[-1:]}")
    losses, seconds = steps_of((moment, text) for moment, _, text in lines)
    _, cpu_seconds = steps_of((used, text) for _, used, text in lines)
    return Run(side, losses, seconds, cpu_seconds, whole, usage.ru_maxrss / 1024)


def processor_seconds(pid: int) -> float:
    """What the process has used so far, of all its threads, in itself and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime of proc(5)


def steps_of(lines: Iterable[tuple[float, str]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Loss and seconds of every step, from progress lines and when they came, by whatever clock.

    Raises:
        RunFailed: when the run failed, or says nothing of a step.
    """
    losses: list[float] = []
    ends: list[float] = []
    for moment, text in lines:
        line = wire.loads(ProgressLine, text, "progress")
        if line.failed:
            raise RunFailed(line.failed)
        if line.message == "training":
            ends = [moment]
        elif ends and "loss" in line.metrics and line.done == len(ends):
            ends.append(moment)
            losses.append(line.metrics["loss"])
    if not losses:
        raise RunFailed("no step was reported")
    return tuple(losses), tuple(end - begin for begin, end in pairwise(ends))
