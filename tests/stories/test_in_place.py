"""Capacity in place on a real cluster: kubelet writes the file, vLLM reloads, Envoy follows the labels of the pods.

A promotion and the way back with two serving pods that are the same from the beginning to the end. The run asserts its
own claims (e2e/demo/acts.py, act five); this test says which of them must have been made.
"""

import json
import sys
from typing import Any

import pytest

from tests.stories.test_demo_acts import REPOSITORY, _run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def act() -> dict[str, Any]:
    out = REPOSITORY / "build" / "e2e-in-place"
    summary = out / "summary.json"
    summary.unlink(missing_ok=True)
    words = _run([sys.executable, "-m", "e2e.demo", "--model", "in-place", "--acts", "5", "--out", str(out)])
    assert summary.exists(), f"the demo ended before it played any act; its last words:\n{words}"
    (found,) = json.loads(summary.read_text())["acts"]
    assert isinstance(found, dict)
    return found


def test_pods_change_revisions_in_place_and_back_without_a_failed_request(act: dict[str, Any]) -> None:
    assert act["failure"] == ""
    assert act["record"]["outcome"] == "Promoted"
    assert act["failedRequests"] == 0 and act["requests"] > 100
    assert all({"r0000", "r0001"} <= answers.keys() for answers in act["answersByRevision"].values())
