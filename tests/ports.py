"""Free ports of the loopback."""

import random
import socket
from pathlib import Path

_RANGE_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 12_000


def free_port() -> int:
    """One that the kernel just gave out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def kept_port() -> int:
    """One for a program that is started later, and again and again: below those that the kernel gives to connections.

    Of two who ask at the same time both may get the same one, but they draw from thousands.
    """
    lowest_given_out = int(_RANGE_OF_CONNECTIONS.read_text().split()[0])
    while lowest_given_out > _LOWEST:
        port = random.randrange(_LOWEST, lowest_given_out)
        with socket.socket() as listener:
            try:
                listener.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    return free_port()
