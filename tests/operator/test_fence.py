"""Ring one and two of the fence: no write outside of the term, and an alarm for a process that sleeps in one."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from rewriter_operator.cluster.fence import Fenced, Superseded, Term, check_epoch, epoch_of, marked


@dataclass
class Bench:
    """A term with a clock and an alarm that can be looked at."""

    now: float = 100.0
    alarms: list[float] = field(default_factory=list)

    def term(self, until: float = 110.0, grace: float = 2.5) -> Term:
        return Term(epoch=3, until=until, grace=grace, clock=lambda: self.now, alarm=self.alarms.append)


def test_a_write_may_take_as_long_as_the_term_lasts_and_has_an_alarm_behind_it() -> None:
    bench = Bench()
    with bench.term().writing() as left:
        assert left == 10.0
        assert bench.alarms == [12.5], "after the request's own end, and before the lease expires at 115"
    assert bench.alarms == [12.5, 0]


def test_nothing_begins_after_the_term_whatever_woke_it() -> None:
    bench = Bench()
    term = bench.term()
    bench.now = 110.0
    with pytest.raises(Fenced, match=r"epoch 3 is over \(not renewed in time\)"), term.writing():
        raise AssertionError("nothing is sent")
    assert bench.alarms == [0]


def test_an_ended_term_does_not_come_back_with_a_late_renewal() -> None:
    bench = Bench()
    term = bench.term()
    term.end("the Lease was deleted")
    term.extend(200.0)
    with pytest.raises(Fenced, match="the Lease was deleted"), term.writing():
        raise AssertionError("nothing is sent")


def test_the_alarm_of_a_write_under_way_outlives_the_end_of_the_term_and_moves_with_a_renewal() -> None:
    bench = Bench()
    term = bench.term()
    with term.writing():
        bench.now = 105.0
        term.extend(115.0)
        assert bench.alarms[-1] == 12.5
        with term.writing():
            term.end("somebody else holds it")
        assert bench.alarms[-1] == 12.5, "one write is still on the wire"
    assert bench.alarms[-1] == 0


def test_an_alarm_that_was_set_late_is_set_again() -> None:
    """The process was held up between reading the clock and setting the alarm."""
    bench = Bench()

    def slow_alarm(seconds: float) -> None:
        bench.alarms.append(seconds)
        if len(bench.alarms) == 1:
            bench.now += 6.0

    term = Term(epoch=3, until=110.0, grace=2.5, clock=lambda: bench.now, alarm=slow_alarm)
    with term.writing() as left:
        assert (left, bench.alarms) == (4.0, [12.5, 6.5])


SLEEPER = """
import time
from rewriter_operator.cluster.fence import Term
with Term(epoch=1, until=time.monotonic() + 0.6, grace=0.2).writing():
    print("writing", flush=True)
    while True:
        print("alive", flush=True)
        time.sleep(0.01)
"""


def test_a_process_that_is_stopped_inside_a_write_never_runs_on_after_its_term() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == -signal.SIGALRM


def test_a_mark_is_read_back_and_a_higher_one_is_respected() -> None:
    live = {"kind": "Deployment", **marked({"metadata": {"name": "shop", "annotations": {"a": "b"}}}, 7)}
    assert (epoch_of(live), live["metadata"]["annotations"]["a"]) == (7, "b")
    check_epoch(live, 7)
    with pytest.raises(Superseded, match="Deployment shop carries epoch 7, ours is 6"):
        check_epoch(live, 6)
    release = {"kind": "RewriterRelease", "metadata": {"name": "shop"}, "status": {"operatorEpoch": 9}}
    with pytest.raises(Superseded):
        check_epoch(release, 8)


@pytest.mark.parametrize("value", ["", "-1", "nine", "1.5", None])
def test_a_mark_that_a_person_broke_counts_as_none(value: str | None) -> None:
    assert epoch_of({"metadata": {"annotations": {"rewriter.dev/epoch": value}}}) == 0
