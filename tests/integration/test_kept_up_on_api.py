"""spec.serving.scaleDownDelay on a real API server: what was replaced is there until its time is over, then it goes."""

import time

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.status import Replaced
from rewriter_operator.core.children import DRAIN_SECONDS
from rewriter_operator.reconcile import Reconciler
from tests.builders import make_status, serving, stage_status
from tests.integration.conftest import Space, release
from tests.integration.test_site_faults import ROUTE, at_rest, play

pytestmark = pytest.mark.integration

KINDS = "deployments,services,poddisruptionbudgets"
OLD = {"deployment.apps/shop-r0001", "service/shop-r0001", "poddisruptionbudget.policy/shop-r0001"}


def just_promoted(space: Space) -> None:
    """r0002 serves, and r0001 did until a moment ago."""
    space.inputs()
    space.create(release(**{"serving.scaleDownDelay": "1h", "serving.replicas": 2, "suspend": True}))
    live = space.get("rr", "shop")
    spec = RewriterReleaseSpec.model_validate(live["spec"])
    stages = [stage_status(item.name, incumbent=serving(2)) for item in spec.rollout.stages]
    replaced = Replaced(revisions=[serving(1)], since=time.time() - 10)
    space.write_status(make_status(spec, stages=stages, replaced=replaced, last_cycle_number=2).to_api())


def accept(space: Space) -> None:
    """As the gateway does with the route as it is."""
    live = space.get("httproute", ROUTE)
    moment = {"observedGeneration": live["metadata"]["generation"], "lastTransitionTime": "2025-11-24T16:00:00Z"}
    conditions = [
        {"type": kind, "status": "True", "reason": kind, "message": "", **moment}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    parents = [
        {"parentRef": parent, "controllerName": "tests.rewriter.dev/gateway", "conditions": conditions}
        for parent in live["spec"]["parentRefs"]
    ]
    space.write_status({"parents": parents}, "httproute", ROUTE)


def test_what_was_replaced_is_there_until_its_time_is_over(space: Space) -> None:
    just_promoted(space)

    async def story(reconciler: Reconciler) -> None:
        await at_rest(reconciler)
        assert space.names(KINDS) >= OLD
        backends = space.get("httproute", ROUTE)["spec"]["rules"][0]["backendRefs"]
        weights = {item["name"]: item["weight"] for item in backends}
        assert (weights["shop-r0001"], weights["shop-r0002"]) == (0, 100)
        status = space.get("rr", "shop")["status"]
        assert [item["revision"] for item in status["replaced"]["revisions"]] == [1]
        assert "pods of r0001 are kept until " in status["message"]

        space.write_status({**status, "replaced": {**status["replaced"], "since": time.time() - 3601}})
        await at_rest(reconciler)
        status = space.get("rr", "shop")["status"]
        assert "replaced" not in status and status["drainingSince"] > 0
        assert space.names(KINDS) >= OLD, "requests under way have their time"
        told = [item["reason"] for item in space.events()]
        assert [reason for reason in told if reason.startswith("Replaced")] == ["ReplacedReleased"]

        space.write_status({**status, "drainingSince": time.time() - DRAIN_SECONDS - 1})
        await at_rest(reconciler)
        assert space.names(KINDS) >= OLD, "the gateway has not taken the route without them"
        accept(space)
        await at_rest(reconciler)
        assert not space.names(KINDS) & OLD
        assert "deployment.apps/shop-r0002" in space.names(KINDS)

    play(space, story)
