"""Free ports of the loopback."""

import socket


def free_port() -> int:
    """One that the kernel just gave out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
