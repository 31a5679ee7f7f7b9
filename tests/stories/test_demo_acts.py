"""A release's whole job on a real cluster: vLLM, DeepSpeed, Envoy, and the operator in its pod.

The demo's acts one and three, rehearsed: the tiny model, with limits of the gate that do not hang on what a model of a
million parameters learnt that day (e2e/demo/profiles.py). The run asserts its own claims (e2e/demo/acts.py); these
tests say which of them must have been made. What the gate refuses is tested in tests/gate and tests/core. Beside the
acts a monitor watches the invariants of docs/faults.md from outside.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import ensure
from e2e.demo.install import NAMESPACE
from tests.faults.monitor import LAST_WORDS_SECONDS, Monitor, watching

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO_SECONDS = 2400
LAST_LINES = 40

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def monitor() -> Iterator[Monitor]:
    """Watches the demo's namespace from before its first act; judged when the acts are over."""
    if os.environ.get("CLUSTER") == "existing":
        yield Monitor()  # it signs in with a certificate, which a kubeconfig of yours may not have
        return
    with watching(ensure("demo").kubeconfig, NAMESPACE) as found:
        yield found


@pytest.fixture(scope="session")
def acts(monitor: Monitor) -> dict[int, dict[str, Any]]:
    """All acts of one run, by number."""
    out = REPOSITORY / "build" / "e2e"
    summary = out / "summary.json"
    summary.unlink(missing_ok=True)
    command = [sys.executable, "-m", "e2e.demo", "--model", "rehearsal", "--acts", "1,3", "--out", str(out)]
    last_words = _run(command)
    assert summary.exists(), f"the demo ended before it played any act; its last words:\n{last_words}"
    return {act["act"]: act for act in json.loads(summary.read_text())["acts"]}


def _run(command: list[str]) -> str:
    """Shows a command's output as it comes; returns the end of it, for whoever reads only what failed."""
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        overdue = threading.Timer(DEMO_SECONDS, process.kill)
        overdue.start()
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last_lines.append(line)
        overdue.cancel()
    return "".join(last_lines)


def test_a_candidate_that_passed_is_promoted_stage_by_stage_without_a_failed_request(
    acts: dict[int, dict[str, Any]],
) -> None:
    act = acts[1]
    assert act["failure"] == ""
    assert act["record"]["outcome"] == "Promoted"
    assert act["failedRequests"] == 0 and act["requests"] > 100
    served = {stage for stage, answers in act["answersByRevision"].items() if "r0001" in answers}
    assert served == {"finerank", "rawrank", "recall"}


def test_a_candidate_that_turns_slow_in_finerank_is_rolled_back_by_the_operator_itself(
    acts: dict[int, dict[str, Any]],
) -> None:
    act = acts[3]
    assert act["failure"] == ""
    assert act["record"]["outcome"] == "RolledBack"
    assert all("r0001" not in act["answersByRevision"][stage] for stage in ("rawrank", "recall"))


@pytest.mark.skipif(os.environ.get("CLUSTER") == "existing", reason="the monitor signs in with a certificate only")
def test_no_invariant_was_broken_on_the_way(acts: dict[int, dict[str, Any]], monitor: Monitor) -> None:
    releases = {change.name for change in monitor.changes if change.kind == "RewriterRelease"}
    assert len(releases) == len(acts), "the monitor saw every act's release"
    time.sleep(LAST_WORDS_SECONDS)
    assert monitor.violations() == []
    assert monitor.settled() == []
