"""CRDs older than the operator: what the API server does not keep of a status is named, and the release says so."""

import asyncio
import copy
from typing import Any

import pytest

from rewriter_operator.cluster.kube import Forbidden, Invalid
from rewriter_operator.cluster.stored import StatusRefused, check_kept
from rewriter_operator.cluster.unwatched import LASTING_SECONDS
from tests.operator.test_failing_passes import Namespace, first, passes, spec_body

GIVEN = {"state": "Idle", "stages": [{"name": "finerank", "step": 0}], "cycle": {"number": 2, "stalls": {"quiet": []}}}


def test_a_status_that_came_back_whole_is_kept_whatever_else_is_in_it() -> None:
    check_kept(GIVEN, {**copy.deepcopy(GIVEN), "operatorEpoch": 3, "new": {"default": 1}})


@pytest.mark.parametrize(
    "stored, place",
    [
        ({**GIVEN, "cycle": {"number": 2}}, "status.cycle.stalls"),
        ({**GIVEN, "stages": [{"name": "finerank"}]}, "status.stages[0].step"),
        ({**GIVEN, "stages": []}, "status.stages"),
        ({**GIVEN, "state": "Baking"}, "status.state"),
        (None, "status"),
    ],
)
def test_the_first_field_that_is_gone_is_named_with_the_remedy(stored: Any, place: str) -> None:
    with pytest.raises(StatusRefused) as raised:
        check_kept(GIVEN, stored)
    assert str(raised.value).startswith(f"{place}: the API server does not keep it")
    assert "apply the crds/ of this operator's version" in str(raised.value)


class OldCrds(Namespace):
    """They do not know some field of the status, or do not take a value of it."""

    def __init__(self, unknown: str = "", refusal: Exception | None = None) -> None:
        super().__init__(spec_body())
        self.unknown, self.refusal = unknown, refusal
        self.dry_runs = 0

    async def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        return None

    async def put_status(self, body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        only_conditions = {key for key in body["status"] if key not in self.release["status"]} <= {
            "conditions",
            "observedGeneration",
            "operatorEpoch",
        }
        if self.refusal is not None and not only_conditions:
            raise self.refusal
        kept = {key: value for key, value in body["status"].items() if key != self.unknown}
        if dry_run:
            self.dry_runs += 1
            return {**body, "status": kept}
        return await super().put_status({**body, "status": kept})


def stalled(namespace: Namespace) -> tuple[str, str, str]:
    found = namespace.condition("Stalled")
    return found["status"], found["reason"], found["message"]


def test_a_status_that_is_not_kept_is_told_and_the_candidate_does_not_stay_up_unwatched() -> None:
    namespace = OldCrds(unknown="notice")
    reconciler = namespace.reconciler()
    passes(namespace, reconciler, StatusRefused, 0, 30, LASTING_SECONDS + 1)
    assert first(namespace) == {"shop-r0001": 100}
    status, reason, message = stalled(namespace)
    assert (status, reason) == ("True", "StatusRefused")
    assert message.startswith("status.notice: the API server does not keep it, because its CRDs are older")
    assert "candidate r0002 is off the route" in message


def test_after_one_hole_the_status_is_only_asked_for_so_that_its_conditions_do_not_flap() -> None:
    namespace = OldCrds(unknown="notice")
    reconciler = namespace.reconciler()
    passes(namespace, reconciler, StatusRefused, 0, 30, LASTING_SECONDS + 1)
    written = list(namespace.writes)
    passes(namespace, reconciler, StatusRefused, 100, 200, 300)
    assert (namespace.writes, namespace.dry_runs) == (written, 5)


def test_newer_crds_mend_it_without_a_restart() -> None:
    namespace = OldCrds(unknown="notice")
    reconciler = namespace.reconciler()
    passes(namespace, reconciler, StatusRefused, 0, 30, LASTING_SECONDS + 1)
    namespace.unknown = ""

    async def go_on() -> None:
        await reconciler("shop")

    asyncio.run(go_on())
    assert namespace.release["status"]["notice"] == ""
    assert stalled(namespace)[1] != "StatusRefused"


@pytest.mark.parametrize(
    "refusal, remedy",
    [
        (Invalid('PUT ...: 422 status.state: Unsupported value: "Returning"'), "apply the crds/"),
        (Forbidden("PUT ...: 403 cannot update resource rewriterreleases/status"), "manifests/base/role.yaml"),
    ],
    ids=["422", "403"],
)
def test_a_status_that_is_refused_is_told_with_the_api_servers_words_and_rolled_back(
    refusal: Exception, remedy: str
) -> None:
    namespace = OldCrds(refusal=refusal)
    passes(namespace, namespace.reconciler(), StatusRefused, 0, 30, LASTING_SECONDS + 1)
    assert first(namespace) == {"shop-r0001": 100}, "rolling back needs no status"
    status, reason, message = stalled(namespace)
    assert (status, reason) == ("True", "StatusRefused")
    assert str(refusal) in message and remedy in message
