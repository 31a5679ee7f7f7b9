"""Buckets of users through a real gateway: Contour reads the operator's HTTPRoute from an API server, Envoy obeys."""

from collections import Counter

import pytest

from rewriter_contract.buckets import bucket
from rewriter_operator.workloads.routers import ROUTERS
from tests.data_plane import BUCKET_NAMES
from tests.stories.edge import CANDIDATE, INCUMBENT, Edge

pytestmark = pytest.mark.e2e

USERS = [f"user-{number}" for number in range(400)]


def test_every_bucket_has_its_revision_and_keeps_the_candidate_as_its_share_rises(edge: Edge) -> None:
    had: set[str] = set()
    for share in (5, 25, 50):
        edge.divide(share)
        found = {name: edge.answer(name) for name in BUCKET_NAMES}
        assert found == {name: CANDIDATE if int(name) < share else INCUMBENT for name in BUCKET_NAMES}
        has = {name for name, service in found.items() if service == CANDIDATE}
        assert had <= has
        had = has


def test_users_are_balanced_and_each_has_one_revision_however_often_he_asks(edge: Edge) -> None:
    edge.divide(25)
    answers = {user: {edge.answer(bucket(user, "w36")) for _ in range(3)} for user in USERS}
    assert all(len(found) == 1 for found in answers.values())
    candidates = sum(found == {CANDIDATE} for found in answers.values())
    assert candidates == sum(int(bucket(user, "w36")) < 25 for user in USERS)
    assert abs(candidates - 100) < 35, "25 % of 400, with a standard deviation of 9"


@pytest.mark.parametrize("value", [None, "", "7", "100", "abc"])
def test_without_a_bucket_the_share_is_divided_by_weight(edge: Edge, value: str | None) -> None:
    edge.divide(25)
    answers = Counter(edge.answer(value) for _ in range(200))
    assert set(answers) == {INCUMBENT, CANDIDATE}
    assert 25 <= answers[CANDIDATE] <= 78, "50, with a standard deviation of 6"


def test_a_candidate_that_is_taken_back_is_gone_from_every_bucket_without_a_failed_request(edge: Edge) -> None:
    body = edge.divide(50)
    found = ROUTERS["HTTPRoute"].without_candidate(body["spec"], "shop")
    assert found is not None
    edge.write({**body, "spec": found.spec})
    answers = set()

    def is_taken_back() -> bool:
        now = [edge.answer(name) for name in BUCKET_NAMES]
        answers.update(now)
        return CANDIDATE not in now

    edge.until(is_taken_back)
    assert answers <= {INCUMBENT, CANDIDATE}
    edge.divide(0)
