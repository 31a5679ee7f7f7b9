"""Capacity in place: no pod more than there are, one goes from the incumbent to the candidate at a time, and back."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rewriter_contract import wire
from rewriter_contract.messages import LOAD_SECONDS, LoadState, ServingStats
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.core.capacity import pods_for
from rewriter_operator.core.children import DRAIN_SECONDS, orders
from rewriter_operator.core.cycle import ABORT_ANNOTATION, LIMITS_LOADS, ROLLBACK_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.cycle_plan import planned
from rewriter_operator.core.decision import WantedPool
from rewriter_operator.core.held_up import not_serving
from rewriter_operator.core.plan import plan
from rewriter_operator.core.pool import RELEASE_SECONDS
from rewriter_operator.core.serving_order import ordered
from rewriter_operator.core.world import Pod, Role
from rewriter_operator.workloads.render import Manifest, render
from tests.builders import INSTALLATION, make_cycle, make_spec, stage
from tests.core.simulator import Server, Simulator
from tests.core.test_intents import served
from tests.core.test_rollout import passed
from tests.examples import examples

STEPS = ({"setShare": 10}, {"setShare": 50}, {"setShare": 100})


def in_place(*stages: dict[str, Any], **changes: Any) -> RewriterReleaseSpec:
    planned_stages = list(stages) or [stage("finerank", *STEPS)]
    capacity = {"serving.replicas": 4, "serving.capacity": {"mode": "InPlace"}}
    return make_spec(**{"rollout.stages": planned_stages, **capacity, **changes})


def begun(spec: RewriterReleaseSpec | None = None, **behaviour: Any) -> Simulator:
    """Cycle 2 has just passed its gate; all pods of the pool serve r0001."""
    return all_serve(passed(spec or in_place(), **behaviour), 1)


def made_of(story: Simulator) -> Manifest:
    """The pool's Deployment, by the spec that is."""
    return render(story.world().release, (WantedPool(),), INSTALLATION)[0]


def all_serve(story: Simulator, revision: int) -> Simulator:
    """They did before the story begins."""
    story._apply(made_of(story))
    order = orders(story.world())[revision]
    for pod in story.world().pool:
        lent = replace(pod, role=Role.SERVING, cycle=revision, ready=True, order=wire.dumps(order), assigned_at=1.0)
        story.children[("Pod", pod.name)] = lent
        server, weights = story.servers[pod.name], order.serving.weights
        served = Server(order.serving.revision, server.boot_id, weights=weights, order=wire.dumps(order))
        story.servers[pod.name] = replace(served, template=server.template)
    story.writes.clear()
    return story


def serve(story: Simulator) -> dict[int, int]:
    """Revision -> pods that bear its label."""
    found: dict[int, int] = {}
    for pod in story.world().pool:
        if pod.role is Role.SERVING:
            found[pod.cycle] = found.get(pod.cycle, 0) + 1
    return found


def steps_of(story: Simulator) -> list[str]:
    """Writes to pods of the pool."""
    return [write for write in story.writes if write.split()[0] in ("release", "order", "label")]


def played(story: Simulator) -> list[tuple[int, int, int]]:
    """(share, pods of r0001, pods of r0002) as they changed until the cycle ended."""
    seen: list[tuple[int, int, int]] = []
    while not story.status.history:
        wrote = story.reconcile()
        pods = serve(story)
        now = (story.share(), pods.get(1, 0), pods.get(2, 0))
        if not seen or seen[-1] != now:
            seen.append(now)
        if not wrote:
            story.pass_time(2)
    return seen


def test_a_release_has_no_pod_more_than_its_replicas_and_each_share_has_its_pods_before_it_is_set() -> None:
    story = begun()
    assert played(story) == [
        (0, 4, 0),
        (0, 3, 0),
        (0, 3, 1),
        (10, 3, 1),
        (10, 2, 1),
        (10, 2, 2),
        (50, 2, 2),
        (50, 1, 2),
        (50, 1, 3),
        (100, 1, 3),
        (0, 1, 3),  # promoted: r0002 is the incumbent
    ]
    assert story.wait(120) and serve(story) == {2: 4}
    assert story.lost == 0
    assert not story.has("Deployment", "shop-r0001") and not story.has("Deployment", "shop-r0002")
    assert not story.has("Service", "shop-r0001"), "it has drained"


