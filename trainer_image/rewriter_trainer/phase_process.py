"""Runs a phase in a process of its own and turns its progress lines into the report of the work.

A crash of that process (out of memory, a fault in a kernel) becomes a FAILED report with its exit code; the control
server lives on. Standard library only: the control server never loads torch.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

from rewriter_contract import wire
from rewriter_contract.agent import Cancelled, Progress, VolumeFull, WorkFailed
from rewriter_contract.messages import PhaseOrder, WorkReport
from rewriter_trainer import phase_files
from rewriter_trainer.phase import Job
from rewriter_trainer.progress_lines import ProgressLine

log = logging.getLogger(__name__)


def run_phase(job: Job, order: PhaseOrder, workers: int, progress: Progress) -> WorkReport:
    """Train a phase in a child process and return its final report.

    Raises:
        WorkFailed: with the child's sentence, or how it ended.
        VolumeFull: the same, where the volume has no room.
        Cancelled: when the work was told to stop and the child has stopped.
    """
    if progress.cancelled.is_set():
        raise Cancelled
    phase_files.write_order(job.root, job.cycle, job.phase, order, job.writer)
    with subprocess.Popen(command(job, workers), stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        threading.Thread(target=_stop_when_cancelled, args=(child, progress), daemon=True).start()
        try:
            outcome = relay(child.stdout or (), progress)
        except BaseException:
            child.kill()
            raise
    if outcome.result:
        return outcome.result
    if outcome.stopped:
        raise Cancelled
    if outcome.volume_full:
        raise VolumeFull(outcome.failed)
    raise WorkFailed(outcome.failed or ending(child.returncode))


def command(job: Job, workers: int) -> list[str]:
    """The child's command line: torchrun when there are several workers, plain Python for one."""
    launcher = ["-m"]
    if workers > 1:
        launcher = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={workers}"]
        launcher += ["--master-addr=127.0.0.1", "--master-port=29500", "-m"]
    arguments = {"root": job.root, "cycle": job.cycle, "phase": job.phase, "writer": job.writer}
    return [
        sys.executable,
        *launcher,
        "rewriter_trainer.phase",
        *(f"--{key}={value}" for key, value in arguments.items()),
    ]


def relay(lines: Iterable[str], progress: Progress) -> ProgressLine:
    """Pass the child's lines on as progress until it ends; its outcome, or an empty line where it gave none."""
    outcome = ProgressLine()
    for text in lines:
        try:
            line = wire.loads(ProgressLine, text, "progress")
        except wire.WireError:
            log.info("phase: %s", text.rstrip())
            continue
        if line.result or line.failed or line.stopped:
            outcome = line
            continue
        changes = {name: getattr(line, name) for name in ("done", "total", "message", "metrics") if getattr(line, name)}
        with suppress(Cancelled):  # the child was told to stop; it may still have a checkpoint to write
            progress.update(**changes)
    return outcome


def ending(code: int) -> str:
    """A sentence for a child that ended without an outcome."""
    if code == -signal.SIGKILL:
        return "the training process was killed (SIGKILL), most likely for want of memory; raise its memory limit"
    if code < 0:
        return f"the training process died of signal {signal.Signals(-code).name}; see the trainer's log"
    return f"the training process ended with exit code {code} and no result; see the trainer's log"


def _stop_when_cancelled(child: "subprocess.Popen[str]", progress: Progress) -> None:
    while child.poll() is None:
        if progress.cancelled.wait(timeout=0.2):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            return
