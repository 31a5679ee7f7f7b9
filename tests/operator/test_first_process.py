"""Process 1 of the container: it says how the operator ended, and ends the same way."""

import signal
import subprocess
import sys
import time

PARENT = """
import logging, signal, sys, time
from rewriter_operator.first_process import continue_as_child
logging.basicConfig(stream=sys.stdout)
continue_as_child()
{work}
"""


def started(work: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PARENT.format(work=work)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_an_operator_that_its_alarm_ended_is_told_of() -> None:
    with started("signal.setitimer(signal.ITIMER_REAL, 0.1)\ntime.sleep(60)") as process:
        assert process.stdout is not None
        assert "in the middle of a write" in process.stdout.read()
        assert process.wait(30) == 142


def test_its_exit_code_is_passed_on() -> None:
    with started("sys.exit(3)") as process:
        assert process.wait(30) == 3


def test_a_request_to_end_reaches_the_operator() -> None:
    work = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('up', flush=True)\ntime.sleep(60)"
    with started(work) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 7
