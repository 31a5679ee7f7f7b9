"""A candidate that has only the pods that its share needs: they are there before the share is, and until it is gone."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.core.capacity import pods_for
from rewriter_operator.core.cycle import ABORT_ANNOTATION, ROLLBACK_ANNOTATION
from rewriter_operator.core.cycle_plan import planned
from rewriter_operator.core.world import Deployment, Pod
from tests.builders import make_cycle, make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_intents import served
from tests.core.test_rollout import passed, rolled_back, with_share
from tests.examples import examples

SCALED = {"serving.replicas": 4, "serving.capacity": {"mode": "ScaleWithShare"}}
STEPS = ({"setShare": 10}, {"setShare": 50}, {"setShare": 100})


def scaled(*stages: dict[str, Any], **changes: Any) -> RewriterReleaseSpec:
    planned_stages = list(stages) or [stage("finerank", *STEPS)]
    return make_spec(**{"rollout.stages": planned_stages, **SCALED, **changes})


def candidate(story: Simulator) -> Deployment | None:
    found = story.children.get(("Deployment", "shop-r0002"))
    return found if isinstance(found, Deployment) else None


def come_up(story: Simulator, count: int = 64) -> None:
    """Up to so many pods of every Deployment get ready."""
    for key, child in story.children.items():
        if isinstance(child, Deployment):
            story.children[key] = replace(child, ready=max(child.ready, min(child.replicas, count)))


def go_down(story: Simulator, count: int) -> None:
    """Of the candidate's pods only so many are ready."""
    found = candidate(story)
    assert found is not None
    story.children[("Deployment", "shop-r0002")] = replace(found, ready=count)


def largest_share(story: Simulator) -> int:
    route = story.world().route
    return max(route.shares.values(), default=0) if route else 0


def played(story: Simulator) -> list[tuple[int, int, int]]:
    """(share, replicas, ready) as they changed; pods come up a while after they were asked for."""
    seen: list[tuple[int, int, int]] = []
    while not story.status.history:
        wrote = story.reconcile()
        found = candidate(story)
        now = (largest_share(story), found.replicas if found else 0, found.ready if found else 0)
        if not seen or seen[-1] != now:
            seen.append(now)
        if not wrote:
            story.pass_time(5)
            come_up(story)
    return seen


def test_each_share_has_its_pods_ready_before_it_is_set() -> None:
    assert played(passed(scaled(), serving_ready=False)) == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 1, 1),
        (10, 1, 1),
        (10, 2, 1),
        (10, 2, 2),
        (50, 2, 2),
        (50, 4, 2),
        (50, 4, 4),
        (100, 4, 4),
        (0, 4, 4),  # promoted: it is the incumbent now
    ]


def test_surge_brings_all_up_first() -> None:
    story = passed(make_spec(**{"rollout.stages": [stage("finerank", *STEPS)], "serving.replicas": 4}))
    seen = played(story)
    assert {replicas for _, replicas, _ in seen} == {0, 4}
    assert not any(row.pods_for or row.pods_at for row in story.status.stages)


@pytest.mark.parametrize(
    ("share", "pods"), [(1, 1), (12, 1), (13, 2), (25, 2), (26, 3), (50, 4), (87, 7), (88, 8), (100, 8)]
)
def test_what_a_share_needs_is_rounded_up(share: int, pods: int) -> None:
    assert pods_for(scaled(**{"serving.replicas": 8}).serving, share) == pods


def test_incumbent_and_passthrough_keep_all_of_theirs() -> None:
    story = passed(scaled()).until(lambda it: it.share() == 50)
    incumbent = story.children[("Deployment", "shop-r0001")]
    assert isinstance(incumbent, Deployment) and incumbent.replicas == 4
    assert story.cycle_ends() == "Promoted"
    assert candidate(story) == replace(candidate(story) or incumbent, replicas=4)


def test_the_largest_share_of_any_stage_counts() -> None:
    story = passed(
        scaled(
            stage("finerank", {"setShare": 100}),
            stage("recall", {"setShare": 10}, {"setShare": 100}, depends_on=("finerank",)),
        )
    )
    story.until(lambda it: it.share("recall") == 10)
    assert (candidate(story) or pytest.fail("no pods")).replicas == 4
    recall = next(row for row in story.status.stages if row.name == "recall")
    assert recall.pods_for == 0, "the pods for it were there: nothing was waited for"
    assert story.cycle_ends() == "Promoted"


def test_a_rollout_that_begins_with_a_pause_begins_with_one_pod() -> None:
    story = passed(scaled(stage("finerank", {"pause": {"duration": "5m"}}, {"setShare": 60}, {"setShare": 100})))
    story.until(State.ROLLING_OUT).wait(60)
    assert (candidate(story) or pytest.fail("no pods")).replicas == 1
    assert story.until(lambda it: it.share() == 60).cycle_ends() == "Promoted"