def test_a_pod_changes_in_four_steps_and_the_next_one_only_then() -> None:
    story = begun(in_place(stage("finerank", {"setShare": 50}, {"setShare": 100})))
    story.until(lambda it: it.share() == 50)
    first, second = "shop-serving-0", "shop-serving-1"
    assert steps_of(story) == [
        f"release {first}",
        f"order r0002 {first}",
        f"label r0002 {first}",
        f"release {second}",
        f"order r0002 {second}",
        f"label r0002 {second}",
    ]


def test_a_pod_is_told_what_to_load_only_after_the_gateway_has_learnt_that_it_left() -> None:
    story = begun().until(lambda it: bool(steps_of(it)))
    at = story.now
    story.until(lambda it: len(steps_of(it)) == 2)
    assert story.now - at >= RELEASE_SECONDS


@pytest.mark.parametrize(
    ("replicas", "share", "pods"), [(2, 1, 1), (2, 100, 1), (4, 25, 1), (4, 26, 2), (4, 75, 3), (4, 100, 3), (8, 50, 4)]
)
def test_a_candidate_never_gets_the_incumbents_last_pod(replicas: int, share: int, pods: int) -> None:
    assert pods_for(in_place(**{"serving.replicas": replicas}).serving, share) == pods


def test_nothing_is_kept_of_what_was_replaced_because_there_is_no_second_set() -> None:
    story = begun(in_place(**{"serving.scaleDownDelay": "2h"}))
    assert story.cycle_ends() == "Promoted"
    assert story.wait(120) and serve(story) == {2: 4}
    assert story.status.replaced is None and not story.has("Service", "shop-r0001")


def test_two_pods_are_enough() -> None:
    story = begun(in_place(**{"serving.replicas": 2}))
    assert story.cycle_ends() == "Promoted"
    assert story.wait(120) and serve(story) == {2: 2}
    assert story.lost == 0


def first_of_all() -> Simulator:
    """The passthrough serves every stage."""
    story = passed(in_place())
    stages = [evolve(row, incumbent=None) for row in story.status.stages]
    story.status = evolve(story.status, stages=stages)
    return story


def test_the_first_candidate_of_all_has_all_pods() -> None:
    story = first_of_all()
    assert story.cycle_ends() == "Promoted"
    assert serve(story) == {2: 4}


def test_from_the_base_model_to_the_first_promotion() -> None:
    story = Simulator(in_place(bootstrap="BaseModel")).until(State.TRAINING)
    assert serve(story) == {0: 4} and story.status.serves == "r0000"
    assert story.cycle_ends() == "Promoted"
    assert story.wait(120) and serve(story) == {1: 4}
    assert story.lost == 0


def test_the_pool_goes_with_the_only_candidate_that_there_was() -> None:
    story = first_of_all().until(lambda it: it.share() == 50)
    story.behaviour.candidate_error_rate = 1.0
    assert story.cycle_ends() == "RolledBack"
    assert story.wait(10).has("Deployment", "shop-serving"), "it drains"
    story.wait(90)
    assert not any(story.has(kind, "shop-serving") for kind in ("Deployment", "PodDisruptionBudget"))
    assert not story.has("Service", "shop-r0002") and story.world().pool == []
    assert story.status.draining_since == 0


def test_gateways_that_never_say_accepted_are_waited_for_by_what_pods_answer() -> None:
    traffic = {"virtualService": {"hosts": ["rewrites"], "gateways": ["mesh"]}}
    story = begun(in_place(traffic=traffic)).until(lambda it: it.share() == 50)
    story.behaviour.candidate_error_rate = 1.0
    assert story.cycle_ends() == "RolledBack"
    assert story.wait(200) and serve(story) == {1: 4}
    assert story.lost == 0


@pytest.mark.parametrize("way", ["limit", "abort"])
def test_a_candidate_that_is_taken_back_gives_its_pods_back_at_once_and_all_together(way: str) -> None:
    story = begun().until(lambda it: it.share() == 100)
    assert serve(story) == {1: 1, 2: 3}
    written, at = len(story.writes), story.now
    if way == "abort":
        story.annotations[ABORT_ANNOTATION] = "2"
    else:
        story.behaviour.candidate_error_rate = 1.0
    story.until(lambda it: it.share() == 0)
    of_it = [write for write in story.writes[written:] if write.split()[0] in ("apply", "release", "order")]
    assert of_it[0] == "apply HTTPRoute shop-rewrites", "requests go first, and at once"
    back_at = story.now
    story.until(lambda it: any(write.startswith("order r0001") for write in it.writes[written:]), limit=120)
    assert story.now - back_at >= DRAIN_SECONDS, "what is under way may take its time"
    story.until(lambda it: serve(it) == {1: 4}, limit=300)
    took = story.now - at
    assert took < DRAIN_SECONDS + story.behaviour.load_seconds + 60
    back = [write for write in story.writes[written:] if "shop-serving-" in write]
    assert [write.split()[0] for write in back] == ["order"] * 3 + ["label"] * 3
    assert story.lost == 0 and story.status.serves == "r0001"
    assert story.wait(60) and not story.has("Service", "shop-r0002")


