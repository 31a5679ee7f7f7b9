"""What is read of any HTTP answer, a pod's or another service's: its body up to a bound, and the server's clock."""

from email.utils import parsedate_to_datetime

import aiohttp


async def whole(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body to its end, however many pieces it comes in; None for one of more than `most` bytes.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: when it does not come to its end.
    """
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > most:
            return None
    return bytes(data)


def told_at(response: aiohttp.ClientResponse) -> float | None:
    """Unix seconds by the server's clock when it answered, whole ones; None where its header Date says nothing."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