SHARES = some.lists(some.integers(1, 99), max_size=4, unique=True).map(lambda found: [*sorted(found), 100])


@examples(5)
@given(
    finerank=SHARES,
    recall=SHARES,
    waits=some.booleans(),
    replicas=some.integers(1, 9),
    lost=some.integers(0, 3),
    late=some.lists(some.integers(0, 9), max_size=12),
)
def test_no_share_is_set_without_its_pods_and_no_pod_goes_from_under_one(
    finerank: list[int], recall: list[int], waits: bool, replicas: int, lost: int, late: list[int]
) -> None:
    """Whatever the steps are, however pods come up, and whatever status write is lost."""
    stages = [
        stage("finerank", *({"setShare": share} for share in finerank)),
        stage("recall", *({"setShare": share} for share in recall), depends_on=("finerank",) if waits else ()),
    ]
    spec = scaled(*stages, **{"serving.replicas": replicas, "rollout.verification": {"minRequests": 1}})
    story = passed(spec, serving_ready=False)
    share, most, pods = 0, 0, iter(late)
    while not story.status.history:
        found, before = candidate(story), story.status
        wrote = story.reconcile()
        after = candidate(story)
        if found and after:
            assert after.replicas >= found.replicas, "pods went while the candidate was there"
        if largest_share(story) > share:
            share = most = largest_share(story)
            assert after and after.ready >= pods_for(spec.serving, share), f"{share} % with {after}"
        if story.status != before and lost:
            lost, story.lose_status_writes = lost - 1, 1
        if not wrote:
            story.pass_time(5)
            come_up(story, next(pods, 64))
    assert most == 100
    assert story.status.history[0].outcome == "Promoted"


def test_a_restart_between_the_pods_and_their_share_begins_the_same_step_again() -> None:
    story = passed(scaled()).until(lambda it: it.status.stages[0].pods_at > 0)
    again = Simulator(story.spec, story.status, story.behaviour, story.now)
    again.children, again.backends, again.data_plane = story.children, story.backends, story.data_plane
    again.servers = story.servers
    again.settle()
    assert (again.share(), (candidate(again) or pytest.fail("no pods")).replicas) == (50, 2)
    assert again.cycle_ends() == "Promoted"


def waits_for_pods(**behaviour: Any) -> Simulator:
    """10 % is verified; the second pod, for 50 %, does not come up."""
    story = passed(scaled(), **behaviour).until(lambda it: it.share() == 10)
    story.behaviour.serving_ready = False
    return story.until(lambda it: bool((found := candidate(it)) and found.replicas == 2)).settle()


def test_it_is_said_what_is_waited_for() -> None:
    story = waits_for_pods().wait(20)
    assert story.share() == 10
    assert story.status.message == "finerank 10 %: the pods for 50 % are not up: 1 of 2 candidate pods are ready"


def test_pods_that_never_come_take_the_candidate_back_at_the_timeout() -> None:
    story = waits_for_pods()
    story.wait(14 * 60)
    assert story.status.state is State.ROLLING_OUT
    message = rolled_back(story, "CandidateNotReady")
    assert message == "finerank: the pods for 50 % are not up: 1 of 2 candidate pods are ready within 15m"


def test_pods_that_came_late_leave_every_other_wait_its_whole_time() -> None:
    story = waits_for_pods()
    story.wait(12 * 60)
    story.behaviour.silent_pods = frozenset({"shop-r0002-1"})
    story.behaviour.serving_ready = True
    come_up(story)
    pod = story.children[("Pod", "shop-r0002-1")]
    assert isinstance(pod, Pod)
    story.children[("Pod", "shop-r0002-1")] = replace(pod, ready=True)
    story.wait(8 * 60)
    assert "pod shop-r0002-1 tells no counters" in story.status.message, "a silent pod is in doubt, not late"
    assert story.share() == 10
    story.behaviour.silent_pods = frozenset()
    assert story.cycle_ends() == "Promoted"


def test_a_pod_that_was_lost_before_the_share_is_waited_for_as_long_as_any_doubt() -> None:
    story = passed(scaled(stage("finerank", {"setShare": 50}, {"setShare": 100})), serving_ready=False)
    story.settle()
    come_up(story)
    story.until(lambda it: it.status.state is State.ROLLING_OUT, limit=30)
    go_down(story, 1)
    story.wait(9 * 60)
    assert "1 of 2 candidate pods are ready" in story.status.message
    assert "are not up: 1 of 2 candidate pods are ready" in rolled_back(story, "NotVerified")


