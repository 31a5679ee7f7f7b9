"""A release's whole job on a real cluster: vLLM, DeepSpeed, Envoy, and the operator in its pod.

The demo's acts one and three, rehearsed: the tiny model, with limits of the gate that do not hang on what a model of a
million parameters learnt that day (e2e/demo/profiles.py). The run asserts its own claims (e2e/demo/acts.py); these
tests say which of them must have been made. What the gate refuses is tested in tests/gate and tests/core.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def acts() -> dict[int, dict[str, Any]]:
    """All acts of one run, by number."""
    out = REPOSITORY / "build" / "e2e"
    summary = out / "summary.json"
    summary.unlink(missing_ok=True)
    command = [sys.executable, "-m", "e2e.demo", "--model", "rehearsal", "--acts", "1,3", "--out", str(out)]
    subprocess.run(command, cwd=REPOSITORY, timeout=2400)
    assert summary.exists(), "the demo ended before it played any act; its own output says why"
    return {act["act"]: act for act in json.loads(summary.read_text())["acts"]}


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
