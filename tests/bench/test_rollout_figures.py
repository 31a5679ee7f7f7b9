"""build/bench/rollout.json: nothing that was not measured has a number, and what is there can be counted again."""

import json
from dataclasses import replace
from typing import Any

from e2e.bench.rollout.figures import counts, report
from e2e.bench.rollout.moments import Decision, Moment
from e2e.bench.rollout.observation import Asked, Failure, Load, Observation, from_json
from e2e.bench.rollout.turns import RETURNS, Kind, next_kind, wanted

DRAWN = {"aa_false_rollback_iid": 0.0, "aa_false_rollback_ar": 0.029, "equal_sides": {"iid": {}}}
FAILURE = Failure(12.0, "recall", 503, 4.0, "HTTP 503", "Withdrawing")


def observed(kind: Kind = Kind.PROMOTE, seconds: tuple[float | None, ...] = (1.0,), **changes: Any) -> Observation:
    """A rollout that ended as meant, with one decision for each of `seconds`."""
    asked = None if kind is Kind.PROMOTE else Asked(10.0, "r0002", {"finerank": 25, "recall": 0}, 1.5)
    usual = Observation(
        kind=kind,
        is_fulfilled=True,
        setup={"images": {"operator": "a"}},
        release="plane-1",
        number=2,
        ended="Promoted: all stages",
        began=100.0,
        seconds=130.0,
        states={"Training": 40.0, "RollingOut": 30.0},
        load=Load(1.5, 2.5),
        requests=400,
        failures=[],
        moments=[Moment(Decision("finerank", "r0002", 0, 25, 110.0), value) for value in seconds],
        asked=asked,
    )
    return replace(usual, **changes)


def figures(*kept: Observation) -> dict[str, Any]:
    """As it is read from the file."""
    found: dict[str, Any] = json.loads(json.dumps(report(DRAWN, kept, wanted(20, 20))))
    return found


def test_without_a_rollout_every_figure_of_the_data_plane_is_null_and_says_why() -> None:
    made = figures()
    missing = ("failed_requests", "abort_to_last_request_p99_s", "decision_to_data_plane_p99_s")
    assert [made[key] for key in missing] == [None, None, None]
    assert set(made["not_measured"]) == {*missing, "beside_argo_rollouts"}
    assert made["aa_false_rollback_ar"] == 0.029 and made["equal_sides"] == {"iid": {}}


def test_without_the_drawn_part_its_figures_are_null_and_say_why() -> None:
    made = report(None, [observed()], wanted(20, 20))
    assert made["aa_false_rollback_iid"] is None and made["aa_false_rollback_ar"] is None
    assert {"aa_false_rollback_iid", "aa_false_rollback_ar"} < set(made["not_measured"])


def test_what_argo_rollouts_did_stands_beside_ours_also_where_it_never_came() -> None:
    ours = {"approval_to_share_write_p50_s": 0.3, "abort_herd_p99_s": 5.7, "rss_mib": 90}
    peer = {"program": "Argo Rollouts", "approval_to_share_write_p50_s": 0.9, "abort_herd_p99_s": None}
    details = {"not_measured": {}, "operator-200": {"size": {"releases": 60}}}
    made = report(None, [], wanted(20, 20), {**ours, "peer": peer, "details": details})
    beside = made["beside_argo_rollouts"]
    assert beside["ours"]["abort_herd_p99_s"] == 5.7 and "rss_mib" not in beside["ours"]
    assert beside["argo_rollouts"]["approval_to_share_write_p50_s"] == 0.9
    assert beside["argo_rollouts"]["abort_herd_p99_s"] is None
    assert (beside["program"], beside["size"]) == ("Argo Rollouts", {"releases": 60})
    assert "beside_argo_rollouts" not in made["not_measured"]


def test_no_failed_request_is_a_measured_zero() -> None:
    assert figures(observed())["failed_requests"] == 0


def test_every_failed_request_counts_and_is_told_with_what_the_release_did() -> None:
    made = figures(observed(failures=[FAILURE]), observed(Kind.ABORT, failures=[FAILURE, FAILURE]))
    assert made["failed_requests"] == 3
    details = made["details"]["data_plane"]
    assert (details["failed"]["promote"], details["failed"]["abort"]) == (1, 2)
    assert details["failures"][0]["state"] == "Withdrawing" and details["failures"][0]["in"] == "plane-1 promote 2"


def test_failed_requests_of_a_rollout_that_ended_otherwise_count_too() -> None:
    otherwise = observed(is_fulfilled=False, failures=[FAILURE], ended="RolledBack: LimitCrossed")
    made = figures(observed(), otherwise)
    assert made["failed_requests"] == 1
    assert made["details"]["data_plane"]["n"]["promote"] == 1
    assert made["details"]["data_plane"]["not_as_meant"] == ["plane-1 promote 2: RolledBack: LimitCrossed"]


def test_an_abort_without_promotion_has_a_figure_and_one_without_abort_has_none() -> None:
    assert figures(observed(Kind.ABORT))["abort_to_last_request_p99_s"] == 1.5
    made = figures(observed())
    assert made["abort_to_last_request_p99_s"] is None
    assert "abort" in made["not_measured"]["abort_to_last_request_p99_s"]


def test_the_p99_of_few_is_the_largest_and_all_values_are_there() -> None:
    made = figures(observed(seconds=(0.4, 1.2, 0.9)))
    assert made["decision_to_data_plane_p99_s"] == 1.2
    told = made["details"]["data_plane"]["decision_to_data_plane_s"]
    assert (told["count"], told["p50"], told["max"]) == (3, 0.9, 1.2)
    assert told["by_change"]["0 -> 25"]["values"] == [0.4, 0.9, 1.2]


def test_a_decision_that_was_never_seen_to_be_true_leaves_no_p99() -> None:
    made = figures(observed(seconds=(0.4, None)))
    assert made["decision_to_data_plane_p99_s"] is None
    assert made["not_measured"]["decision_to_data_plane_p99_s"] == "1 of 2 were never seen to be true"


def test_observations_of_another_operator_are_left_out_and_counted() -> None:
    older = observed(setup={"images": {"operator": "b"}}, began=50.0, failures=[FAILURE])
    made = figures(older, observed())
    assert made["failed_requests"] == 0
    assert made["details"]["data_plane"]["n"]["promote"] == 1
    assert made["details"]["data_plane"]["of_other_setups"] == 1


def test_what_is_kept_is_read_as_it_was() -> None:
    kept = observed(Kind.ABORT, seconds=(0.4, None), failures=[FAILURE])
    assert from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_what_ended_otherwise_is_still_to_be_played() -> None:
    found = counts([observed(), observed(is_fulfilled=False), observed(Kind.ABORT)])
    assert (found[Kind.PROMOTE], found[Kind.ABORT], found[Kind.RETURN]) == (1, 1, 0)


def test_a_run_of_one_release_ends_with_what_was_asked_for_and_returns_follow_promotions() -> None:
    left = wanted(20, 20)
    assert sum(left.values()) == 40
    played: list[Kind] = []
    while (kind := next_kind(played, left)) is not None:
        assert kind not in RETURNS or played[-1] is Kind.PROMOTE
        played.append(kind)
        left[kind] -= 1
    assert left == dict.fromkeys(Kind, 0)


def test_a_return_that_is_left_alone_gets_the_promotion_that_it_needs() -> None:
    left = {Kind.RETURN: 1}
    assert next_kind([], left) is Kind.PROMOTE
    assert next_kind([Kind.PROMOTE], left) is Kind.RETURN
    assert next_kind([Kind.PROMOTE, Kind.RETURN], {Kind.RETURN: 0}) is None