def test_pods_go_back_while_a_full_volume_keeps_the_cycle_from_ending() -> None:
    story = begun(record_ends=False).until(State.PROMOTING)
    story.settle()
    story.annotations[ABORT_ANNOTATION] = "2"
    story.until(lambda it: serve(it) == {1: 4}, limit=300)
    assert story.status.state is State.WITHDRAWING


def test_weights_that_cannot_be_loaded_end_the_cycle_and_the_pod_goes_back() -> None:
    story = begun(load_fails="r0002")
    assert story.cycle_ends() == "Failed"
    assert story.status.history[0].reason == "CandidateNotReady"
    assert story.wait(120) and serve(story) == {1: 4}
    assert story.lost == 0
    assert steps_of(story).count("release shop-serving-0") == 1 and "release shop-serving-1" not in steps_of(story)


def test_weights_that_cannot_be_loaded_later_take_the_candidate_back() -> None:
    story = begun().until(lambda it: it.share() == 10)
    story.behaviour.load_fails = "r0002"
    assert story.cycle_ends() == "RolledBack"
    assert story.status.history[0].reason == "CandidateNotReady"
    assert story.wait(120) and serve(story) == {1: 4}
    assert story.lost == 0


def stalled(story: Simulator) -> tuple[str, str, str]:
    """(status, reason, message)"""
    found = next(item for item in story.status.conditions if item.type == "Stalled")
    return found.status, found.reason, found.message


@pytest.mark.parametrize("how", ["loads", "silent"])
def test_a_pod_that_never_comes_back_is_named_in_the_cycle_after_it_and_in_the_next(how: str) -> None:
    pod = "shop-serving-0"
    story = begun(hanging=frozenset({pod}))
    if how == "silent":
        story.until(lambda it: bool(steps_of(it)))
        story.behaviour.silent_pods = frozenset({pod})
    does = "has been loading r0002 since 2025-" if how == "loads" else "tells no counters"
    story.until(lambda it: f"pod {pod} {does}" in it.status.message, limit=180)
    assert story.cycle_ends() == "Failed"
    assert (
        story.status.history[0].reason == "CandidateNotReady" and f"pod {pod} {does}" in story.status.history[0].message
    )
    story.settle()
    assert f"pod {pod} {does}" in story.status.message
    story.wait(1000)
    assert stalled(story)[:2] == ("True", "PodNotServing")
    does = "is still loading r0002" if how == "loads" else does
    assert f"pod {pod} does not serve r0001 within spec.serving.readyTimeout 15m: it {does}; see" in stalled(story)[2]
    assert story.status.serves == "r0001" and serve(story) == {1: 3} and story.lost == 0
    story.annotations[RUN_ANNOTATION] = "third"
    assert story.cycle_ends() == "Failed"
    assert f"pod {pod} {does}" in story.status.history[0].message
    story.behaviour.hanging = story.behaviour.silent_pods = frozenset()
    story.restart_pool_pod(pod)
    story.until(lambda it: serve(it) == {1: 4}, limit=300)
    assert stalled(story.settle())[0] == "False"


def test_a_pod_that_refuses_the_token_or_its_order_is_named_with_it() -> None:
    story = begun(load_seconds=3600).until(lambda it: len(steps_of(it)) == 2)
    story.pass_time(16 * 60)
    world = story.world()
    told = not_serving(replace(world, stats={}, unauthorised=frozenset({"shop-serving-0"})))
    assert "shop-serving-0" in told and "it refuses the agents' token (401)" in told
    stats = ServingStats("boot", "r0001", LoadState.READY, None, {}, "what this pod is to serve cannot be read")
    told = not_serving(replace(world, stats={"shop-serving-0": stats}))
    assert "it still serves r0001: what this pod is to serve cannot be read" in told


