"""Acts with defaults, for the tests of claims and report."""

from typing import Any

from e2e.demo.acts import Played, new_act
from e2e.demo.recorder import Seen
from e2e.demo.traffic import Request
from rewriter_contract.messages import STAGES


def request(stage: str = "finerank", revision: str = "r0001", status: int = 200, at: float = 100.0) -> Request:
    """An answer of the candidate."""
    problem = "" if status == 200 else f"HTTP {status}"
    return Request(at, stage, status, 40.0, revision if status == 200 else "", 1, problem)


def seen(at: float, shares: dict[str, int], observed: float | None = None, **status: Any) -> Seen:
    """A status with these shares."""
    stages = []
    for name in STAGES:
        stage: dict[str, Any] = {"name": name, "share": shares.get(name, 0)}
        if observed is not None and stage["share"]:
            stage["observedShare"] = observed
        stages.append(stage)
    return Seen(at, 1, {"state": "RollingOut", "stages": stages, **status})


def promoted() -> Played:
    """An act one whose claims all hold."""
    played = new_act(1, "tiny")
    played.started_at = 0.0
    played.cycle, played.record = 1, {"number": 1, "outcome": "Promoted", "message": "all stages"}
    played.gate = {"verdict": "Pass", "reason": "15 checks", "findings": [], "selfTests": []}
    everywhere = dict.fromkeys(STAGES, 100)
    played.seen = [seen(1, {}), seen(10, {"finerank": 25}, 24.0), seen(20, everywhere, 99.5)]
    played.requests = [request(stage) for stage in STAGES]
    played.phases = [{"number": 1, "metrics": {"mean_score": -0.2}}, {"number": 2, "metrics": {"mean_score": -0.1}}]
    return played


def rolled_back() -> Played:
    """An act three whose claims all hold."""
    played = new_act(3, "tiny")
    played.started_at = 0.0
    played.cycle, played.record = 1, {"number": 1, "outcome": "RolledBack", "message": "p95 latency 5000 ms > 2000 ms"}
    played.gate = {"verdict": "Pass", "reason": "15 checks", "findings": [], "selfTests": []}
    played.seen = [seen(1, {}), seen(10, {"finerank": 25}), seen(40, {})]
    played.requests = [request(stage, "r0000", at=float(at)) for at in range(60) for stage in STAGES]
    return played


def rejected() -> Played:
    """An act two whose claims all hold."""
    played = new_act(2, "tiny")
    played.started_at = 0.0
    played.cycle, played.record = 1, {"number": 1, "outcome": "Rejected", "message": "LengthRatio"}
    message = "log R +0.2"
    finding = {"name": "RewardGain", "role": "Primary", "verdict": "Pass", "difference": 0.2, "message": message}
    played.gate = {"verdict": "Fail", "reason": "LengthRatio: 2.4 > 2.0", "findings": [finding], "selfTests": []}
    played.seen = [seen(1, {})]
    played.requests = [request(stage, "r0000") for stage in STAGES]
    return played
