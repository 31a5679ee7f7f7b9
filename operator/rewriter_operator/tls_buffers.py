"""How much memory a TLS connection holds: asyncio sets 256 KiB aside for each, and writes zeros over all of it.

A pass has eight reads under way at once, and there are many passes at once: that is a hundred connections to the API
server, and 25 MiB of zeros. A TLS record never holds more than 16 KiB, so two of them fit into what is left of it.
"""

from asyncio import sslproto
from typing import Final

BUFFER_BYTES: Final = 32 * 1024


def shrink() -> None:
    """For all connections that this process opens from now on."""
    sslproto.SSLProtocol.max_size = BUFFER_BYTES
