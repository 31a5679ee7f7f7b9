"""One line per part with its time, the same on a terminal and in a CI log."""

import sys
import time


def print_line(part: str, what: str, seconds: float) -> None:
    """Goes to standard error, so that commands with output of their own can be piped."""
    print(f"{time.strftime('%H:%M:%S')}  {part:<26} {what:<16} {seconds:7.1f} s", file=sys.stderr, flush=True)