def test_an_order_says_how_long_it_may_load_where_that_is_no_default_and_no_pod_is_told_anew_for_it() -> None:
    story = begun(in_place(**{"serving.readyTimeout": "20m"})).until(lambda it: it.share() == 10)
    orders_of = {pod.cycle: ordered(pod.order) for pod in story.world().pool}
    assert [item and item.load_seconds for item in orders_of.values()] == [1200, 1200]
    before = steps_of(story)
    story.behaviour.requests_per_second = 0
    story.spec = in_place(**{"serving.readyTimeout": "25m"})
    assert steps_of(story.wait(120)) == before
    assert orders(story.world())[1].load_seconds == 1500
    assert story.status.cycle
    story.status = evolve(story.status, cycle=evolve(story.status.cycle, contract=LIMITS_LOADS - 1))
    assert orders(story.world())[1].load_seconds is None, "its pods are from before, and would refuse it"
    assert orders(begun().world())[1].load_seconds is None


def test_the_time_that_nobody_sets_is_the_same_on_both_sides() -> None:
    assert seconds(make_spec().serving.ready_timeout) == LOAD_SECONDS


def test_a_revision_is_brought_back_with_half_of_the_pods_and_then_has_all() -> None:
    story = all_serve(served(in_place()), 5)
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    story.until(lambda it: it.status.serves == "r0003", limit=600)
    assert serve(story) == {5: 2, 3: 2}
    story.until(lambda it: serve(it) == {3: 4}, limit=300)
    assert story.lost == 0


def test_a_revision_that_cannot_be_brought_back_leaves_the_incumbent_with_all() -> None:
    story = all_serve(served(in_place()), 5)
    story.behaviour.load_fails = "r0003"
    story.annotations[ROLLBACK_ANNOTATION] = "r0003"
    story.until(lambda it: it.status.state is State.RETURNING)
    story.until(State.IDLE).wait(120)
    assert story.status.serves == "r0005" and serve(story) == {5: 4}
    assert story.lost == 0


def test_a_pod_that_is_replaced_serves_what_lacks_one() -> None:
    steps = ({"setShare": 50}, {"pause": {"duration": "5m"}}, {"setShare": 100})
    story = begun(in_place(stage("finerank", *steps))).until(lambda it: it.share() == 50)
    gone = next(pod.name for pod in story.world().pool if pod.role is Role.SERVING and pod.cycle == 1)
    story.restart_pool_pod(gone)
    story.until(lambda it: serve(it) == {1: 2, 2: 2}, limit=120)
    assert story.cycle_ends() == "Promoted"


def test_a_pod_that_was_evicted_counts_no_more() -> None:
    """Its object stays until somebody collects it, which takes thousands of them."""
    steps = ({"setShare": 10}, {"pause": {"duration": "5m"}}, {"setShare": 100})
    story = begun(in_place(stage("finerank", *steps))).until(lambda it: it.share() == 10)
    gone = next(pod.name for pod in story.world().pool if pod.cycle == 1)
    story.evict_pool_pod(gone)
    story.until(lambda it: serve(it) == {1: 3, 2: 1}, limit=120)
    assert story.cycle_ends() == "Promoted"
    assert story.wait(120) and serve(story) == {2: 4}
    assert gone not in [write.split()[-1] for write in steps_of(story)[-12:]]
    assert story.lost == 0


def in_a_pause(share: int = 75, **changes: Any) -> tuple[Simulator, str]:
    """r0001 has one pod, whose name comes with it; r0002 has three."""
    steps = ({"setShare": share}, {"pause": {"duration": "1h"}}, {"setShare": 100}, {"pause": {"duration": "1m"}})
    story = begun(in_place(stage("finerank", *steps), **changes)).until(lambda it: it.status.stages[0].step == 1)
    story.wait(60)
    assert serve(story) == {1: 1, 2: 3}
    return story, next(pod.name for pod in story.world().pool if pod.cycle == 1)


def answer(story: Simulator, revision: int) -> int:
    """Pods that do."""
    world = story.world()
    return sum(world.answers_from_pool(pod) for pod in world.pool if pod.cycle == revision)


@pytest.mark.parametrize("share", [75, 100])
@pytest.mark.parametrize("way", ["drained", "node died", "hangs"])
def test_an_incumbent_whose_only_pod_is_gone_gets_one_of_the_candidates(share: int, way: str) -> None:
    story, only = in_a_pause(share, **{"serving.readyTimeout": "5m"})
    pod, gone_at = story.children[("Pod", only)], story.now
    assert isinstance(pod, Pod)
    if way == "drained":
        successor = story.drain(only)
    elif way == "node died":
        story.children[("Pod", only)] = replace(pod, ready=False)
        story.behaviour.silent_pods = frozenset({only})
        story.drained.add(1)
    else:
        story.drained.add(1)
        story.restart_pool_pod(only)
        story.behaviour.hanging = frozenset({f"{only}x"})
        story.wait(300)
        gone_at = story.now
    while answer(story, 1) == 0:
        assert story.now - gone_at < 120 and serve(story)[2] >= 2
        if not story.reconcile():
            story.pass_time(2)
    story.wait(60)
    assert (answer(story, 1), answer(story, 2)) == (1, 2), "and no other one goes for it"
    written = len(steps_of(story))
    assert steps_of(story.wait(60))[written:] == []
    if way == "drained":  # a node is found
        story.children[("Pod", successor)] = replace(story.world().pool[-1], phase="Running", ip="10.0.0.3")
    elif way == "node died":
        story.children[("Pod", only)] = pod
        story.behaviour.silent_pods = frozenset()
    else:
        story.behaviour.hanging = frozenset()
        story.restart_pool_pod(f"{only}x")
    story.until(lambda it: serve(it) == {1: 1, 2: 3}, limit=300)
    assert story.cycle_ends() == "Promoted"


