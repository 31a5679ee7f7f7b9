"""Runs a phase in a process of its own and turns its progress lines into the report of the work.

A crash of that process (out of memory, a fault in a kernel) becomes a FAILED report with its exit code; the control
server lives on. Standard library only: the control server never loads torch.

Several pods that train a phase together meet by torchrun's c10d rendezvous at pod 0, and each runs a part of the
workers. Which pod has the first worker, whose lines count, is torchrun's to say: the other pods' work is done when
their workers are. A pod that goes away and is told again is waited for where the others are, and all go on from the
last checkpoint.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from rewriter_contract import wire
from rewriter_contract.agent import Cancelled, PeerLost, Progress, VolumeFull, WorkFailed
from rewriter_contract.messages import PhaseOrder, TrainerGroup, WorkReport, WorkState
from rewriter_trainer import phase_files
from rewriter_trainer.phase import Job, finished_before
from rewriter_trainer.progress_lines import ProgressLine

MEETING_SECONDS: Final = 3600
"""For a pod that was lost to come back; the operator's spec.training.phaseDeadline and stallTimeout come before."""

RESTARTS: Final = 3
"""Of the workers in one launch, when some of them failed: another pod may be what was lost."""

LAUNCHES: Final = 3
"""Of torchrun in a row, which ends when pod 0, where all meet, is lost. One that lasted is not counted: a phase of days
may lose its pods more often."""

LASTING_SECONDS: Final = 600.0
"""Of a launch that had begun to train."""

PAUSE_SECONDS: Final = 5.0
"""Between two launches."""

LEAVING_SECONDS: Final = 10.0
"""For the process to end by itself, once it has told what came of the phase."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How the process of a phase ended."""

    line: ProgressLine
    """Its outcome; an empty line where it gave none."""
    code: int
    """Its exit code; negative: the signal that ended it."""


def run_phase(
    job: Job, order: PhaseOrder, workers: int, progress: Progress, group: TrainerGroup | None = None
) -> WorkReport:
    """Train a phase in a child process and return its final report; as one pod of `group`, together with the others.

    Raises:
        WorkFailed: with the child's sentence, or how it ended.
        VolumeFull: the same, where the volume has no room.
        PeerLost: the same, where another pod of the group may be what was lost.
        Cancelled: when the work was told to stop and the child has stopped.
    """
    if group is None:
        ended = _launched(job, order, workers, None, progress)
        return _report(ended)
    launches = 0
    while launches < LAUNCHES:
        finished = finished_before(job, order, phase_files.order_sha256(order))
        if finished is not None:  # the others are done, and would be waited for in vain
            return finished
        began = time.monotonic()
        ended = _launched(job, order, workers, group, progress)
        if progress.cancelled.is_set() and not ended.line.result:
            raise Cancelled
        if ended.code == 0 or ended.line.result or (ended.line.failed and not ended.line.passing):
            break
        launches = 1 if time.monotonic() - began > LASTING_SECONDS else launches + 1
        log.warning("torchrun ended with exit code %d, launch %d of %d", ended.code, launches, LAUNCHES)
        time.sleep(PAUSE_SECONDS)
    if ended.code == 0 and not ended.line.result:
        return WorkReport(state=WorkState.DONE)  # another pod has the first worker, which tells what came of it
    try:
        return _report(ended)
    except WorkFailed as error:
        if error.reason is None and (ended.line.passing or not ended.line.failed):
            raise PeerLost(f"{error}; trainer pods must reach each other, on every TCP port") from error
        raise


def _report(ended: Ended) -> WorkReport:
    outcome = ended.line
    if outcome.result:
        return outcome.result
    if outcome.stopped:
        raise Cancelled
    if outcome.volume_full:
        raise VolumeFull(outcome.failed)
    raise WorkFailed(outcome.failed or ending(ended.code))


def _launched(job: Job, order: PhaseOrder, workers: int, group: TrainerGroup | None, progress: Progress) -> Ended:
    """Start the process and see it to its end."""
    if progress.cancelled.is_set():
        raise Cancelled
    phase_files.write_order(job.root, job.cycle, job.phase, order, job.writer)
    arguments = command(job, workers, group)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        threading.Thread(target=_stop_when_cancelled, args=(child, progress), daemon=True).start()
        try:
            outcome = relay(child.stdout or (), progress, to_the_end=group is None)
            if group is not None:
                _left(child)
        except BaseException:
            child.kill()
            raise
    return Ended(outcome, child.returncode)


def _left(child: "subprocess.Popen[str]") -> None:
    """See the child end: torchrun waits for pods that are gone, and starts anew what cannot succeed."""
    try:
        child.wait(LEAVING_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)


def command(job: Job, workers: int, group: TrainerGroup | None = None) -> list[str]:
    """The child's command line: torchrun when there are several workers, plain Python for one."""
    launcher = ["-m"]
    if workers > 1 or group is not None:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={workers}", *_meeting(job, group), "-m"]
    arguments = {"root": job.root, "cycle": job.cycle, "phase": job.phase, "writer": job.writer}
    return [
        sys.executable,
        *launcher,
        "rewriter_trainer.phase",
        *(f"--{key}={value}" for key, value in arguments.items()),
    ]


def _meeting(job: Job, group: TrainerGroup | None) -> list[str]:
    """Where the workers find each other."""
    if group is None:
        return ["--nnodes=1", "--master-addr=127.0.0.1", "--master-port=29500"]
    is_host = int(group.number == 0)
    return [
        f"--nnodes={group.pods}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={group.meeting}",
        f"--rdzv-id=c{job.cycle}-p{job.phase}",
        f"--rdzv-conf=is_host={is_host},join_timeout={MEETING_SECONDS}",
        f"--local-addr={group.host}",
        f"--max-restarts={RESTARTS}",
    ]


def relay(lines: Iterable[str], progress: Progress, to_the_end: bool = True) -> ProgressLine:
    """Pass the child's lines on as progress until it ends; its outcome, or an empty line where it gave none.

    With `to_the_end` False what comes after an outcome that stays is not waited for.
    """
    outcome = ProgressLine()
    for text in lines:
        try:
            line = wire.loads(ProgressLine, text, "progress")
        except wire.WireError:
            log.info("phase: %s", text.rstrip())
            continue
        if line.result or line.failed or line.stopped:
            outcome = line
            if not to_the_end and not line.passing:
                return outcome
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
