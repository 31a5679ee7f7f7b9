"""A VirtualService that nobody declares accepted: what is not told must be seen, and what is unknown never promotes."""

from dataclasses import replace

import pytest

from rewriter_operator.api.model import evolve
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.core.diff import Want, first_difference
from rewriter_operator.core.world import Role, Route
from tests.builders import make_route, make_spec
from tests.core.simulator import Simulator
from tests.core.test_intents import served
from tests.core.test_rollout import passed, rolled_back, with_share

ISTIO = make_spec(traffic={"virtualService": {"hosts": ["rewrites"]}})
ROUTE = ("VirtualService", "shop-rewrites")
CANDIDATE, INCUMBENT = ("Deployment", "shop-r0002"), ("Deployment", "shop-r0001")


def silent(share: int = 0) -> Simulator:
    """Cycle 2 has passed its gate; its share is on the route, if it has one. Nobody says anything of the route."""
    return with_share(ISTIO, share, gateway_accepts=None) if share else passed(ISTIO, gateway_accepts=None)


def before_any_share() -> Simulator:
    """The incumbent answers, the route is there, and the candidate has nothing yet."""
    return silent().until(lambda it: "finerank" in it.data_plane)


def keeps_what_it_has(story: Simulator) -> Simulator:
    """The data plane goes on as it is, whatever is written from now on."""
    story.behaviour.gateway_takes_over = False
    return story


def taken_over(story: Simulator) -> Simulator:
    story.behaviour.gateway_takes_over = True
    story.gateway_answers()
    return story


def asked_to_stop(story: Simulator) -> Simulator:
    story.annotations["rewriter.dev/abort"] = "2"
    return story.until(State.WITHDRAWING)


def test_a_whole_cycle_ends_with_what_was_seen_and_the_pods_of_before_go() -> None:
    story = silent()
    assert story.cycle_ends() == "Promoted"
    assert story.status.serves == "r0002"
    assert story.condition("Ready") == ("True", "Serving")
    story.wait(120)
    assert INCUMBENT not in story.children and CANDIDATE in story.children
    assert story.status.leaving is None, "nothing leaves any more"


def test_behind_a_gateway_silence_is_no_acceptance() -> None:
    story = passed(gateway_accepts=None).until(State.WITHDRAWING)
    assert story.status.cycle and story.status.cycle.reason == "NotVerified"
    assert not any(stage.counting_since for stage in story.status.stages)


def test_a_share_that_is_only_written_is_not_set() -> None:
    """The mesh's control is down when the first share is written."""
    story = keeps_what_it_has(before_any_share())
    message = rolled_back(story, "NotVerified")
    assert "share 10 % set, 0.0 % observed on" in message


def test_a_share_that_is_raised_and_not_taken_over_is_not_the_share_of_before() -> None:
    """The mesh's control dies between two shares: what is observed is the first one."""
    story = keeps_what_it_has(silent(10))
    assert story.until(State.WITHDRAWING).status.cycle is not None
    assert story.status.cycle and story.status.cycle.reason == "NotVerified"
    assert "share 100 % set, " in story.status.cycle.message
    assert State.BAKING not in story.states


@pytest.mark.parametrize(("spec", "accepts", "outcome"), [(None, True, "Promoted"), (ISTIO, None, "RolledBack")])
def test_a_bake_ends_on_an_acceptance_or_on_a_share_that_was_seen(
    spec: RewriterReleaseSpec | None, accepts: bool | None, outcome: str
) -> None:
    """An edited or older status: all that is known of the share is that it stands in the route."""
    story = passed(spec, gateway_accepts=accepts).until(State.BAKING)
    unseen = [evolve(stage, verified=False, watch=None) for stage in story.status.stages]
    story.status = evolve(story.status, stages=unseen)
    assert story.cycle_ends() == outcome
    if outcome == "RolledBack":
        assert "share 100 % is written, and was not seen yet" in story.status.history[0].message


def test_without_requests_nothing_is_promoted() -> None:
    story = silent()
    story.behaviour.requests_per_second = 0
    rolled_back(story, "NotVerified")
    assert State.BAKING not in story.states


def test_without_counters_nothing_is_promoted_and_nothing_that_may_answer_goes() -> None:
    story = silent()
    story.behaviour.stats_readable = False
    story.until(State.WITHDRAWING).wait(300)
    assert story.status.state is State.WITHDRAWING and story.share() == 0
    assert State.BAKING not in story.states
    story.behaviour.stats_readable = True
    rolled_back(story, "NotVerified")


