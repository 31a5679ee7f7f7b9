"""I7 and I9 on a real API server: the stories of stories.py, and what must be true of them."""

import shutil

import pytest

from e2e.cluster import ControlPlane
from tests.faults.campaign import play_all, players
from tests.faults.end_state import differences
from tests.faults.plans import Plan, Played
from tests.faults.stories import HEALTHY, POISON, STORIES

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

A_PASS_SECONDS = 20.0
"""Of the operator's clock: a pass that has begun waits five for pods that hang; then comes the one that aborts."""


@pytest.fixture(scope="module")
def played(api: ControlPlane) -> dict[str, Played]:
    """All stories, side by side."""
    with players(4) as pool:
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


def test_a_shard_that_its_own_sampler_cannot_score_is_taken_over_in_every_phase(played: dict[str, Played]) -> None:
    run = played["one-sampler-cut-off"]
    assert run.notes.keys() >= {"taken over in phase 1", "taken over in phase 2"}
    told = [write.signature for write in run.writes]
    assert sum(words.endswith("/v1/samples/1/1/3") for words in told) == 1, "the second drawing has its own number"
    assert sum(words.endswith("events ShardTakenOver") for words in told) == 2


def of(run: Played, name: str) -> dict[str, object]:
    """What there is of one release in the end."""
    return {key: value for key, value in run.end.items() if f" {name}" in key and f" {name}-passthrough" not in key}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_release_comes_to_its_end_beside_poisoned_ones_as_without_them(played: dict[str, Played], name: str) -> None:
    alone, beside = played["among-themselves"], played["beside-poison"]
    assert len(of(alone, name)) > 10
    assert differences(of(alone, name), of(beside, name)) == []
    assert counts(beside, name) == counts(alone, name)
    assert beside.notes[name] < 1.1 * alone.notes[name] + 1, "seconds in which all waited"


def counts(run: Played, name: str) -> dict[str, tuple[int, int]]:
    """How often each of its objects was created and deleted."""
    return {key: count for key, count in run.counts.items() if f" {name}" in key}


def test_the_poisoned_ones_were_poisoned(played: dict[str, Played]) -> None:
    end = played["beside-poison"].end
    hanging, erring, odd = (
        end[f"RewriterRelease {name}"] for name in (POISON.hanging, POISON.erring, POISON.unreadable)
    )
    assert isinstance(hanging, dict) and hanging["state"] == "Training"
    assert isinstance(erring, dict) and erring["observedGeneration"] == -1, "its status was never written"
    assert isinstance(odd, dict) and {item["reason"] for item in odd["conditions"]} == {"InvalidSpec"}
