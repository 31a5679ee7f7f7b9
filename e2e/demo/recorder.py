"""Follows one RewriterRelease through `kubectl get --watch` and keeps every status it saw, with the time.

For the acts' claims, the terminal and the report. It only reads; what it missed between two writes of the operator did
not happen as far as the API server is concerned.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from e2e.cluster import Cluster


class Overdue(RuntimeError):
    """What an act waited for did not come in time."""


@dataclass(frozen=True)
class Seen:
    """A status at a time."""

    at: float
    """Unix seconds."""
    generation: int
    status: dict[str, Any]

    @property
    def state(self) -> str:
        """`status.state`."""
        return str(self.status.get("state", ""))

    @property
    def cycle(self) -> dict[str, Any]:
        """The cycle that runs; empty when none does."""
        return self.status.get("cycle") or {}

    def stage(self, name: str) -> dict[str, Any]:
        """One stage's status; empty before it has one."""
        return next((stage for stage in self.status.get("stages", []) if stage["name"] == name), {})

    def record(self, cycle: int) -> dict[str, Any] | None:
        """How a cycle ended; None while it has not."""
        return next((record for record in self.status.get("history", []) if record["number"] == cycle), None)


class Recorder:
    """Runs from construction to `close`."""

    def __init__(self, cluster: Cluster, namespace: str, release: str) -> None:
        command = [str(cluster.kubectl_program), f"--kubeconfig={cluster.kubeconfig}", "-n", namespace]
        command += ["get", "rewriterrelease", release, "--watch", "-o", "json"]
        self._command = command
        self._changed = threading.Condition()
        self._closed = False
        self.seen: list[Seen] = []
        self._start()
        threading.Thread(target=self._follow, name=f"watch-{release}", daemon=True).start()

    @property
    def last(self) -> Seen:
        """The newest status."""
        return self.seen[-1] if self.seen else Seen(time.time(), 0, {})

    def wait(self, until: Callable[[Seen], bool], seconds: float, what: str) -> Seen:
        """The first status from now on for which `until` holds.

        Raises:
            Overdue: naming `what` and where the release stood instead.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (self.seen and until(self.last)):
                rest = deadline - time.monotonic()
                if rest <= 0:
                    stands = f"the release is {self.last.state}: {self.last.status.get('message', '')}"
                    raise Overdue(f"{what} did not happen within {seconds:.0f} s; {stands}")
                self._changed.wait(min(rest, 1.0))
            return self.last

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self._process.terminate()
        self._process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def _follow(self) -> None:
        decoder, rest = json.JSONDecoder(), ""
        while not self._closed:
            assert self._process.stdout
            # kubectl prints one indented object after the other; `}` alone on a line ends each.
            for line in self._process.stdout:
                rest += line
                if line == "}\n":
                    self._take(decoder.decode(rest))
                    rest = ""
            self._process.wait()
            if not self._closed:  # the API server ends watches now and then
                time.sleep(1)
                rest = ""
                self._start()

    def _take(self, release: dict[str, Any]) -> None:
        with self._changed:
            self.seen.append(Seen(time.time(), release["metadata"].get("generation", 0), release.get("status") or {}))
            self._changed.notify_all()
