"""A program under measurement: started, looked at from outside, stopped."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

STOP_SECONDS: Final = 30.0


@dataclass
class Subject:
    """One process, the operator or its peer, over one namespace."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    started_at: float = 0.0
    """Monotonic seconds."""
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Begin a life."""
        with self.log.open("ab") as log:
            self.started_at = time.monotonic()
            self._process = subprocess.Popen(self.command, env=dict(self.environment), stdout=log, stderr=log)

    def stop(self) -> None:
        """End it as Kubernetes would."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def must_live(self) -> None:
        """
        Raises:
            RuntimeError: with the end of its log, when it has ended by itself.
        """
        if self._process is None or self._process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.command[0]} ended by itself; its log {self.log} ends with:\n{tail}")

    def memory(self) -> "Memory":
        """As the kernel counts it now."""
        self.must_live()
        assert self._process is not None
        return memory_of(Path(f"/proc/{self._process.pid}/status").read_text())

    def cpu_seconds(self) -> float:
        """Processor time of this life, of all its threads."""
        self.must_live()
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / 100  # USER_HZ, which is 100 on every Linux that Kubernetes runs on


@dataclass(frozen=True)
class Memory:
    """MiB."""

    resident: float
    highest: float


def memory_of(status: str) -> Memory:
    """Out of /proc/PID/status."""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident, highest = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Memory(round(resident, 1), round(highest, 1))