def test_a_closed_window_asks_for_no_pods_and_is_nobodys_delay() -> None:
    frozen = [{"from": "2025-11-24T16:00:30Z", "to": "2025-11-24T16:40:00Z"}]
    story = passed(scaled(**{"rollout.freezes": frozen})).until(lambda it: it.share() == 10)
    story.wait(1200)
    assert (candidate(story) or pytest.fail("no pods")).replicas == 1
    assert "waits" in story.status.message
    assert story.until(lambda it: it.share() == 50, limit=7200).cycle_ends() == "Promoted"


def test_pods_are_not_late_while_a_freeze_would_let_no_share_rise() -> None:
    story = waits_for_pods()
    until = rfc3339(story.now + 3600)
    story.spec = scaled(**{"rollout.freezes": [{"from": rfc3339(story.now), "to": until}]})
    story.wait(3700)
    assert story.status.state is State.ROLLING_OUT
    story.wait(10 * 60)
    assert "1 of 2 candidate pods are ready" in story.status.message, "their time counts from the freeze's end"
    assert rolled_back(story, "CandidateNotReady")


@pytest.mark.parametrize("way", ["limit", "abort"])
def test_the_route_gives_the_share_back_before_any_pod_goes(way: str) -> None:
    story = passed(scaled()).until(lambda it: it.share() == 50)
    written = len(story.writes)
    if way == "abort":
        story.annotations[ABORT_ANNOTATION] = "2"
    else:
        story.behaviour.candidate_error_rate = 1.0
    story.cycle_ends()
    story.wait(120)
    of_it = [write for write in story.writes[written:] if "shop-r0002" in write or "HTTPRoute" in write]
    assert of_it[0] == "apply HTTPRoute shop-rewrites"
    assert "apply Deployment shop-r0002" not in of_it, "it is not scaled down, it goes when it has drained"
    assert of_it.index("delete Deployment shop-r0002") > 0
    assert story.status.serves == "r0001"


def test_a_hand_that_takes_pods_away_is_put_right_and_one_that_adds_some_is_not() -> None:
    story = passed(scaled()).until(lambda it: it.share() == 50)
    found = candidate(story)
    assert found is not None and found.replicas == 2
    story.children[("Deployment", "shop-r0002")] = replace(found, replicas=1, ready=1)
    story.settle()
    assert (candidate(story) or found).replicas == 2
    story.children[("Deployment", "shop-r0002")] = replace(found, replicas=9, ready=9)
    assert story.cycle_ends() == "Promoted"
    assert (candidate(story) or found).replicas == 9, "an autoscaler's business, at every share"


def test_a_change_of_the_mode_takes_no_pod_away_and_ends_no_cycle() -> None:
    surge = make_spec(**{"rollout.stages": [stage("finerank", *STEPS)], "serving.replicas": 4})
    story = passed(surge).until(lambda it: it.share() == 10)
    story.spec = scaled()
    assert story.cycle_ends() == "Promoted"
    found = candidate(story)
    assert found is not None and found.replicas == 4
    assert story.writes.count("apply Deployment shop-r0002") == 1


def test_a_change_to_surge_brings_all_up_and_no_share_rises_without_its_pods() -> None:
    story = waits_for_pods()
    story.spec = make_spec(**{"rollout.stages": [stage("finerank", *STEPS)], "serving.replicas": 4})
    story.wait(60)
    found = candidate(story)
    assert found is not None and (found.replicas, found.ready, story.share()) == (4, 1, 10)
    come_up(story)
    assert story.cycle_ends() == "Promoted"


def test_more_replicas_in_mid_rollout_are_more_for_the_share() -> None:
    story = passed(scaled()).until(lambda it: it.share() == 50)
    story.spec = scaled(**{"serving.replicas": 8})
    story.settle()
    found = candidate(story)
    assert found is not None and found.replicas == 4
    assert story.cycle_ends() == "Promoted"
    assert (candidate(story) or found).replicas == 8


@pytest.mark.parametrize("share, pods", [(45, 2), (70, 3)])
def test_a_changed_plan_gives_the_pods_for_its_share_their_whole_time(share: int, pods: int) -> None:
    story = waits_for_pods()
    story.wait(10 * 60)
    story.spec = scaled(stage("finerank", {"setShare": 10}, {"setShare": share}, {"setShare": 100}))
    story.wait(10 * 60)
    assert story.status.state is State.ROLLING_OUT
    found = candidate(story)
    assert found is not None and found.replicas == pods
    story.behaviour.serving_ready = True
    come_up(story)
    story.until(lambda it: it.share() == share, limit=300)


