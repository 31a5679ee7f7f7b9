"""From statuses and a client's answers to how long a decision took to be true for the client."""

import pytest

from e2e.bench.rollout.moments import Moment, last_answer_after, moments
from e2e.demo.recorder import Seen
from e2e.demo.traffic import Request

STAGES = ("finerank", "rawrank")


def answer(at: float, revision: str, stage: str = "finerank", status: int = 200) -> Request:
    """Sent at a time, answered 100 ms later."""
    problem = "" if status == 200 else f"HTTP {status}"
    return Request(at, stage, status, 100.0, revision if status == 200 else "", 1, problem)


def seen(state: str, shares: dict[str, int], share_at: float = 0.0, since: float = 0.0, incumbent: int = 1) -> Seen:
    """A status of cycle 2, in which r0002 is the candidate."""
    stages = [
        {
            "name": name,
            "share": shares.get(name, 0),
            "shareAt": share_at,
            "incumbent": {"revision": incumbent},
        }
        for name in STAGES
    ]
    cycle = {"number": 2, "since": since, "candidate": {"revision": 2}} if state != "Idle" else None
    return Seen(0.0, 1, {"state": state, "stages": stages, "cycle": cycle})


def returned(token: str, switched: bool, incumbent: int, at: float = 0.0) -> Seen:
    """A status with a rollback-to."""
    found = seen("Returning", {}, incumbent=incumbent)
    rollback = {"token": token, "switched": switched, "attemptAt": at}
    return Seen(0.0, 1, {**found.status, "rollback": rollback})


def the_one(found: list[Moment]) -> Moment:
    assert len(found) == 1
    return found[0]


def test_a_rise_from_none_is_true_at_the_candidates_first_answer() -> None:
    statuses = [seen("RollingOut", {}), seen("RollingOut", {"finerank": 25}, share_at=10.0)]
    answers = [answer(10.2, "r0001"), answer(10.5, "r0002"), answer(10.8, "r0001"), answer(11.0, "r0002")]
    moment = the_one(moments(statuses, answers))
    assert (moment.decision.stage, moment.decision.revision) == ("finerank", "r0002")
    assert moment.seconds == pytest.approx(0.6)


def test_a_rise_to_all_is_true_after_the_last_answer_of_anybody_else() -> None:
    statuses = [seen("RollingOut", {"finerank": 25}, 1.0), seen("RollingOut", {"finerank": 100}, 20.0)]
    answers = [answer(20.1, "r0002"), answer(20.9, "r0001"), answer(21.1, "r0002"), answer(30.0, "r0002")]
    assert the_one(moments(statuses, answers)).seconds == pytest.approx(1.0)


def test_a_fall_is_true_after_the_candidates_last_answer_counted_from_the_withdrawals_beginning() -> None:
    statuses = [seen("RollingOut", {"finerank": 50}, 1.0), seen("Withdrawing", {}, 1.0, since=40.0)]
    answers = [answer(40.3, "r0002"), answer(40.4, "r0001"), answer(41.0, "r0002"), answer(41.2, "r0001")]
    moment = the_one(moments(statuses, answers))
    assert (moment.decision.before, moment.decision.after) == (50, 0)
    assert moment.seconds == pytest.approx(1.1)


def test_when_nobody_who_leaves_answers_any_more_the_first_answer_shows_it() -> None:
    statuses = [seen("RollingOut", {"finerank": 50}, 1.0), seen("Withdrawing", {}, 1.0, since=40.0)]
    assert the_one(moments(statuses, [answer(40.4, "r0001")])).seconds == pytest.approx(0.5)


def test_an_answer_that_was_under_way_when_it_was_decided_counts_with_its_end() -> None:
    statuses = [seen("RollingOut", {"finerank": 50}, 1.0), seen("Withdrawing", {}, 1.0, since=40.0)]
    answers = [answer(39.95, "r0002"), answer(40.5, "r0001")]
    assert the_one(moments(statuses, answers)).seconds == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("share", "answers"),
    [(25, []), (25, [answer(10.5, "r0001")]), (100, [answer(10.5, "r0001")])],
    ids=["no answer at all", "none of the candidate", "none but of those who leave"],
)
def test_what_no_answer_shows_has_no_seconds(share: int, answers: list[Request]) -> None:
    statuses = [seen("RollingOut", {}), seen("RollingOut", {"finerank": share}, share_at=10.0)]
    assert the_one(moments(statuses, answers)).seconds is None


