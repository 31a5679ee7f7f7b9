"""A share that was verified is watched on: what is certainly another one is doubted, and nothing else is."""

import random
from dataclasses import replace
from typing import Any

import pytest

from rewriter_contract.messages import StageCounters
from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import APPROVE_ANNOTATION
from rewriter_operator.core.watching import ALPHA, WINDOW_REQUESTS, doubted
from tests.builders import make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back

PAUSED = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]


def paused(**changes: Any) -> Simulator:
    """The candidate's 10 % are verified, and a person is waited for."""
    story = passed(make_spec(**({"rollout.stages": PAUSED} | changes)))
    return story.until(lambda it: it.status.stages[0].step == 1).wait(60)


def lose(story: Simulator, **weights: int) -> None:
    """The data plane divides the requests otherwise; the route says what it said."""
    story.data_plane = {"finerank": {f"shop-{name}": weight for name, weight in weights.items()}}
    story.behaviour.gateway_takes_over = False


def told(story: Simulator, reason: str) -> list[str]:
    return [note.message for note in story.notes if note.reason == reason]


@pytest.mark.parametrize("weights", [{"r0001": 100}, {"r0002": 100}, {"r0001": 50, "r0002": 50}], ids=str)
def test_a_share_that_is_lost_in_a_pause_is_doubted_and_then_taken_back(weights: dict[str, int]) -> None:
    story = paused()
    lose(story, **weights)
    story.until(lambda it: doubted(it.status.stages[0]) is not None, limit=180)
    assert story.condition("TrafficVerified") == ("False", "ShareDoubted")
    assert told(story, "ShareDoubted")[0].startswith("finerank: share 10 % set, ")
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    story.wait(300)
    assert story.share() == 10, "not even an approval raises what is in doubt"
    assert "was not verified anew within 10m" in rolled_back(story, "NotVerified")
    assert len(told(story, "ShareDoubted")) == 1


def test_a_share_that_comes_back_is_verified_anew_and_goes_on() -> None:
    story = paused()
    lose(story, r0001=100)
    story.until(lambda it: doubted(it.status.stages[0]) is not None, limit=180)
    story.behaviour.gateway_takes_over = True
    story.gateway_answers()
    story.until(lambda it: it.status.stages[0].verified, limit=120)
    assert story.condition("TrafficVerified") == ("True", "Verified")
    assert told(story, "ShareVerifiedAnew") == ["finerank: share 10 % is observed again"]
    story.annotations[APPROVE_ANNOTATION] = "r0002/finerank/1"
    assert story.cycle_ends() == "Promoted"


def test_after_a_pause_of_days_a_lost_share_is_seen_as_soon() -> None:
    story = paused()
    story.pass_time(2 * 86400)
    story.wait(60)
    windows = story.status.stages[0].watch
    assert windows is not None
    assert windows.number >= 2
    lose(story, r0001=100)
    before = story.now
    story.until(lambda it: doubted(it.status.stages[0]) is not None, limit=600)
    assert (story.now - before) * story.behaviour.requests_per_second < WINDOW_REQUESTS / 2


def test_a_share_that_is_lost_while_baking_is_not_promoted() -> None:
    story = passed(make_spec(**{"rollout.bake": "20m"})).until(State.BAKING).wait(30)
    lose(story, r0001=50, r0002=50)
    assert "share 100 % set, " in rolled_back(story, "NotVerified")


def test_another_stages_doubt_holds_every_stage() -> None:
    steps = ({"setShare": 10}, {"pause": {"duration": "2m"}}, {"setShare": 100})
    stages = [stage("finerank", {"setShare": 100}), stage("recall", *steps, depends_on=("finerank",))]
    story = passed(make_spec(**{"rollout.stages": stages})).until(lambda it: it.status.stages[1].step == 1)
    story.data_plane = {**story.data_plane, "finerank": {"shop-r0001": 60, "shop-r0002": 40}}
    story.behaviour.gateway_takes_over = False
    story.wait(240)
    assert story.share("recall") == 10
    assert "finerank is in doubt" in story.status.message
    assert "finerank: share 100 % set" in rolled_back(story, "NotVerified")


def restart_an_incumbent(story: Simulator) -> None:
    """It forgets most requests of the stage: what is left looks as if the candidate answered nearly all."""
    for name in [name for name in story.servers if name.startswith("shop-r0001")]:
        story.servers[name] = replace(story.servers[name], boot_id=f"again-{story.now}", stages={})


def be_silent(story: Simulator) -> None:
    story.behaviour.silent_pods = frozenset({"shop-r0001-0"})


def go_backwards(story: Simulator) -> None:
    story.behaviour.odd_counters = {"shop-r0001-0": StageCounters(requests=1)}


@pytest.mark.parametrize("trouble", [restart_an_incumbent, be_silent, go_backwards])
def test_counters_that_restart_or_are_unknown_never_count_as_another_share(trouble: Any) -> None:
    story = paused()
    for _ in range(3):
        trouble(story)
        story.wait(60)
        story.behaviour.silent_pods, story.behaviour.odd_counters = frozenset(), {}
        story.wait(60)
    assert doubted(story.status.stages[0]) is None
    assert told(story, "ShareDoubted") == []
    assert story.share() == 10


def test_the_data_plane_that_does_what_was_set_is_not_doubted_however_often_one_looks() -> None:
    """A coin for every request, at many looks: the false alarms of all windows together stay below ALPHA."""
    draw, alarms = random.Random(5), 0
    story = paused()
    for _ in range(200):
        share = 10 + draw.gauss(0, 100 * (0.1 * 0.9 / 100) ** 0.5)
        story.data_plane = {"finerank": {"shop-r0001": 100 - share, "shop-r0002": share}}  # type: ignore[dict-item]
        story.pass_time(5)  # 100 requests
        for _ in range(3):
            story.reconcile()
        alarms += doubted(story.status.stages[0]) is not None
    assert alarms == 0
    assert ALPHA <= 0.001
