"""spec.training.sync.method Restart: each weight set gets samplers of its own, which are asked for no other."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rewriter_contract.messages import EvidenceOrder, LoadState, SamplerState, SamplesOrder, WeightsOrder, WeightsRef
from rewriter_operator.api.states import State
from rewriter_operator.api.status import PhaseStep
from rewriter_operator.core.plan import plan
from rewriter_operator.core.replacing import LIMIT
from rewriter_operator.core.restarting import made_for_others
from rewriter_operator.core.world import Pod, Role
from tests.builders import make_spec, weights, weights_ref
from tests.core.simulator import Behaviour, Simulator

RESTART = {"training.sync": {"method": "Restart"}}
SAMPLER = "shop-c0001-sampler-0"
MADE, DELETED = f"apply Pod {SAMPLER}", f"delete Pod {SAMPLER}"


def restarting(behaviour: Behaviour | None = None, **changes: object) -> Simulator:
    """A release whose samplers are replaced."""
    return Simulator(make_spec(**RESTART, **changes), behaviour=behaviour)


def of_samplers(story: Simulator) -> list[str]:
    """Its writes that samplers have to do with, in order; sampler 0 only."""
    told = ("order /v1/weights", "order /v1/samples", "order /v1/evidence")
    return [write for write in story.writes if write in (MADE, DELETED) or write.startswith(told)]


def ordered(story: Simulator) -> Iterator[tuple[SamplerState, object]]:
    """Every order to a sampler up to the verdict, with the state of the sampler that gets it."""
    while story.status.state is not State.DEPLOYING:
        world, decision = story.world(), plan(story.world())
        before = len(story.writes)
        if not story.reconcile():
            story.pass_time(5)
        order = decision.order
        if order and order.role is Role.SAMPLER and story.writes[before:] == [f"order {order.path}"]:
            yield world.samplers[order.number], order.body


def test_each_weight_set_gets_pods_of_its_own_and_no_order_to_load_it() -> None:
    story = restarting()
    assert story.cycle_ends() == "Promoted"
    assert of_samplers(story) == [
        MADE,  # for the base
        "order /v1/samples/1/1/0",
        *(DELETED, MADE),  # for phase 1
        "order /v1/samples/1/2/0",
        *(DELETED, MADE),  # for phase 2, which is the candidate
        "order /v1/evidence/1/candidate/0",
        "order /v1/evidence/1/incumbent/0",  # of the passthrough, which has no weights
        DELETED,  # the gate is over
    ]


def test_reload_tells_the_same_pods_each_time() -> None:
    story = Simulator(make_spec())
    assert story.cycle_ends() == "Promoted"
    assert of_samplers(story) == [
        MADE,
        *("order /v1/weights", "order /v1/samples/1/1/0"),
        *("order /v1/weights", "order /v1/samples/1/2/0"),
        "order /v1/weights",
        *("order /v1/evidence/1/candidate/0", "order /v1/evidence/1/incumbent/0"),
        DELETED,
    ]


def test_the_incumbents_side_gets_pods_of_its_own_once_and_the_candidates_rows_are_read_from_the_volume() -> None:
    story = restarting()
    assert story.cycle_ends() == "Promoted"
    story.annotations["rewriter.dev/run"] = "again"
    before = len(of_samplers(story))
    assert story.until(lambda it: it.status.history[0].number == 2).status.history[0].outcome == "Promoted"
    gate = of_samplers(story)[before:]
    gate = gate[gate.index("order /v1/evidence/2/candidate/0") :] if "order /v1/evidence/2/candidate/0" in gate else []
    second = SAMPLER.replace("c0001", "c0002")
    assert gate == ["order /v1/evidence/2/candidate/0", "order /v1/evidence/2/incumbent/0"]
    writes = story.writes[story.writes.index("order /v1/evidence/2/candidate/0") :]
    assert [write for write in writes if second in write] == [
        *(f"delete Pod {second}", f"apply Pod {second}"),
        f"delete Pod {second}",
    ]


def test_the_gate_goes_back_to_a_side_only_when_its_rows_are_gone_not_while_samplers_are() -> None:
    story = restarting().until(lambda it: bool(it.status.cycle and it.status.cycle.gate_side == "incumbent"))
    story.until(lambda it: "incumbent" in it.world().evidence)
    world = story.world()
    assert set(world.evidence) == {"candidate", "incumbent"}
    nobody_there = replace(world, evidence={}, samplers={}, works={}, unknown_works=frozenset())
    rows_are_gone = replace(world, evidence={"incumbent": world.evidence["incumbent"]})
    for seen, side in ((nobody_there, "incumbent"), (rows_are_gone, "candidate")):
        cycle = plan(seen).status.cycle
        assert cycle and cycle.gate_side == side


def test_no_sampler_is_asked_for_other_weights_than_it_runs() -> None:
    story, asked = restarting(**{"training.samplers": {"replicas": 2}}), 0
    for state, order in ordered(story):
        assert not isinstance(order, WeightsOrder)
        if isinstance(order, SamplesOrder | EvidenceOrder) and order.weights is not None:
            assert (state.state, state.weights) == (LoadState.READY, order.weights)
            asked += 1
    assert asked == 2 * 2 + 2


def test_what_a_pod_is_made_for_stands_in_its_template() -> None:
    story = restarting().until(lambda it: it.has("Pod", SAMPLER))
    pod = story.children[("Pod", SAMPLER)]
    assert isinstance(pod, Pod) and story.status.cycle and story.status.cycle.start
    assert pod.made_for == WeightsRef(story.status.cycle.start.version, story.status.cycle.start.digest)


def test_a_sampler_that_is_evicted_comes_back_with_the_weights_of_the_phase() -> None:
    story = restarting().until(lambda it: "order /v1/samples/1/2/0" in it.writes)
    assert story.status.cycle and story.status.cycle.phase
    wanted = story.status.cycle.phase.weights
    del story.children[("Pod", SAMPLER)]
    story.until(lambda it: it.has("Pod", SAMPLER))
    assert story.samplers[0].weights == WeightsRef(wanted.version, wanted.digest)
    story.until(State.DEPLOYING)


def test_a_container_that_restarts_needs_no_order() -> None:
    story = restarting().until(lambda it: "order /v1/samples/1/2/0" in it.writes)
    story.restart_sampler()
    assert story.samplers[0].state is LoadState.READY
    story.until(State.DEPLOYING)
    assert "order /v1/weights" not in story.writes


def test_status_says_what_is_wanted_before_any_pod_goes() -> None:
    story = restarting().until(lambda it: DELETED in it.writes)
    first = story.writes.index(DELETED)
    assert story.writes[first - 1].startswith("status")
    assert story.status.cycle and story.status.cycle.phase
    assert (story.status.cycle.phase.step, story.status.cycle.phase.number) == (PhaseStep.SYNCING, 2)
    assert "samplers are replaced, to come up with r0001-p01" in story.status.message


def test_a_crash_between_removing_a_pod_and_making_it_anew_goes_on_at_the_same_step() -> None:
    story = restarting().until(lambda it: DELETED in it.writes)
    again = restarting()  # another process, which knows only what is written
    again.__dict__.update({**story.__dict__, "rendered_for": None, "rendered": []})
    assert not again.has("Pod", SAMPLER)
    before = len(again.writes)
    again.until(lambda it: it.has("Pod", SAMPLER))
    assert set(again.writes[before:]) == {"status Training", MADE}
    assert again.samplers[0].weights == weights_ref("r0001-p01")
    again.until(State.DEPLOYING)


@pytest.mark.parametrize("lost", (2, 4, 5, 7))
def test_a_status_write_that_is_lost_costs_nothing_but_itself(lost: int) -> None:
    story = restarting()
    story.until(lambda it: sum(write.startswith("status") for write in it.writes) >= 3 * lost)
    story.lose_status_writes = 1
    story.until(State.DEPLOYING)
    assert story.writes.count(MADE) == 3


def test_a_pod_that_takes_its_time_to_go_is_waited_for() -> None:
    story = restarting(Behaviour(trainer_finishes=False)).until(lambda it: "order /v1/phases/1/1" in it.writes)
    key = ("Pod", SAMPLER)
    story.children[key] = replace(story.children[key], deleting=True)
    story.behaviour.trainer_finishes = True
    story.works.clear()
    made = story.writes.count(MADE)
    story.wait(60)
    assert story.writes.count(MADE) == made and DELETED not in story.writes
    story.pods_are_gone()
    story.until(State.DEPLOYING)


def test_a_sampler_that_does_not_come_up_is_replaced_three_times_and_then_the_cycle_fails_with_its_words() -> None:
    story = restarting(Behaviour(start_fails="weight set r0001-p01: canary log-probabilities differ by 0.3 > 0.05"))
    assert story.cycle_ends() == "Failed"
    record = story.status.history[0]
    assert record.reason == "SyncFailed"
    assert "canary log-probabilities differ by 0.3 > 0.05; 3 pods were replaced before" in record.message
    assert [note.reason for note in story.notes].count("PodReplaced") == LIMIT
    assert story.writes.count(MADE) == 1 + LIMIT
    assert "order /v1/weights" not in story.writes, "a process that failed may hold anything"


def test_a_sampler_that_comes_up_at_the_second_try_is_enough() -> None:
    story = restarting(Behaviour(start_fails="Stale file handle")).until(
        lambda it: "PodReplaced" in [note.reason for note in it.notes]
    )
    assert story.condition("WeightsSynced") == ("False", "SyncFailed")
    story.behaviour.start_fails = ""
    story.until(State.DEPLOYING)


def test_a_sampler_whose_image_knows_no_restart_is_told_like_before() -> None:
    """It came up empty: to fill an empty engine is no reload."""
    story = restarting().until(lambda it: it.has("Pod", SAMPLER))
    story.samplers[0] = SamplerState("boot", LoadState.EMPTY, None)
    story.until(State.DEPLOYING)
    assert story.writes.count("order /v1/weights") == 1


def test_pods_of_a_changed_mind_are_replaced_whatever_they_run() -> None:
    """A release that changed from Reload: its samplers were made for nothing."""
    story = Simulator(make_spec()).until(State.GATING)
    world = replace(story.world(), release=replace(story.world().release, spec=make_spec(**RESTART)))
    (removal,) = made_for_others(world, weights())
    assert (removal.name, removal.uid) == (SAMPLER, story.children[("Pod", SAMPLER)].uid)


def test_a_running_cycle_keeps_the_method_that_it_began_with() -> None:
    story = Simulator(make_spec(onChange="Queue")).until(lambda it: "order /v1/samples/1/1/0" in it.writes)
    story.spec = make_spec(onChange="Queue", **RESTART)
    story.until(State.DEPLOYING)
    assert story.writes.count(MADE) == 1
    assert story.writes.count("order /v1/weights") == 3


def test_the_method_alone_starts_no_cycle_and_the_next_one_goes_by_it() -> None:
    story = Simulator(make_spec())
    assert story.cycle_ends() == "Promoted"
    story.spec = make_spec(**RESTART)
    story.wait(120)
    assert story.status.state is State.IDLE
    assert "ChangeNoted" in [note.reason for note in story.notes]


def test_a_reload_that_is_refused_names_the_other_way() -> None:
    story = Simulator(make_spec()).until(lambda it: "order /v1/samples/1/1/0" in it.writes)
    ready = story.samplers[0]
    story.until(lambda it: bool(it.status.cycle and it.status.cycle.phase and it.status.cycle.phase.number == 2))
    story.samplers[0] = replace(ready, state=LoadState.FAILED, message="reloading r0001-p01: not supported")
    while not story.status.history:
        story.pass_time(20)
        story.reconcile()
        story.samplers[0] = replace(ready, state=LoadState.FAILED, message="reloading r0001-p01: not supported")
    assert story.status.history[0].reason == "SyncFailed"
    assert "not supported; where the files are good, spec.training.sync.method: Restart" in (
        story.status.history[0].message
    )
