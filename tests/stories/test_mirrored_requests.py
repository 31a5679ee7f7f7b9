"""Copies through a real gateway: Contour reads the operator's HTTPRoute from an API server, Envoy mirrors.

Contour 1.33 copies everything whatever `percent` says (docs/operations.md), so how many copies arrive is not asserted.
"""

import pytest

from rewriter_operator.workloads.routers import ROUTERS
from tests.stories.edge import CANDIDATE, INCUMBENT, Edge

pytestmark = pytest.mark.e2e

REQUESTS = 40


def test_users_are_answered_by_the_incumbent_alone_while_the_candidate_gets_marked_copies(edge: Edge) -> None:
    """Given a shadow, when users ask, then only copies reach the candidate; taken back, not even they do."""
    edge.divide(0)
    edge.until(lambda: edge.answer() == INCUMBENT)
    candidate = edge.services[CANDIDATE].counted
    body = edge.mirror(100)
    copies = candidate["copies"]
    edge.until(lambda: edge.answer() == INCUMBENT and candidate["copies"] > copies)

    copies, requests = candidate["copies"], candidate["requests"]
    assert [edge.answer() for _ in range(REQUESTS)] == [INCUMBENT] * REQUESTS
    edge.until(lambda: candidate["copies"] >= copies + REQUESTS)
    assert candidate["requests"] == requests, "a copy that is not marked would be counted as an answer"

    taken_back = ROUTERS["HTTPRoute"].without_candidate(body["spec"], "shop")
    assert taken_back is not None
    edge.write({**body, "spec": taken_back.spec})

    def is_taken_back() -> bool:
        before = candidate["copies"]
        answers = {edge.answer() for _ in range(REQUESTS)}
        assert answers == {INCUMBENT}
        return candidate["copies"] == before

    edge.until(is_taken_back)
    assert candidate["requests"] == requests
