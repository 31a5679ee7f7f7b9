"""Stories of a shadow: copies of requests reach the candidate before its first share, and are judged before it."""

from dataclasses import replace
from typing import Any

import pytest

from rewriter_contract.messages import StageCounters
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import StageStatus
from rewriter_operator.cli.asking import Wish, ask
from rewriter_operator.cli.tree import lines, tree
from rewriter_operator.core.cycle import ABORT_ANNOTATION, ROLLBACK_ANNOTATION
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Deployment, Route
from tests.builders import make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back

STEPS = ({"shadow": {"percent": 20, "duration": "3m"}}, {"setShare": 10}, {"setShare": 100})
ISTIO = {"virtualService": {"hosts": ["rewrites"]}}
ABORT = {ABORT_ANNOTATION: "2"}
CANDIDATE = ("Deployment", "shop-r0002")


def shadow_spec(*steps: dict[str, Any], **changes: Any) -> RewriterReleaseSpec:
    values = {"rollout.stages": [stage("finerank", *(steps or STEPS))], "rollout.verification": {"timeout": "4m"}}
    return make_spec(**values, **changes)


def mirroring(spec: RewriterReleaseSpec | None = None, **behaviour: Any) -> Simulator:
    """Copies of finerank's requests are on the route, and are counted."""
    return passed(spec or shadow_spec(), **behaviour).until(lambda story: counting(story) > 0)


def row(story: Simulator) -> StageStatus:
    return story.status.stages[0]


def counting(story: Simulator) -> float:
    shadow = row(story).shadow
    return shadow.counting_since if shadow else 0


def copied(story: Simulator) -> int:
    """Percent of finerank that the live route copies."""
    return story.mirrors.get("finerank", ("", 0))[1]


def with_copies(story: Simulator, **changes: Any) -> None:
    """The candidate's pod has counted something else of mirrored requests."""
    server = story.servers["shop-r0002-0"]
    server.shadowed["finerank"] = replace(server.shadowed.get("finerank", StageCounters()), **changes)


@pytest.mark.parametrize("traffic", [{}, {"traffic": ISTIO, "accepts": None}], ids=["HTTPRoute", "VirtualService"])
def test_copies_are_judged_before_the_first_share_and_no_share_counts_them(traffic: dict[str, Any]) -> None:
    changes = {"traffic": traffic["traffic"]} if traffic else {}
    story = passed(shadow_spec(**changes), gateway_accepts=traffic.get("accepts", True))
    story.until(lambda it: copied(it) > 0)
    assert story.share() == 0 and story.mirrors == {"finerank": ("shop-r0002", 20)}
    seen = []
    while story.share() == 0 and not story.status.history:
        if not story.reconcile():
            story.pass_time(5)
        seen.append((copied(story), story.servers["shop-r0002-0"].stages.get("finerank", StageCounters()).requests))
    assert {(20, 0), (0, 0)} == set(seen[:-1]), "the mirror goes before the share comes, and copies are no answers"
    assert story.servers["shop-r0002-0"].shadowed["finerank"].requests >= 20 * 0.2 * 180
    assert story.cycle_ends() == "Promoted"
    assert [note.message for note in story.notes if note.reason == "Mirrored"] == [
        "finerank: 0 % -> 20 % mirrored to r0002",
        "finerank: 20 % -> 0 % mirrored to r0002",
    ]


def test_nothing_is_mirrored_before_the_candidates_pods_are_ready() -> None:
    story = passed(shadow_spec(), serving_ready=False).wait(120)
    assert (story.status.state, copied(story)) == (State.DEPLOYING, 0)


def test_a_shadow_whose_turn_comes_later_waits_for_the_candidates_pods() -> None:
    """They were ready once; a node of theirs is gone when the turn comes."""
    story = passed(shadow_spec()).until(State.ROLLING_OUT)
    live = story.children[CANDIDATE]
    assert isinstance(live, Deployment)
    story.children[CANDIDATE] = replace(live, ready=0)
    story.wait(60)
    assert (copied(story), row(story).shadow) == (0, None)
    assert "no request is mirrored, because 0 of" in row(story).message
    assert "pods of the candidate are ready" in rolled_back(story, "NotVerified")


def test_its_time_counts_from_the_first_copy_that_is_counted() -> None:
    story = mirroring()
    since = counting(story)
    story.until(lambda it: row(it).step == 1)
    assert 180 <= story.now - since < 200


def test_errors_of_copies_beyond_chance_take_the_candidate_back_before_it_answers_anybody() -> None:
    story = mirroring(candidate_error_rate=0.5)
    message = rolled_back(story, "LimitCrossed")
    assert message.startswith("finerank: mirrored requests: error rate 0.5") and "> 0.01 (" in message
    assert not any(note.reason == "ShareSet" for note in story.notes)
    assert copied(story) == 0


def test_slow_answers_to_copies_take_the_candidate_back() -> None:
    assert "mirrored requests: p95 latency" in rolled_back(mirroring(candidate_latency="5000"), "LimitCrossed")


