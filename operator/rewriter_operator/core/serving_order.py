"""What a pod of the pool was told to serve, read back from its annotation."""

from functools import lru_cache

from rewriter_contract import wire
from rewriter_contract.messages import ServingOrder


@lru_cache(maxsize=1024)
def ordered(text: str) -> ServingOrder | None:
    """None for a pod that was told nothing, or something that this version cannot read: it is told anew."""
    try:
        return wire.loads(ServingOrder, text) if text else None
    except wire.WireError:
        return None