def test_a_short_absence_of_the_only_pod_costs_nobody_a_load() -> None:
    story, only = in_a_pause()
    pod, written = story.children[("Pod", only)], len(steps_of(story))
    assert isinstance(pod, Pod)
    story.children[("Pod", only)] = replace(pod, ready=False)
    story.drained.add(1)
    story.settle().pass_time(3)
    story.settle()
    story.children[("Pod", only)] = pod
    story.wait(60)
    found = [write.split()[0] for write in steps_of(story)[written:]]
    assert found == ["release", "label"] and serve(story) == {1: 1, 2: 3}


def test_a_withdrawal_to_an_incumbent_without_a_pod_brings_one_before_the_candidate_has_drained() -> None:
    story, only = in_a_pause()
    written, at = len(story.writes), story.now
    story.drain(only)
    lent = [pod.name for pod in story.world().pool if pod.cycle == 2]
    story.annotations[ABORT_ANNOTATION] = "2"

    def told() -> list[str]:
        return [pod for pod in lent if f"order r0001 {pod}" in story.writes[written:]]

    while not told():
        assert story.now - at <= RELEASE_SECONDS + 5
        if not story.reconcile():
            story.pass_time(2)
    while story.now - at < DRAIN_SECONDS:
        assert len(told()) == 1, "the others may still have requests under way"
        if not story.reconcile():
            story.pass_time(2)
    story.until(lambda it: serve(it).get(1) == 1, limit=20)
    story.until(lambda it: serve(it) == {1: 3}, limit=120)


def test_no_other_pod_goes_while_one_does_not_answer() -> None:
    story = begun().until(lambda it: it.share() == 10)
    down = next(pod for pod in story.world().pool if pod.cycle == 1)
    story.children[("Pod", down.name)] = replace(down, ready=False)
    before = steps_of(story)
    story.wait(300)
    assert steps_of(story) == before
    assert story.status.state is State.ROLLING_OUT
    story.children[("Pod", down.name)] = replace(down, ready=True)
    assert story.cycle_ends() == "Promoted"


@pytest.mark.parametrize("label", [1, None])
def test_a_hand_that_changes_a_label_is_put_right(label: int | None) -> None:
    story = begun().until(lambda it: it.share() == 50)
    pod = next(pod for pod in story.world().pool if pod.cycle == 2)
    changed = replace(pod, cycle=1) if label else replace(pod, role=Role.POOL, cycle=0)
    story.children[("Pod", pod.name)] = changed
    wrong = next(write for write in _after(story) if "shop-serving-" in write)
    assert wrong == (f"release {pod.name}" if label else f"label r0002 {pod.name}")


def test_orders_that_cannot_be_read_after_an_upgrade_are_given_anew_pod_by_pod() -> None:
    steps = ({"setShare": 50}, {"pause": {"duration": "1h"}}, {"setShare": 100})
    story = begun(in_place(stage("finerank", *steps))).until(lambda it: it.share() == 50)
    for pod in story.world().pool:
        story.children[("Pod", pod.name)] = replace(pod, order=pod.order.replace("engine", "motor"))
    while len([write for write in steps_of(story) if write.startswith("order")]) < 2 + 4:
        if not story.reconcile():
            story.pass_time(2)
        assert sum(pod.role is Role.POOL for pod in story.world().pool) <= 1
    assert story.cycle_ends() == "Promoted"
    assert story.lost == 0


def _after(story: Simulator) -> list[str]:
    """What is written next, whatever the simulator finds wrong with the world that a hand made."""
    written = len(story.writes)
    for _ in range(4):
        world = story.world()
        story._write_one(world, plan(world))
    return story.writes[written:]