def test_empty_answers_to_copies_take_the_candidate_back() -> None:
    story = mirroring()
    story.pass_time(60)
    with_copies(story, empty=200)
    assert "mirrored requests: empty rate 0." in rolled_back(story, "LimitCrossed")


def test_a_limit_that_is_over_by_chance_holds_the_shadow_until_the_deadline_takes_it_back() -> None:
    story = mirroring(requests_per_second=1)
    story.pass_time(175)
    story.behaviour.requests_per_second = 0
    with_copies(story, errors=2)
    story.settle().wait(100)
    assert (copied(story), story.share()) == (20, 0)
    assert row(story).message == (
        "the shadow's time is over, but mirrored requests: error rate 0.057 > 0.01 (2 of 35 requests)"
    )
    assert "mirrored requests: error rate" in rolled_back(story, "NotVerified")


def test_too_few_copies_never_end_a_shadow_well() -> None:
    story = mirroring(requests_per_second=0)
    message = rolled_back(story, "NotVerified")
    assert "0 mirrored requests were counted, spec.rollout.limits.minRequests is 20 (for 4m)" in message
    assert not any(note.reason == "ShareSet" for note in story.notes)


def test_copies_that_nothing_marks_are_unknown_and_end_no_shadow_well() -> None:
    story = mirroring(copies_are_marked=False)
    assert "0 mirrored requests were counted" in rolled_back(story, "NotVerified")


def test_without_counters_or_with_odd_ones_nothing_advances() -> None:
    story = mirroring()
    with_copies(story, errors=-1)
    story.wait(200)
    assert (row(story).step, story.share()) == (0, 0)
    assert "counters of pod shop-r0002-0 cannot be used: a count is negative" in row(story).message
    story.behaviour.stats_readable = False
    story.wait(60)
    assert row(story).step == 0 and "tells no counters" in row(story).message


def test_counters_of_copies_that_went_backwards_are_not_believed() -> None:
    story = passed(shadow_spec())
    story.until(lambda it: copied(it) > 0).pass_time(30)
    story.until(lambda it: counting(it) > 0)
    story.behaviour.requests_per_second = 0
    with_copies(story, requests=1, latency_ms={"+Inf": 1})
    story.wait(200)
    assert row(story).step == 0 and "went backwards without a restart" in row(story).message


def test_latency_that_is_not_told_of_every_copy_is_in_doubt() -> None:
    story = mirroring(candidate_latency="")
    assert "the candidate's pods tell the latency of 0 of" in rolled_back(story, "NotVerified")


def test_nothing_is_mirrored_by_a_route_that_is_not_accepted() -> None:
    story = passed(shadow_spec()).until(lambda it: it.world().route is not None)
    story.behaviour.gateway_accepts = False
    story.gateway_answers()
    story.until(State.WITHDRAWING)
    assert story.status.cycle and story.status.cycle.message == (
        "finerank: no request is mirrored, because the route with share 0 % is not accepted by the gateway"
    )


def test_a_mirror_that_is_not_accepted_is_taken_back_at_the_timeout() -> None:
    """The route without it was; with it, the gateway refuses to read it."""
    story = passed(shadow_spec()).until(lambda it: row(it).shadow is not None)
    story.behaviour.gateway_accepts = False
    story.until(State.WITHDRAWING)
    assert story.status.cycle and story.status.cycle.message == (
        "finerank: the route that mirrors 20 % is not accepted by the gateway within 4m"
    )


def asks_abort(story: Simulator) -> None:
    story.annotations.update(ABORT)


def asks_rollback(story: Simulator) -> None:
    story.annotations[ROLLBACK_ANNOTATION] = "r0001/1"


def supersedes(story: Simulator) -> None:
    story.spec = shadow_spec(**{"training.phases": 7})


def loses_its_pods(story: Simulator) -> None:
    live = story.children[CANDIDATE]
    assert isinstance(live, Deployment)
    story.children[CANDIDATE] = replace(live, ready=0)


@pytest.mark.parametrize("happens", [asks_abort, asks_rollback, supersedes, loses_its_pods])
def test_whatever_ends_a_rollout_takes_the_mirror_away_with_the_first_write(happens: Any) -> None:
    story = mirroring()
    happens(story)
    written = len(story.writes)
    story.reconcile()
    assert story.writes[written] == "apply HTTPRoute shop-rewrites"
    assert (copied(story), row(story).shadow) == (0, None)
    assert story.cycle_ends() in ("Aborted", "Superseded", "RolledBack")
    assert story.wait(120).status.serves == "r0001"


def test_an_abort_whose_status_write_is_lost_has_taken_the_mirror_away_all_the_same() -> None:
    story = mirroring()
    asks_abort(story)
    story.lose_status_writes = 1
    story.reconcile()
    assert copied(story) == 0
    assert story.cycle_ends() == "Aborted"