def test_a_revision_that_comes_back_has_all_its_pods_before_any_request() -> None:
    story = served(scaled()).settle()
    story.behaviour.serving_ready = False
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    story.until(lambda it: it.status.state is State.RETURNING).wait(60)
    back = story.children[("Deployment", "shop-r0003")]
    assert isinstance(back, Deployment) and back.replicas == 4
    story.children[("Deployment", "shop-r0003")] = replace(back, replicas=2, ready=2)
    story.reconcile()
    assert story.status.serves == "r0005", "two are ready, and somebody has taken the others away"
    story.settle()
    come_up(story)
    story.until(lambda it: it.status.serves == "r0003", limit=120)


def test_the_plan_says_with_how_many_pods() -> None:
    spec = scaled(
        stage("finerank", {"setShare": 10}, {"pause": {"duration": "1h"}}, {"setShare": 60}, {"setShare": 100})
    )
    (found,) = planned(spec, make_cycle(spec), None).stages
    assert [step.pods for step in found.steps] == [1, None, 3, 4]
    surge = make_spec(**{"serving.replicas": 4})
    assert {step.pods for step in planned(surge, make_cycle(surge), None).stages[0].steps} == {None}


SHADOWED = ({"shadow": {"percent": 60, "duration": "3m"}}, {"setShare": 10}, {"setShare": 100})


def test_the_plan_names_pods_for_a_shadow_and_those_that_stay_after_it() -> None:
    spec = scaled(stage("finerank", *SHADOWED))
    (found,) = planned(spec, make_cycle(spec), None).stages
    assert [(step.does, step.pods) for step in found.steps] == [("Shadow", 3), ("SetShare", 3), ("SetShare", 4)]
    story = passed(spec)
    had = {}
    while not story.status.history:
        at = story.status.stages[0]
        step = "Shadow" if story.mirrors.get("finerank") else at.share
        had.setdefault(step, (candidate(story) or pytest.fail("no pods")).replicas if step else 0)
        if not story.reconcile():
            story.pass_time(5)
    assert had == {0: 0, "Shadow": 3, 10: 3, 100: 4}, "as it was foretold"


def test_the_plan_counts_what_other_stages_begin_with_or_have_ended_with() -> None:
    spec = scaled(
        stage("finerank", {"setShare": 5}, {"setShare": 100}),
        stage("rawrank", {"setShare": 50}, {"setShare": 100}),
        stage("recall", {"setShare": 5}, {"setShare": 100}, depends_on=("rawrank",)),
    )
    found = planned(spec, make_cycle(spec), None).stages
    assert {item.name: [step.pods for step in item.steps] for item in found} == {
        "finerank": [2, 4],
        "rawrank": [2, 4],
        "recall": [4, 4],
    }
    story = passed(spec).until(lambda it: it.share("finerank") == 5)
    assert (candidate(story) or pytest.fail("no pods")).ready == 2


@pytest.mark.parametrize("first", [[], [{"pause": {"duration": "5m"}}]], ids=["copies first", "a pause first"])
def test_copies_have_their_pods_before_they_are_made(first: list[dict[str, Any]]) -> None:
    steps = [*first, {"shadow": {"percent": 60, "duration": "3m"}}, {"setShare": 10}, {"setShare": 100}]
    story = passed(scaled(stage("finerank", *steps)))
    asked = []
    while not story.mirrors.get("finerank"):
        found = candidate(story)
        asked += [found.replicas] if found else []
        if not story.reconcile():
            story.pass_time(5)
            come_up(story)
    found = candidate(story)
    assert found is not None and (found.replicas, found.ready) == (3, 3), "60 % of four"
    assert asked[0] == (1 if first else 3)
    assert story.cycle_ends() == "Promoted"


def test_pods_that_came_in_a_step_that_needs_none_are_not_late_for_ever() -> None:
    story = waits_for_pods()
    story.spec = scaled(stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 50}, {"setShare": 100}))
    story.settle()
    come_up(story)
    story.wait(20 * 60)
    go_down(story, 1)
    story.settle()
    assert story.status.state is State.ROLLING_OUT
    assert story.share() == 10


def test_pods_of_the_template_before_answer_while_those_of_the_new_one_come_up() -> None:
    """A rolling update of the candidate: an image, an operator's upgrade."""
    story = with_share()
    found = candidate(story)
    assert found is not None
    story.children[("Deployment", "shop-r0002")] = replace(found, ready=0, others=found.replicas)
    story.settle()
    assert story.status.state is State.ROLLING_OUT
    story.children[("Deployment", "shop-r0002")] = replace(found, ready=0)
    story.settle()
    assert story.status.cycle is not None and story.status.cycle.reason == "CandidateNotServing"
