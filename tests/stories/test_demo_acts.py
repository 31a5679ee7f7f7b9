"""The demo's three acts with the tiny model, on a real cluster: vLLM, DeepSpeed, Envoy, and the operator in its pod.

Each test looks at one act of a single run; the run asserts its own claims (e2e/demo/acts.py), and these tests say which
of them must have been made.
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
    command = [sys.executable, "-m", "e2e.demo", "--model", "tiny", "--out", str(out)]
    subprocess.run(command, cwd=REPOSITORY, timeout=2400)
    assert summary.exists(), "the demo ended before it played any act; its own output says why"
    return {act["act"]: act for act in json.loads(summary.read_text())["acts"]}


def test_a_candidate_that_earns_it_is_promoted_stage_by_stage_without_a_failed_request(
    acts: dict[int, dict[str, Any]],
) -> None:
    act = acts[1]
    assert act["failure"] == ""
    assert act["record"]["outcome"] == "Promoted"
    assert act["failedRequests"] == 0 and act["requests"] > 100
    assert {stage for stage, answers in act["answersByRevision"].items() if "r0001" in answers} == {
        "finerank",
        "rawrank",
        "recall",
    }


def test_a_candidate_that_exploits_a_flawed_reward_is_rejected_and_answers_nobody(
    acts: dict[int, dict[str, Any]],
) -> None:
    act = acts[2]
    assert act["failure"] == ""
    assert act["record"]["outcome"] == "Rejected"
    assert act["gate"]["verdict"] == "Fail"
    assert all("r0001" not in answers for answers in act["answersByRevision"].values())


def test_a_candidate_that_turns_slow_in_finerank_is_rolled_back_by_the_operator_itself(
    acts: dict[int, dict[str, Any]],
) -> None:
    act = acts[3]
    assert act["failure"] == ""
    assert act["record"]["outcome"] == "RolledBack"
    assert all("r0001" not in act["answersByRevision"][stage] for stage in ("rawrank", "recall"))
