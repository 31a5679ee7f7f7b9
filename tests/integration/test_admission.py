"""What kubectl shows of a release: refusals, explanations, defaults, columns. Every rule is in test_bad_input.py."""

import json

import pytest

from e2e.cluster import ClusterError
from tests.integration.conftest import COLLECTIONS, Space, release
from tests.kstatus import computed

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["9shop", "shop.search", "s" * 41])
def test_a_name_that_children_could_not_carry_is_refused(space: Space, name: str) -> None:
    with pytest.raises(ClusterError, match=r"metadata\.name must"):
        space.create(release(name), "--dry-run=server")


def test_the_volume_of_a_release_is_for_life(space: Space) -> None:
    space.create(release())
    space.apply(release(suspend=True))
    with pytest.raises(ClusterError, match=r"spec\.volume: .*cannot be changed; create a release with another name"):
        space.apply(release(**{"volume.subPath": "elsewhere"}))


def test_explain_teaches(space: Space) -> None:
    told = space.kubectl("explain", "rr.spec.training")
    assert "one weight sync per phase" in " ".join(told.split())
    assert "phaseDeadline" in told


def test_defaults_are_written_out(space: Space) -> None:
    space.create(release())
    spec = space.get("rr", "shop")["spec"]
    assert spec["rollout"]["limits"]["maxErrorRate"] == 0.01
    assert spec["training"]["mpo"]["beta"] == 0.1


def test_a_release_that_no_operator_has_seen_is_waited_for(space: Space) -> None:
    """Also one that a hand gave a status, which the API server takes from nobody but the operator."""
    written = {"observedGeneration": 1, "conditions": [], "state": "Idle"}
    created = json.loads(space.create({**release(), "status": written}, "-o", "json"))
    for live in (created, space.get("rr", "shop")):
        assert live["status"]["observedGeneration"] == -1
        assert live["status"]["state"] == "Bootstrapping"
        assert computed(live) == "InProgress"
    listed = space.calls.call("GET", COLLECTIONS["rr"][0].format(space.name)).body["items"]
    assert [computed(item) for item in listed] == ["InProgress"]


def test_columns_tell_the_state(space: Space) -> None:
    space.create(release())
    heading = space.kubectl("get", "rr").splitlines()[0].split()
    assert heading[:4] == ["NAME", "STATE", "CYCLE", "SERVES"]