def test_a_candidate_stays_up_for_as_long_as_requests_reach_it() -> None:
    """Nobody says that the route without it is in force, so its own pods do."""
    story = asked_to_stop(keeps_what_it_has(silent(10)))
    assert story.share() == 0, "the route says so at once"
    story.wait(600)
    assert story.status.state is State.WITHDRAWING
    assert story.status.message == ("taking r0002 off the route: pod shop-r0002-0 answered requests less than 10 s ago")
    assert CANDIDATE in story.children
    taken_over(story).wait(60)
    assert story.status.history[0].outcome.value == "Aborted"
    story.wait(60)
    assert CANDIDATE not in story.children


def test_looks_at_what_still_answers_cost_a_write_every_few_seconds() -> None:
    story = asked_to_stop(keeps_what_it_has(silent(10))).settle()
    written = len(story.writes)
    for _ in range(60):
        story.pass_time(1.0)
        story.settle()
    assert set(story.writes[written:]) == {"status Withdrawing"}
    assert len(story.writes) - written <= 60 / 2.5


def test_a_candidate_without_counters_is_not_taken_for_one_without_requests() -> None:
    story = asked_to_stop(silent(10))
    story.behaviour.silent_pods = frozenset({"shop-r0002-0"})
    story.wait(300)
    assert story.status.state is State.WITHDRAWING
    assert "pod shop-r0002-0 tells no counters" in story.status.message
    story.behaviour.silent_pods = frozenset()
    story.wait(60)
    assert story.status.state is State.IDLE


def test_pods_that_cannot_answer_are_waited_for_no_longer_than_others() -> None:
    story = silent(10)
    live = story.children[CANDIDATE]
    story.children[CANDIDATE] = replace(live, ready=0)  # type: ignore[call-arg]
    story.children[("Pod", "shop-r0002-0")] = replace(story.children[("Pod", "shop-r0002-0")], ready=False)  # type: ignore[call-arg]
    story.behaviour.silent_pods = frozenset({"shop-r0002-0"})
    assert "no pod of the candidate is ready" in rolled_back(story, "CandidateNotServing")


def test_a_data_plane_that_falls_back_keeps_the_pods_of_before() -> None:
    """After the promotion a proxy is started anew from an old copy: whom it asks must be there."""
    story = before_any_share()
    before = dict(story.data_plane)
    assert story.cycle_ends() == "Promoted"
    keeps_what_it_has(story).data_plane = before
    story.wait(300)
    assert INCUMBENT in story.children
    assert story.status.leaving and "shop-r0001-0 answered requests" in story.status.leaving.told
    assert INCUMBENT[1] in story.backends["finerank"], "and it is still listed"
    taken_over(story).wait(120)
    assert INCUMBENT not in story.children


def test_a_route_that_istios_analysis_refuses_gets_no_candidate_and_holds_up_no_way_back() -> None:
    story = passed(ISTIO, gateway_accepts=False)
    rolled_back(story, "NotVerified")
    assert story.condition("Ready")[0] == "False"


def test_where_istio_reports_that_every_proxy_has_it_that_is_believed() -> None:
    assert passed(ISTIO, gateway_accepts=True).cycle_ends() == "Promoted"


def test_an_earlier_revision_comes_back_without_anybody_accepting_it() -> None:
    story = served(ISTIO)
    story.behaviour.gateway_accepts, story.behaviour.record_ends = None, True
    story.settle().annotations["rewriter.dev/rollback-to"] = "r0003"
    story.until(lambda it: it.status.state is State.IDLE and it.status.serves == "r0003", limit=600)
    story.wait(120)
    assert story.has("Deployment", "shop-r0003") and not story.has("Deployment", "shop-r0005")


def test_a_share_that_a_hand_raises_is_taken_back_before_anything_else() -> None:
    story = silent(10)
    live = story.children[ROUTE]
    assert isinstance(live, Route)
    story.children[ROUTE] = replace(live, shares={"finerank": 60}, spec_hash="edited by hand")
    written = len(story.writes)
    story.reconcile()
    assert story.writes[written] == "apply VirtualService shop-rewrites"
    assert story.share() == 10


def test_whatever_a_hand_adds_to_a_virtual_service_is_seen() -> None:
    """No API server adds a field to one: what was not written is an edit, wherever it stands."""
    spec = {"hosts": ["rewrites"], "http": [{"route": [{"weight": 100}]}]}
    want = Want("VirtualService", "shop-rewrites", "as written", True, Role.ROUTE, spec=spec, has_defaults=False)
    for added in ({"fault": {"abort": {}}}, {"mirror": {"host": "x"}}, {"delegate": {"name": "x"}}):
        live = {"hosts": ["rewrites"], "http": [{"route": [{"weight": 100}], **added}]}
        child = make_route(kind="VirtualService", spec_hash="as written", spec=live)
        assert first_difference([want], [child]) is want
    assert first_difference([want], [make_route(kind="VirtualService", spec_hash="as written", spec=spec)]) is None
