"""build/bench/rollout.json: what of the drawn and of the played rollouts has which name, and what is missing. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from e2e.bench.rollout.moments import Decision
from e2e.bench.rollout.observation import Observation
from e2e.bench.rollout.turns import RETURNS, Kind
from e2e.bench.scale.latencies import Latencies, finite

ABORT_GOAL_SECONDS: Final = 5.0
NOT_DRAWN: Final = "the drawn part was not run: PART=drawn"
NOT_PLAYED: Final = "no {} was played yet: PART=dataplane"
_SHARES: Final = ("p50", "p99")
NOT_COMPARED: Final = "the part beside Argo Rollouts was not run: PART=peer"
DRAWN_KEYS: Final = ("aa_false_rollback_iid", "aa_false_rollback_ar")
DEFINITIONS: Final = {
    "failed_requests": "anything but a whole answer with status 200 within 15 s; of every request of the rollouts below"
    ", from when each was asked for until the pods that it left were gone",
    "abort_to_last_request_s": "from just before the annotation is sent until the client holds the last answer of the "
    "candidate, in any stage",
    "rollback_to_last_request_s": "the same for rewriter.dev/rollback-to and the revision that is left",
    "decision_to_data_plane_s": "from the operator's clock in the pass that decided until the client holds the answer "
    "that shows it: a rise from none: the candidate's first; a rise to all: the last of anybody else; a fall to none: "
    "the last of who is left; an abort counts from just before it is sent, for its route moves before it is decided",
    "p99": "nearest rank: the largest of fewer than 100 values",
}


def report(
    drawn: Mapping[str, Any] | None,
    kept: Sequence[Observation],
    asked: Mapping[Kind, int],
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole JSON: of the drawn part's file, the observations of the newest setup, how many were asked for, and of
    the file of e2e.bench.scale (`beside`)."""
    newest = max(kept, key=lambda one: one.began, default=None)
    played = [one for one in kept if newest and one.setup == newest.setup]
    missing: dict[str, str] = dict.fromkeys(DRAWN_KEYS, NOT_DRAWN) if drawn is None else {}
    aborts, decided = _aborts(played), _decided(played)
    failed = _failed(played)
    if beside is None:
        missing["beside_argo_rollouts"] = NOT_COMPARED
    if failed is None:
        missing["failed_requests"] = NOT_PLAYED.format("rollout")
    return {
        **{key: None if drawn is None else drawn[key] for key in DRAWN_KEYS},
        "failed_requests": failed,
        "abort_to_last_request_p99_s": _p99(aborts, "abort_to_last_request_p99_s", "abort", missing),
        "decision_to_data_plane_p99_s": _p99(decided, "decision_to_data_plane_p99_s", "rollout", missing),
        "beside_argo_rollouts": _beside(beside),
        "not_measured": missing,
        **{key: value for key, value in (drawn or {}).items() if key not in DRAWN_KEYS},
        "details": {"data_plane": _details(played, asked) | {"of_other_setups": len(kept) - len(played)}},
    }


