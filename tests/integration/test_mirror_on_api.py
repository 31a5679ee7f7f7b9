"""Mirrors on a real API server: both kinds of route keep what is written of one, and the first write takes it away."""

from typing import Any

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus, Shadow
from rewriter_operator.cluster.observe import read
from rewriter_operator.core.children import route
from rewriter_operator.core.diff import Want, first_difference
from rewriter_operator.core.world import Release, Role
from rewriter_operator.reconcile import Reconciler
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_cycle, make_status, serving, stage, stage_status
from tests.core.test_rollout import PASSED
from tests.integration.conftest import Space, release
from tests.integration.test_site_faults import patched, play
from tests.integration.test_unreadable_release import with_its_route

pytestmark = pytest.mark.integration

ROUTE = "shop-rewrites"
STEPS = ({"shadow": {"percent": 20, "duration": "30m"}}, {"setShare": 100})
KINDS: dict[str, dict[str, Any]] = {
    "httproute": {},
    "virtualservice": {"traffic": {"virtualService": {"hosts": ["rewrites"]}}},
}
EDITS = {
    "httproute": {"op": "replace", "path": "/spec/rules/0/filters/0/requestMirror/percent", "value": 90},
    "virtualservice": {"op": "replace", "path": "/spec/http/0/mirrorPercentage/value", "value": 90},
}


def in_a_shadow(space: Space, kind: str) -> RewriterReleaseStatus:
    """A release whose candidate r0002 gets copies of 20 % of finerank, in status; r0001 serves."""
    space.inputs()
    space.create(release(**KINDS[kind], **{"rollout.stages": [stage("finerank", *STEPS)]}))
    found = space.get("rr", "shop")
    spec = RewriterReleaseSpec.model_validate(found["spec"])
    cycle = make_cycle(spec, 2, candidate=serving(2), compared_with=serving(1), gate=PASSED)
    row = stage_status("finerank", incumbent=serving(1), step_at=cycle.since, shadow=Shadow(percent=20))
    status = make_status(spec, state=State.ROLLING_OUT, cycle=cycle, stages=[row], last_cycle_number=2)
    space.write_status(status.to_api())
    return status


def copies(space: Space, kind: str) -> tuple[str, int] | None:
    """The Service that gets copies of the stage's requests, and the percent of them, as it is stored."""
    spec = space.get(kind, ROUTE)["spec"]
    first = spec["rules"][0] if "rules" in spec else spec["http"][0]
    if "filters" in first:
        mirror = first["filters"][0]["requestMirror"]
        return mirror["backendRef"]["name"], mirror["percent"]
    return (first["mirror"]["host"], first["mirrorPercentage"]["value"]) if "mirror" in first else None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_mirror_is_kept_as_it_was_written_and_read_back_without_a_difference(space: Space, kind: str) -> None:
    status = in_a_shadow(space, kind)

    async def story(reconciler: Reconciler) -> None:
        await with_its_route(space, reconciler, status)
        assert copies(space, kind) == ("shop-r0002", 20)
        live = space.get("rr", "shop")
        spec = RewriterReleaseSpec.model_validate(live["spec"])
        it = Release(space.name, "shop", live["metadata"]["uid"], 1, 0.0, {}, spec, status)
        world = (await read(reconciler.hands.kube, it)).world
        assert world.route is not None and world.route.mirrors == {"finerank": 20}
        (made,) = render(it, (route(world),), INSTALLATION)
        defaults = made.has_defaults
        want = Want(made.kind, made.name, made.digest, True, Role.ROUTE, spec=made.compared, has_defaults=defaults)
        assert first_difference([want], world.children) is None
        patched(space, kind, ROUTE, EDITS[kind])
        edited = (await read(reconciler.hands.kube, it)).world
        assert edited.route is not None and edited.route.mirrors == {"finerank": 90}
        assert first_difference([want], edited.children) is want

    play(space, story)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_pass_takes_the_mirror_of_a_candidate_without_pods_away(space: Space, kind: str) -> None:
    status = in_a_shadow(space, kind)

    async def story(reconciler: Reconciler) -> None:
        await with_its_route(space, reconciler, status)
        assert copies(space, kind) is not None
        await reconciler("shop")
        assert copies(space, kind) is None
        assert space.get("rr", "shop")["status"]["state"] == "Withdrawing"

    play(space, story)
