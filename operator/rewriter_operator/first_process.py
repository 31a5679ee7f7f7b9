"""Process 1 of the operator's container: waits for the operator proper, passes signals on, and ends as it ended.

The kernel spares process 1 every signal that it has no handler for, also the alarm that ends a write which outlives its
term (cluster/fence.py). So the operator must not be process 1. Somebody being left to say why it ended comes with it.
"""

import logging
import os
import signal
from typing import Final

ALARM_EXIT_CODE: Final = 128 + signal.SIGALRM
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


def continue_as_child() -> None:
    """Returns in the child only. Call it before any thread is started: a fork takes none along."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child:
        for number in _PASSED_ON:
            signal.signal(number, lambda told, _: os.kill(child, told))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    if child:
        os._exit(_exit_code(_awaited(child)))


def _awaited(child: int) -> int:
    """How the child ended; orphans that come to process 1 are taken in on the way."""
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status)


def _exit_code(code: int) -> int:
    if code == -signal.SIGALRM:
        log.error(
            "the operator was stopped or starved in the middle of a write until its term was over; its alarm ended it "
            "before it could send anything: exit code %d. If this comes again, raise its CPU request",
            ALARM_EXIT_CODE,
        )
    return code if code >= 0 else 128 - code
