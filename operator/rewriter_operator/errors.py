"""The three ways in which a reconcile can end without having done its work, mapped in queue.py and nowhere else.

Everything else propagates to the worker's boundary, is logged with its traceback and retried with backoff: one poison
object never stops the others.
"""


class Waiting(Exception):
    """A known wait: look again after `seconds`; nothing is wrong."""

    def __init__(self, seconds: float, message: str) -> None:
        super().__init__(message)
        self.seconds = seconds


class Stalled(Exception):
    """A person must act; looked at again when the object changes, and after `seconds`."""

    def __init__(self, message: str, seconds: float = 60.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Retry(Exception):
    """Something outside failed (API server, conflict, network): try again with backoff."""
