"""Free ports of the loopback."""

import fcntl
import random
import socket
import tempfile
from pathlib import Path
from typing import Any, Final

_RANGE_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 12_000
_LOCKS: Final[list[Any]] = []
"""Open files, kept so that their locks are."""


def free_port() -> int:
    """One that the kernel just gave out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def kept_port() -> int:
    """One for a program that is started later, and again and again: below those that the kernel gives to connections.

    No two of this machine's tests get the same one: it is locked until this process ends.
    """
    lowest_given_out = int(_RANGE_OF_CONNECTIONS.read_text().split()[0])
    while lowest_given_out > _LOWEST:
        port = random.SystemRandom().randrange(_LOWEST, lowest_given_out)
        if not _locked(port):
            continue
        with socket.socket() as listener:
            try:
                listener.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    return free_port()


def _locked(port: int) -> bool:
    handle = (Path(tempfile.gettempdir()) / f"rewriter-test-port-{port}.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _LOCKS.append(handle)
    return True
