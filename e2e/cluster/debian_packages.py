"""Installs the Debian packages that this machine lacks. Starts no service, and waits for its turn.

Cluster and images ask side by side on a fresh machine, and apt refuses a second run instead of waiting for the first.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.file_lock import exclusive
from e2e.cluster.paths import cache_root

POLICY = Path("/usr/sbin/policy-rc.d")
OTHERS_TURN_SECONDS = 300
"""For an apt that is not ours, such as the machine's own daily upgrade."""


def install(packages: Sequence[str], remedy: str) -> None:
    """Install `packages`; returns when they are there.

    Raises:
        ClusterError: without apt-get, or when it fails; ends with `remedy`.
    """
    listed = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise ClusterError(f"the Debian packages {listed} are missing and there is no apt-get: {remedy}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={OTHERS_TURN_SECONDS}"]
    log = cache_root() / "logs" / "apt.log"
    with exclusive(cache_root() / "apt.lock"), _no_service_starts():
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *packages]):
                if subprocess.run(command, env=environment, stdout=stream, stderr=stream).returncode != 0:
                    raise ClusterError(f"`{' '.join(command)}` failed, see {log}; install {listed} by hand: {remedy}")


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts a service when its package is installed, unless this file forbids it; the cluster runs its own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