def test_what_a_revision_serves_with_changes_pod_by_pod() -> None:
    story = begun().until(lambda it: it.share() == 50)
    story.spec = in_place(**{"serving.requestTimeout": "7s"})
    assert story.cycle_ends() == "Promoted"
    story.wait(600)
    timeouts = {wire.loads(dict, pod.order)["serving"]["requestTimeoutSeconds"] for pod in story.world().pool}
    assert timeouts == {7.0}
    assert story.lost == 0


def test_the_last_pod_that_answers_is_not_taken_whatever_else_is_allowed() -> None:
    steps = ({"setShare": 50}, {"pause": {"duration": "1h"}}, {"setShare": 100})
    lax = {"serving.maxUnavailable": 3}
    story = begun(in_place(stage("finerank", *steps), **lax)).until(lambda it: it.share() == 50)
    story.wait(60)
    down, up = [pod.name for pod in story.world().pool if pod.cycle == 1]
    pod = story.children[("Pod", down)]
    assert isinstance(pod, Pod)
    story.children[("Pod", down)] = replace(pod, ready=False)
    story.spec = in_place(stage("finerank", *steps), **lax, **{"serving.requestTimeout": "7s"})
    story.until(lambda it: f"release {down}" in steps_of(it), limit=60)
    while f"label r0001 {down}" not in steps_of(story):
        assert f"release {up}" not in steps_of(story), "nobody else answers for r0001"
        if not story.reconcile():
            story.pass_time(2)
    story.until(lambda it: f"release {up}" in steps_of(it), limit=120)
    assert story.lost == 0


@pytest.mark.parametrize("kubelet", [1, 15])
def test_another_engine_of_the_same_revision_is_waited_for_until_the_pod_says_that_it_has_it(kubelet: int) -> None:
    """Until kubelet has written the order the pod is ready, with the revision and the weights that it is to have."""
    steps = ({"setShare": 50}, {"pause": {"duration": "10m"}}, {"setShare": 100})
    story = begun(in_place(stage("finerank", *steps)), kubelet_seconds=kubelet).until(lambda it: it.share() == 50)
    story.wait(30)
    story.spec = in_place(stage("finerank", *steps), **{"serving.tensorParallel": 2})
    before = len(steps_of(story))
    while len(steps_of(story)) < before + 4 * 3:
        if not story.reconcile():
            story.pass_time(1)
        assert sum(not story.world().answers_from_pool(pod) for pod in story.world().pool) <= 1
    assert story.cycle_ends() == "Promoted"
    assert story.lost == 0


@pytest.mark.parametrize(("counts_on", "outcome"), [(False, "Promoted"), (True, "RolledBack")])
def test_what_pods_that_are_told_the_same_revision_anew_have_ever_answered_is_not_counted_again(
    counts_on: bool, outcome: str
) -> None:
    """They are told at the end of a pause, and the next share counts from a moment in which one serves nobody."""
    steps = ({"setShare": 5}, {"pause": {"duration": "1m"}}, {"setShare": 25}, {"setShare": 100})
    story = begun(in_place(stage("finerank", *steps)), counts_on=counts_on)
    story._count("shop-r0001", "finerank", 400_000)  # of the months before
    story.until(lambda it: it.status.stages[0].step == 1)
    while story.now < story.status.stages[0].step_at + 55:
        story.pass_time(1)
        story.settle()
    story.spec = in_place(stage("finerank", *steps), **{"serving.requestTimeout": "7s"})
    assert story.cycle_ends() == outcome
    assert story.status.history[0].reason == ("NotVerified" if counts_on else "Promoted")
    assert story.lost == 0


def test_pods_from_before_they_told_their_orders_are_believed_as_before() -> None:
    story = begun(tells_orders=False)
    assert story.cycle_ends() == "Promoted"
    assert story.wait(120) and serve(story) == {2: 4}


def test_what_a_revision_serves_with_does_not_change_while_a_share_is_being_verified() -> None:
    story = begun().until(lambda it: it.share() == 50)
    story.behaviour.requests_per_second = 0
    before = len(steps_of(story))
    story.spec = in_place(**{"serving.requestTimeout": "7s"})
    story.wait(120)
    assert not story.status.stages[0].verified and len(steps_of(story)) == before
    story.behaviour.requests_per_second = 20
    assert story.cycle_ends() == "Promoted"


def test_no_pod_changes_while_a_share_is_being_verified() -> None:
    stages = [stage(name, {"setShare": 10}, {"setShare": 60}, {"setShare": 100}) for name in ("finerank", "recall")]
    story = begun(in_place(*stages))
    while not story.status.history:
        counting = any(row.share and not row.verified for row in story.status.stages)
        before = len(steps_of(story))
        if not story.reconcile():
            story.pass_time(2)
        assert not counting or not any(write.startswith("release") for write in steps_of(story)[before:])
    assert story.status.history[0].outcome == "Promoted"
    assert story.lost == 0