def test_a_step_between_two_shares_is_shown_by_no_answer() -> None:
    statuses = [seen("RollingOut", {"finerank": 25}, 1.0), seen("RollingOut", {"finerank": 50}, 20.0)]
    assert moments(statuses, [answer(20.5, "r0002")]) == []


def test_answers_after_the_next_decision_of_the_stage_belong_to_that_one() -> None:
    full, back = seen("Baking", {"finerank": 100}, 20.0), seen("Withdrawing", {}, 20.0, since=30.0)
    answers = [answer(20.4, "r0001"), answer(21.0, "r0002"), answer(30.2, "r0002"), answer(30.6, "r0001")]
    found = moments([seen("RollingOut", {"finerank": 25}, 1.0), full, back], answers)
    assert [moment.seconds for moment in found] == pytest.approx([0.5, 0.3])


def test_an_abort_counts_from_the_asking_because_the_route_may_move_before_the_status_decides() -> None:
    full, back = seen("Baking", {"finerank": 100}, 20.0), seen("Withdrawing", {}, 20.0, since=30.0)
    answers = [answer(20.4, "r0001"), answer(21.0, "r0002"), answer(29.3, "r0002"), answer(29.5, "r0001")]
    found = moments([seen("RollingOut", {"finerank": 25}, 1.0), full, back], answers, aborted_at=29.0)
    assert [moment.seconds for moment in found] == pytest.approx([0.5, 0.4])
    assert [moment.decision.at for moment in found] == [20.0, 29.0]


def test_other_stages_and_failed_requests_show_nothing() -> None:
    statuses = [seen("RollingOut", {}), seen("RollingOut", {"finerank": 25}, share_at=10.0)]
    answers = [answer(10.1, "r0002", "rawrank"), answer(10.2, "r0002", status=503), answer(10.8, "r0002")]
    assert the_one(moments(statuses, answers)).seconds == pytest.approx(0.9)


def test_a_promotion_ends_every_share_and_decides_nothing_about_requests() -> None:
    statuses = [seen("Promoting", {"finerank": 100}, 1.0), seen("Idle", {}, incumbent=2)]
    assert moments(statuses, [answer(50.0, "r0002")]) == []


def test_a_return_is_true_after_the_last_answer_of_what_is_left_in_each_stage() -> None:
    statuses = [returned("r0001/a", False, incumbent=2), returned("r0001/a", True, incumbent=1, at=60.0)]
    answers = [answer(60.1, "r0002"), answer(60.5, "r0001"), answer(60.2, "r0002", "rawrank")]
    answers += [answer(60.9, "r0001", "rawrank")]
    found = moments(statuses, answers)
    assert [(moment.decision.stage, moment.decision.revision) for moment in found] == [
        ("finerank", "r0002"),
        ("rawrank", "r0002"),
    ]
    assert [moment.seconds for moment in found] == pytest.approx([0.2, 0.3])


def test_a_second_return_is_another_decision_and_an_old_one_is_none() -> None:
    first, second = returned("r0001/a", True, incumbent=1, at=60.0), returned("r0001/b", True, incumbent=3, at=80.0)
    assert moments([first, first], [answer(60.5, "r0001")]) == []
    found = moments([first, second], [answer(80.5, "r0003"), answer(80.5, "r0003", "rawrank")])
    assert [moment.decision.at for moment in found] == [80.0, 80.0]


def test_the_last_answer_of_a_revision_is_looked_for_in_every_stage() -> None:
    answers = [answer(5.0, "r0002"), answer(6.0, "r0002", "rawrank"), answer(7.0, "r0001")]
    assert last_answer_after(5.5, answers, "r0002") == pytest.approx(0.6)


def test_without_an_answer_after_the_abort_it_took_no_time() -> None:
    assert last_answer_after(5.5, [answer(5.0, "r0002"), answer(7.0, "r0001")], "r0002") == 0
