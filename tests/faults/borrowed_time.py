"""A time that can be moved, for a process: imported before anything that keeps `time.monotonic` for later.

A dataclass whose default is `time.monotonic`, or a module with `from time import monotonic`, holds the function that
was there when it was imported. So these functions are put there first, and say the world's time until `follow` gives
them another clock. Without this the operator's lease and fence would live by another clock than its event loops.
"""

import time
from collections.abc import Callable

_WORLD = (time.time, time.monotonic)
_source: list[tuple[Callable[[], float], Callable[[], float]]] = [_WORLD]


def follow(unix: Callable[[], float], monotonic: Callable[[], float]) -> None:
    """From now on, time in this process is what these say."""
    _source[0] = (unix, monotonic)


def _time() -> float:
    return _source[0][0]()


def _monotonic() -> float:
    return _source[0][1]()


time.time, time.monotonic = _time, _monotonic
