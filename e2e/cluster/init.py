"""Runs the programs of a plan: starts each when what it needs is ready, restarts those that die, reaps orphans.

It must never wait for one program while others could move on.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from e2e.cluster.linux import die_with_parent
from e2e.cluster.plan import Plan
from e2e.cluster.probe import is_ready
from e2e.cluster.programs import Program
from e2e.cluster.progress import Event, What, append

TICK_SECONDS = 0.05
RESTART_AFTER_SECONDS = 0.5
# Exits before it was ever ready: more than this many mean a broken program, not an unlucky order.
MAX_EARLY_EXITS = 8
START_SECONDS = 180.0
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Process:
    """One program and where it is: not started, running, ready, or waiting for its next try."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self.popen: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.done = False
        self.was_ready = False
        self.early_exits = 0
        self.not_before = 0.0

    @property
    def startable(self) -> bool:
        return self.pid == 0 and not self.done and time.monotonic() >= self.not_before

    def start(self) -> None:
        environment = {**os.environ, **self.program.env, "PATH": f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"}
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self.pid = self.popen.pid

    def exited(self, code: int) -> None:
        # Init reaps every process itself, orphans among them, so Popen has to be told.
        assert self.popen is not None
        self.popen.returncode = code
        self.pid = 0
        self.not_before = time.monotonic() + RESTART_AFTER_SECONDS
        if self.program.once and code == 0:
            self.done = self.was_ready = True
        elif not self.was_ready:
            self.early_exits += 1


class Init:
    """The loop. It is over only by a signal, by the end of its lifeline, or by a start that fails."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.processes = {p.name: Process(p, plan.logs / f"{p.name}.log") for p in plan.programs}
        self.started = time.monotonic()
        self.up = False

    def run(self, lifeline: int | None, wanted: Callable[[], bool] = lambda: True) -> None:
        """`lifeline` is a file descriptor whose end-of-file, as `wanted` turning false, ends the run."""
        watched = [lifeline] if lifeline is not None else []
        while wanted():
            self.reap()
            self.start_what_can_start()
            self.notice_ready()
            if not self.up and self.start_is_over():
                return
            readable, _, _ = select.select(watched, [], [], TICK_SECONDS if not self.up else 0.5)
            if readable and not os.read(readable[0], 1):
                return

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self.processes.values():
                if process.pid == pid:
                    self.note_exit(process, os.waitstatus_to_exitcode(status))

    def note_exit(self, process: Process, code: int) -> None:
        process.exited(code)
        if process.done:
            self.tell(What.READY, process.program.name)
        elif not process.program.once:
            self.tell(What.RESTARTED, process.program.name, f"exited with {code}")

    def start_what_can_start(self) -> None:
        for process in self.processes.values():
            if process.startable and all(self.processes[need].was_ready for need in process.program.needs):
                process.start()

    def notice_ready(self) -> None:
        for process in self.processes.values():
            program = process.program
            if not process.was_ready and process.pid and not program.once and is_ready(program.ready):
                process.was_ready = True
                self.tell(What.READY, program.name)

    def start_is_over(self) -> bool:
        """True when the start failed. Says so, or says that the cluster is up, once."""
        waiting = sorted(name for name, process in self.processes.items() if not process.was_ready)
        if not waiting:
            self.up = True
            self.tell(What.UP, "cluster")
            return False
        broken = [p.program.name for p in self.processes.values() if p.early_exits > MAX_EARLY_EXITS]
        if broken:
            self.tell(What.FAILED, broken[0], f"ended {MAX_EARLY_EXITS + 1} times before it was ready")
            return True
        if time.monotonic() - self.started > START_SECONDS:
            self.tell(What.FAILED, waiting[0], f"not ready after {START_SECONDS:.0f} s (waiting: {', '.join(waiting)})")
            return True
        return False

    def tell(self, what: What, part: str, text: str = "") -> None:
        append(self.plan.progress, Event(what, part, round(time.monotonic() - self.started, 2), text))

    def end(self) -> None:
        """Ends what still runs: etcd and the API server by a request, for clean files; then everything by force."""
        for process in self.processes.values():
            if process.pid:
                _signal(process.pid, signal.SIGTERM if process.program.name == "etcd" else signal.SIGKILL)
        deadline = time.monotonic() + 3.0
        while any(process.pid for process in self.processes.values()) and time.monotonic() < deadline:
            self.reap()
            time.sleep(TICK_SECONDS)
        for process in self.processes.values():
            if process.pid:
                _signal(process.pid, signal.SIGKILL)
                process.exited(os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]))


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