SHARES = some.lists(some.integers(1, 99), max_size=3, unique=True).map(lambda found: [*sorted(found), 100])


@examples(8)
@given(
    finerank=SHARES,
    recall=SHARES,
    waits=some.booleans(),
    replicas=some.integers(2, 6),
    lost=some.integers(0, 3),
    load=some.integers(1, 60),
    ends=some.integers(0, 400),
)
def test_whatever_the_steps_are_and_whenever_it_ends_nobody_is_left_without_an_answer(
    finerank: list[int], recall: list[int], waits: bool, replicas: int, lost: int, load: int, ends: int
) -> None:
    """The simulator checks after every write that whoever has requests has a pod that serves just that revision."""
    stages = [
        stage("finerank", *({"setShare": share} for share in finerank)),
        stage("recall", *({"setShare": share} for share in recall), depends_on=("finerank",) if waits else ()),
    ]
    spec = in_place(*stages, **{"serving.replicas": replicas, "rollout.verification": {"minRequests": 1}})
    story = begun(spec, load_seconds=load)
    began = story.now
    while not story.status.history and story.now - began < 7200:
        before = story.status
        wrote = story.reconcile()
        assert len(story.world().pool) == replicas
        assert sum(pod.role is Role.POOL for pod in story.world().pool) <= 1 or story.status.state is State.WITHDRAWING
        if story.status != before and lost:
            lost, story.lose_status_writes = lost - 1, 1
        if not wrote:
            story.pass_time(3)
        if ends > 200 and story.now - began > ends:
            story.annotations[ABORT_ANNOTATION] = "2"
    assert story.status.history
    story.wait(300)
    assert serve(story) == {2 if story.status.history[0].outcome == "Promoted" else 1: replicas}
    assert story.lost == 0


def test_a_restart_at_any_moment_goes_on_from_what_is_there() -> None:
    whole = begun()
    whole.cycle_ends()
    for moment in range(1, len(steps_of(whole)) + 1):
        story = begun().until(lambda it, moment=moment: len(steps_of(it)) >= moment)  # type: ignore[misc]
        again = Simulator(story.spec, story.status, story.behaviour, story.now)
        again.children, again.backends, again.data_plane = story.children, story.backends, story.data_plane
        again.servers, again.writes = story.servers, list(story.writes)
        assert again.cycle_ends() == "Promoted"
        assert steps_of(again)[: len(steps_of(whole))] == steps_of(whole)


def test_a_change_to_in_place_makes_the_pool_before_the_revisions_own_pods_go() -> None:
    spec = make_spec(**{"rollout.stages": [stage("finerank", *STEPS)], "serving.replicas": 4})
    story = served(spec).settle()
    story.spec = in_place()
    story.until(lambda it: not it.has("Deployment", "shop-r0005"), limit=300).settle()
    assert serve(story) == {5: 4} and story.has("Service", "shop-r0005")
    assert not story.has("PodDisruptionBudget", "shop-r0005") and story.has("PodDisruptionBudget", "shop-serving")
    assert story.lost == 0
    story.spec = spec
    story.until(lambda it: not it.has("Deployment", "shop-serving"), limit=300).settle()
    assert story.has("Deployment", "shop-r0005") and not story.has("PodDisruptionBudget", "shop-serving")
    assert story.lost == 0


NEWER = {"serving.image": "registry/other:2"}


def all_are_new(story: Simulator) -> bool:
    """Of the newest template, and one revision has them."""
    newest = made_of(story).body["spec"] == story.pool and not story._outdated()
    return newest and list(serve(story).values()) == [story.spec.serving.replicas]


def test_a_change_of_the_template_waits_until_one_revision_has_all_pods_again() -> None:
    story = begun().until(lambda it: it.share() == 50)
    written = len(story.writes)
    story.spec = in_place(**NEWER)
    assert story.cycle_ends() == "Promoted"
    story.until(lambda it: "apply Deployment shop-serving" in it.writes[written:], limit=600)
    assert serve(story) == {2: 3}, "the last one loads"
    story.until(all_are_new, limit=600)
    assert story.lost == 0


