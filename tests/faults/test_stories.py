"""I7 on a real API server: the stories of stories.py, and what must be true of them."""

import shutil

import pytest

from e2e.cluster import ControlPlane
from tests.faults.campaign import play_all, players
from tests.faults.cluster_setup import add_node
from tests.faults.plans import Plan, Played
from tests.faults.stories import STORIES
from tests.integration.conftest import api

__all__ = ["api"]  # the session's one control plane, as a fixture of this module too

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

A_PASS_SECONDS = 20.0
"""Of the operator's clock: a pass that has begun waits five for pods that hang; then comes the one that aborts."""


@pytest.fixture(scope="module")
def played(api: ControlPlane) -> dict[str, Played]:
    """All stories, side by side."""
    add_node(api)
    with players(len(STORIES)) as pool:
        runs = play_all(pool, api.kubeconfig, [Plan(name) for name in STORIES], tell=lambda played: None)
        found = {run.plan.workload: run for run in runs}
    for run in found.values():
        if not run.violations:
            shutil.rmtree(run.directory, ignore_errors=True)
    return found


@pytest.mark.parametrize("name", STORIES)
def test_no_invariant_is_broken(played: dict[str, Played], name: str) -> None:
    assert played[name].violations == []
    assert played[name].writes


def test_an_abort_needs_the_api_server_and_the_route_and_nothing_else(played: dict[str, Played]) -> None:
    assert played["aborted-in-the-dark"].notes["taken back after"] < A_PASS_SECONDS


def test_what_nobody_can_see_is_taken_back_by_an_operator_that_has_just_come_up(played: dict[str, Played]) -> None:
    run = played["left-in-the-dark"]
    assert run.lives == 2
    assert run.notes["taken back after"] < 60 + 120 + A_PASS_SECONDS, "a pause of one minute, a doubt of two"
