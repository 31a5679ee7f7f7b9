"""Init with harmless programs of the system: order, restarts, one-time jobs, and a start that fails, all for real."""

import os
import threading
from pathlib import Path

import pytest

from e2e.cluster import init as init_module
from e2e.cluster.init import Init
from e2e.cluster.plan import Plan
from e2e.cluster.programs import Program
from e2e.cluster.progress import Event, What, read


def run_until(tmp_path: Path, programs: list[Program], what: What) -> list[Event]:
    """Runs init until it reported this; returns all that it reported."""
    plan = Plan(tuple(programs), tmp_path, tmp_path / "progress.jsonl")
    init = Init(plan)
    timer = threading.Event()
    watchdog = threading.Timer(10.0, timer.set)
    watchdog.start()
    try:
        init.run(None, lambda: not timer.is_set() and what not in {e.what for e in read(plan.progress, 0)[0]})
    finally:
        watchdog.cancel()
        init.end()
    return read(plan.progress, 0)[0]


def test_a_program_starts_only_after_what_it_needs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    programs = [
        Program("second", ("test", "-e", str(made)), needs=("first",), once=True),
        Program("first", ("sh", "-c", f"sleep 0.2; touch {made}"), once=True),
    ]
    events = run_until(tmp_path, programs, What.UP)
    assert [(e.what, e.part) for e in events] == [
        (What.READY, "first"),
        (What.READY, "second"),
        (What.UP, "cluster"),
    ]


def test_a_job_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init_module, "RESTART_AFTER_SECONDS", 0.01)
    script = f"test -e {tmp_path}/tried || {{ touch {tmp_path}/tried; exit 1; }}"
    events = run_until(tmp_path, [Program("job", ("sh", "-c", script), once=True)], What.UP)
    assert [e.what for e in events] == [What.READY, What.UP]


def test_a_program_that_never_gets_ready_fails_the_start_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_module, "RESTART_AFTER_SECONDS", 0.01)
    broken = Program("broken", ("sh", "-c", "echo why >&2; exit 3"), ready=f"unix:{tmp_path}/never")
    events = run_until(tmp_path, [broken], What.FAILED)
    assert events[-1].part == "broken"
    assert {e.text for e in events[:-1]} == {"exited with 3"}
    assert "why" in (tmp_path / "broken.log").read_text()


def test_nothing_keeps_running_after_the_end(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    waits = Program("waits", ("sh", "-c", f"echo $$ > {pid_file}; exec sleep 60"), ready=f"unix:{tmp_path}/never")
    job = Program("job", ("sh", "-c", f"while ! test -s {pid_file}; do sleep 0.01; done; exit 1"), once=True)
    plan = Plan((waits, job), tmp_path, tmp_path / "progress.jsonl")
    init = Init(plan)
    init.run(None, lambda: not (pid_file.exists() and pid_file.read_text()))
    init.end()
    init.reap()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