@pytest.mark.parametrize("kubelet", [0, 60])
@pytest.mark.parametrize("way", ["Promoted", "RolledBack"])
def test_a_change_of_the_template_after_a_cycle_takes_no_revisions_only_pod(way: str, kubelet: float) -> None:
    story = begun(in_place(**{"serving.replicas": 2}), kubelet_seconds=kubelet).until(lambda it: it.share() == 50)
    story.spec = in_place(**{"serving.replicas": 2}, **NEWER)
    story.behaviour.candidate_error_rate = 1.0 if way == "RolledBack" else 0.0
    assert story.cycle_ends() == way
    story.until(all_are_new, limit=1200)
    assert story.lost == 0


def at_rest(**changes: Any) -> Simulator:
    """Two pods serve r0005, and nothing happens."""
    story = all_serve(served(in_place(**{"serving.replicas": 2, **changes})), 5).settle()
    story.servers["shop-serving-1"].ready_at = story.now - 3600  # which is what its controller takes first
    return story


@pytest.mark.parametrize("changes", [NEWER, {"serving.requestTimeout": "20s"}], ids=["pods", "pods and orders"])
def test_a_change_at_rest_replaces_one_pod_after_the_other_and_takes_none_beside(changes: dict[str, Any]) -> None:
    story = at_rest()
    story.spec = in_place(**{"serving.replicas": 2}, **changes)
    story.until(all_are_new, limit=600)
    assert not [write for write in steps_of(story) if write.startswith("release")]
    assert story.lost == 0


def test_nothing_is_taken_while_the_controller_has_not_seen_the_newest_template() -> None:
    story = at_rest()
    story.spec = in_place(**{"serving.replicas": 2, "serving.requestTimeout": "20s"})
    story.settle()
    for _ in range(20):
        story.now += 2  # the controller of Deployments is away
        story.settle()
    assert steps_of(story) == []


def test_pods_that_are_replaced_while_a_cycle_trains_are_labelled_while_it_trains() -> None:
    story = at_rest()
    story.behaviour.trainer_finishes = False
    story.annotations[RUN_ANNOTATION] = "now"
    story.until(State.TRAINING)
    story.spec = in_place(**{"serving.replicas": 2}, **NEWER)
    story.until(all_are_new, limit=600)
    assert story.status.state is State.TRAINING
    assert story.lost == 0


def surge(**changes: Any) -> RewriterReleaseSpec:
    return make_spec(**{"rollout.stages": [stage("finerank", *STEPS)], "serving.replicas": 4, **changes})


def test_a_change_to_surge_without_room_leaves_the_incumbent_its_pods() -> None:
    """They would go to a candidate whose share waits for pods of its own."""
    story = begun().until(lambda it: it.share() == 10 and it.status.stages[0].verified)
    assert serve(story) == {1: 3, 2: 1}
    story.behaviour.serving_ready = False
    story.spec = surge()
    story.wait(300)
    assert story.status.state is State.ROLLING_OUT and serve(story) == {1: 3, 2: 1}
    gone = next(pod.name for pod in story.world().pool if pod.cycle == 1)
    story.restart_pool_pod(gone)
    story.until(lambda it: serve(it) == {1: 3, 2: 1}, limit=120)
    assert story.cycle_ends() == "RolledBack"
    story.until(lambda it: serve(it) == {1: 4}, limit=300)
    assert story.lost == 0


@pytest.mark.parametrize("lent", [0, 1])
def test_a_candidate_that_is_taken_back_after_a_change_to_in_place_keeps_its_own_pods_until_they_have_drained(
    lent: int,
) -> None:
    """However few of the pool serve it by then, perhaps none."""
    story = passed(surge()).until(lambda it: it.share() == 50)
    story.spec = in_place()
    if lent:
        story.until(lambda it: serve(it).get(2, 0) == lent, limit=300)
    else:
        story.settle()
    assert serve(story).get(2, 0) == lent and story.has("Deployment", "shop-r0002")
    story.behaviour.gateway_accepts = None
    story.annotations[ABORT_ANNOTATION] = "2"
    story.until(State.WITHDRAWING).wait(60)
    assert story.has("Deployment", "shop-r0002"), "nobody has said that no request reaches it"
    story.behaviour.gateway_accepts = True
    story.gateway_answers()
    story.until(State.IDLE)
    idle_at = story.now
    story.until(lambda it: not it.has("Deployment", "shop-r0002"), limit=300)
    assert story.now - idle_at >= DRAIN_SECONDS
    story.until(lambda it: serve(it) == {1: 4}, limit=300)
    assert story.lost == 0


def test_the_plan_says_with_how_many_pods() -> None:
    (found,) = planned(in_place(), make_cycle(in_place()), None).stages
    assert [step.pods for step in found.steps] == [1, 2, 3]
