"""The operator as a process that can be killed at any moment, and that comes up again in a tenth of a second.

Its modules are imported once, in a fork server; each life is a fork of it. What runs is the shipped entry point.
"""

import asyncio
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.clock import Clock
from tests.ports import kept_port

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 30.0
_PRELOAD = [
    "tests.faults.borrowed_time",  # first: what is imported after it keeps its functions
    "rewriter_operator.__main__",
    "tests.faults.clock",
    "tests.faults.operator_process",
]


def _live(environment: dict[str, str], log: str, clock: Clock) -> None:
    """One life of the operator; it ends with the fork server, which ends with the harness."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.register(signal.SIGUSR1, os.open(f"{log}.threads", os.O_WRONLY | os.O_CREAT))
    clock.install()
    from kubernetes.aio.config import kube_config

    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]  # it read the variable before the fork
    from rewriter_operator.__main__ import main

    sys.argv = ["rewriter-operator"]
    main()


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def environment(kubeconfig: Path, namespace: str) -> dict[str, str]:
    """Of an operator that watches one namespace; a container that is started again keeps its pod."""
    return {
        "KUBECONFIG": str(kubeconfig),
        "WATCH_NAMESPACE": namespace,
        "TRAINER_IMAGE": "registry.test/trainer:1",
        "SAMPLER_IMAGE": "registry.test/sampler:1",
        "METRICS_PORT": str(kept_port()),
        "PROBE_PORT": str(kept_port()),
        "POD_NAME": "rewriter-operator-0",
        "POD_UID": namespace,
    }


@dataclass
class OperatorProcess:
    """Started, killed, started again by the harness as a kubelet would."""

    environment: dict[str, str]
    log: Path
    clock: Clock
    lives: int = 0
    asked_at: float = 0.0
    """When this life was asked to end."""
    _process: Any = field(default=None, repr=False)

    async def start(self) -> None:
        """Begin the next life."""
        self.lives += 1
        self.asked_at = 0.0
        process = _context().Process(target=_live, args=(self.environment, str(self.log), self.clock))
        await asyncio.to_thread(process.start)
        self._process = process

    def kill(self, number: int = signal.SIGKILL) -> None:
        """A signal, now."""
        if self._process is not None and self._process.is_alive():
            self.asked_at = self.clock.time()
            os.kill(self._process.pid, number)

    def is_late(self) -> bool:
        """It was asked to end longer ago than a kubelet is patient."""
        return self.asked_at > 0 and self.is_alive() and self.clock.time() - self.asked_at > GRACE_SECONDS

    async def reap(self) -> None:
        """Wait for the end of a life."""
        if self._process is not None:
            await asyncio.to_thread(self._process.join, 10)
            self._process = None

    def is_alive(self) -> bool:
        """Whether this life still lasts."""
        return self._process is not None and self._process.is_alive()
