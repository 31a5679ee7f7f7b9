"""An act's claims hold when the story went as told, and fail with a sentence when one thing did not."""

import pytest

from e2e.demo.acts import ClaimFailed, NotEarned, claim_promoted, claim_rejected, claim_rolled_back
from tests.demo.played_builder import promoted, rejected, request, rolled_back, seen


def test_a_promotion_without_failures_holds_all_claims() -> None:
    played = promoted()
    claim_promoted(played)
    assert any("0 of 3 requests failed" in claim.text for claim in played.claims)


def test_one_failed_request_is_enough_to_refuse_a_promotion() -> None:
    played = promoted()
    played.requests.insert(0, request("recall", status=503))
    with pytest.raises(ClaimFailed, match="1 failed, the first: HTTP 503"):
        claim_promoted(played)


def test_a_promotion_that_never_reached_a_stage_is_refused() -> None:
    played = promoted()
    played.seen = [seen(1, {}), seen(10, {"finerank": 100}, 100.0)]
    with pytest.raises(ClaimFailed, match="rawrank"):
        claim_promoted(played)


def test_a_share_that_was_set_and_never_observed_is_refused() -> None:
    played = promoted()
    played.seen = [seen(5, {"finerank": 25}), *played.seen[2:]]
    with pytest.raises(ClaimFailed, match="finerank at 25 % observed nothing"):
        claim_promoted(played)


def test_an_inconclusive_gate_is_told_with_its_reason() -> None:
    played = promoted()
    played.gate = {"verdict": "Inconclusive", "reason": "RewardGain: bounds include 0"}
    played.record |= {"outcome": "Rejected"}
    with pytest.raises(NotEarned, match="Inconclusive: RewardGain: bounds include 0"):
        claim_promoted(played)


def test_a_promotion_that_the_gate_did_not_pass_is_a_defect_and_no_honest_no() -> None:
    played = promoted()
    played.gate = {"verdict": "Inconclusive", "reason": "RewardGain: bounds include 0"}
    with pytest.raises(ClaimFailed) as refused:
        claim_promoted(played)
    assert not isinstance(refused.value, NotEarned)


def test_a_request_that_failed_is_a_defect_even_where_the_gate_said_no() -> None:
    played = promoted()
    played.gate, played.record = {"verdict": "Fail"}, {"outcome": "Rejected"}
    played.requests.append(request("recall", status=503))
    with pytest.raises(ClaimFailed) as refused:
        claim_promoted(played)
    assert not isinstance(refused.value, NotEarned)


def test_an_exploited_reward_that_is_refused_holds_all_claims() -> None:
    played = rejected()
    claim_rejected(played)
    assert len(played.claims) == 5


def test_a_rejection_without_exploitation_is_no_proof() -> None:
    played = rejected()
    played.gate["findings"][0]["difference"] = -0.01
    with pytest.raises(ClaimFailed, match="better"):
        claim_rejected(played)


def test_a_single_request_to_a_rejected_candidate_is_refused() -> None:
    played = rejected()
    played.requests.append(request("recall", "r0001"))
    with pytest.raises(ClaimFailed, match="1 did"):
        claim_rejected(played)


def test_a_rollback_that_spared_the_other_stages_holds_all_claims() -> None:
    played = rolled_back()
    claim_rolled_back(played)
    assert any("finerank went from 25 % back to 0 %" in claim.text for claim in played.claims)


def test_a_failure_in_a_stage_that_never_saw_the_candidate_is_refused() -> None:
    played = rolled_back()
    played.requests.append(request("recall", status=504))
    with pytest.raises(ClaimFailed, match="1 failed"):
        claim_rolled_back(played)


def test_a_candidate_that_still_answers_after_its_rollback_is_refused() -> None:
    played = rolled_back()
    played.requests.append(request("finerank", "r0001", at=59.0))
    with pytest.raises(ClaimFailed, match="1 it did not"):
        claim_rolled_back(played)