def test_the_candidates_pods_stay_while_copies_still_reach_them() -> None:
    """Nobody says that a VirtualService is in force: the counters of copies are what shows it."""
    story = mirroring(shadow_spec(traffic=ISTIO), gateway_accepts=None)
    story.behaviour.gateway_takes_over = False
    asks_abort(story)
    story.wait(300)
    assert story.status.state is State.WITHDRAWING and CANDIDATE in story.children
    assert "pod shop-r0002-0 answered requests less than 10 s ago" in story.status.message
    story.behaviour.gateway_takes_over = True
    story.gateway_answers()
    story.wait(120)
    assert story.status.history[0].outcome == "Aborted" and CANDIDATE not in story.children


def test_a_restart_advances_nothing() -> None:
    """All that a shadow knows is in status: an operator that was away begins nothing anew and skips nothing."""
    story = mirroring().wait(90)
    before, decided = row(story), plan(story.world())
    assert decided.status.stages[0].step == 0 and decided.status.stages[0].shadow is not None
    again = Simulator(story.spec, story.status, story.behaviour, story.now)
    again.children, again.servers = story.children, story.servers
    assert plan(again.world()).status.stages[0].shadow == decided.status.stages[0].shadow
    assert row(story).step_at == before.step_at
    assert story.cycle_ends() == "Promoted"


def test_an_operator_that_was_away_for_the_whole_time_still_needs_the_counters() -> None:
    story = mirroring()
    story.behaviour.stats_readable = False
    story.pass_time(200)
    story.settle()
    assert (row(story).step, story.share()) == (0, 0)
    story.behaviour.stats_readable = True
    assert story.cycle_ends() == "Promoted"


def edited(story: Simulator, percent: int) -> None:
    """Somebody changes the mirror of the live route; observe.py reads it from the rules."""
    key = ("HTTPRoute", "shop-rewrites")
    live = story.children[key]
    assert isinstance(live, Route)
    story.children[key] = replace(live, mirrors={"finerank": percent} if percent else {}, spec_hash="edited by hand")


@pytest.mark.parametrize("state", [State.DEPLOYING, State.IDLE])
def test_a_mirror_that_a_hand_adds_where_none_is_due_is_taken_away_before_anything_else(state: State) -> None:
    story = passed(serving_ready=state is not State.DEPLOYING)
    story.until(state) if state is not State.DEPLOYING else story.settle()
    del story.children[("Service", "shop-passthrough")]
    edited(story, 50)
    written = len(story.writes)
    story.reconcile()
    assert story.writes[written] == "apply HTTPRoute shop-rewrites", "before the Service, which is missing as well"


def test_a_mirror_that_a_hand_removes_is_put_back_and_nothing_advances_without_it() -> None:
    story = mirroring().wait(175)
    edited(story, 0)
    story.pass_time(30)
    decided = plan(story.world()).status.stages[0]
    assert decided.step == 0 and "the route that mirrors 20 % is not accepted" in decided.message
    story.settle()
    assert story.cycle_ends() == "Promoted"


def test_a_pause_that_follows_mirrors_nothing() -> None:
    story = mirroring(shadow_spec(STEPS[0], {"pause": {}}, *STEPS[1:])).until(lambda it: row(it).step == 1)
    story.settle()
    assert (copied(story), row(story).shadow, story.share()) == (0, None, 0)


def test_two_shadows_one_after_the_other_are_counted_apart() -> None:
    more = {"shadow": {"percent": 100, "duration": "1m"}}
    story = mirroring(shadow_spec(STEPS[0], more, *STEPS[1:])).until(lambda it: copied(it) == 100)
    assert row(story).step == 1 and row(story).shadow is not None
    story.until(lambda it: counting(it) > 0)
    shadow = row(story).shadow
    assert shadow and shadow.baseline[0].counters.requests > 0
    assert story.cycle_ends() == "Promoted"


def test_a_shadow_that_is_changed_while_it_lasts_begins_anew() -> None:
    story = mirroring().wait(90)
    begun = counting(story)
    story.spec = shadow_spec({"shadow": {"percent": 50, "duration": "3m"}}, *STEPS[1:])
    story.until(lambda it: copied(it) == 50).until(lambda it: counting(it) > 0)
    assert counting(story) > begun and row(story).step == 0
    assert story.cycle_ends() == "Promoted"


def test_no_freeze_holds_a_shadow_up_and_the_share_after_it_waits() -> None:
    freeze = [{"from": "2000-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}]
    story = mirroring(shadow_spec(**{"rollout.freezes": freeze})).until(lambda it: row(it).step == 1)
    story.wait(60)
    assert (copied(story), story.share()) == (0, 0) and row(story).held


def test_people_see_what_a_shadow_does_and_an_abort_says_what_it_takes_away() -> None:
    story = mirroring().wait(60)
    text = "\n".join(lines(tree(story.world())))
    assert "r0002 gets copies of 20 % and answers nobody, " in text
    assert "step 1 of 3 (shadow of 20 % for 3m): mirrors 20 % for 3m: " in text
    assert ask(story.world(), Wish("abort")).then.startswith("nothing is mirrored to it any more, and cycle 2 ends")