def _beside(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Seconds until a route was written, ours and the peer's; None for what did not come within a minute."""
    if found is None:
        return None
    keys = [
        f"{of}_{share}_s"
        for of in ("approval_to_share_write", "abort_to_zero_write", "abort_herd")
        for share in _SHARES
    ]
    ours, peer = ({key: side.get(key) for key in keys} for side in (found, found["peer"]))
    size = next((part["size"] for name, part in found["details"].items() if name.startswith("operator-")), None)
    return {"ours": ours, "argo_rollouts": peer, "program": found["peer"]["program"], "size": size}


def counts(observations: Iterable[Observation]) -> dict[Kind, int]:
    """How many ended as their kind should."""
    found = Counter(one.kind for one in observations if one.is_fulfilled)
    return {kind: found[kind] for kind in Kind}


def _failed(played: Sequence[Observation]) -> int | None:
    return sum(len(one.failures) for one in played) if any(one.is_fulfilled for one in played) else None


def _aborts(played: Sequence[Observation]) -> Latencies:
    return Latencies([one.asked.to_last_request for one in _asked(played, {Kind.ABORT}) if one.asked])


def _asked(played: Sequence[Observation], kinds: Iterable[Kind]) -> list[Observation]:
    return [one for one in played if one.is_fulfilled and one.asked and one.kind in kinds]


def _decided(played: Sequence[Observation], change: str = "") -> Latencies:
    """All of them, or those of one change (`0 -> 25`)."""
    found = [moment for one in played for moment in one.moments if change in ("", _change(moment.decision))]
    seconds = [moment.seconds for moment in found if moment.seconds is not None]
    return Latencies(seconds, missed=len(found) - len(seconds))


def _change(decision: Decision) -> str:
    return f"{decision.before} -> {decision.after}"


def _p99(latencies: Latencies, key: str, what: str, missing: dict[str, str]) -> float | None:
    """The figure, or a note in `missing` why there is none."""
    found = finite(latencies.quantile(0.99))
    if found is None:
        all_of_them = len(latencies.seconds) + latencies.missed
        never = f"{latencies.missed} of {all_of_them} were never seen to be true"
        missing[key] = never if all_of_them else NOT_PLAYED.format(what)
    return found


def _details(played: Sequence[Observation], asked: Mapping[Kind, int]) -> dict[str, Any]:
    changes = sorted({_change(moment.decision) for one in played for moment in one.moments})
    return {
        "n": counts(played),
        "asked_for": dict(asked),
        "requests": {kind: sum(one.requests for one in played if one.kind is kind) for kind in Kind},
        "failed": {kind: sum(len(one.failures) for one in played if one.kind is kind) for kind in Kind},
        "failures": [asdict(failure) | {"in": _name(one)} for one in played for failure in one.failures],
        "abort_to_last_request_s": _with_values(_aborts(played))
        | {"goal": ABORT_GOAL_SECONDS, "from": [_shares(one) for one in _asked(played, {Kind.ABORT})]},
        "rollback_to_last_request_s": {
            kind: _with_values(Latencies([one.asked.to_last_request for one in _asked(played, {kind}) if one.asked]))
            for kind in sorted(RETURNS)
        },
        "decision_to_data_plane_s": _decided(played).summary()
        | {"by_change": {change: _with_values(_decided(played, change)) for change in changes}},
        "not_as_meant": [f"{_name(one)}: {one.ended}" for one in played if not one.is_fulfilled],
        "seconds": {kind: _seconds(one for one in played if one.kind is kind) for kind in Kind},
        "seconds_in_state": _seconds_in_state(played),
        "load": _load(played),
        "setup": played[0].setup if played else None,
        "definitions": DEFINITIONS,
    }


def _with_values(latencies: Latencies) -> dict[str, Any]:
    return latencies.summary() | {"values": [round(value, 3) for value in sorted(latencies.seconds)]}


def _name(one: Observation) -> str:
    return f"{one.release} {one.kind} {one.number}"


def _shares(one: Observation) -> str:
    assert one.asked
    return ", ".join(f"{stage} {share} %" for stage, share in one.asked.shares.items() if share)


def _seconds(played: Iterable[Observation]) -> dict[str, Any]:
    """From being asked for to the operator being done."""
    return Latencies([one.seconds for one in played if one.is_fulfilled]).summary()


def _seconds_in_state(played: Sequence[Observation]) -> dict[str, float | None]:
    """Median, of the promotions."""
    promoted = [one.states for one in played if one.is_fulfilled and one.kind is Kind.PROMOTE]
    states = list(dict.fromkeys(state for one in promoted for state in one))
    return {state: Latencies([one[state] for one in promoted if state in one]).summary()["p50"] for state in states}


def _load(played: Sequence[Observation]) -> dict[str, Any]:
    """Load averages of one minute, at the beginning and the end of each rollout."""
    found = sorted(load for one in played for load in (one.load.before, one.load.after))
    return {"min": found[0], "median": found[len(found) // 2], "max": found[-1]} if found else {}
