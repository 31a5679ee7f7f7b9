"""Trainer and sampler pods that stop: replaced, at most three times in a phase, and never because the node is busy."""

from dataclasses import replace

import pytest

from rewriter_contract.messages import LoadState, WorkReport, WorkState
from rewriter_operator.api.states import State
from rewriter_operator.core.plan import plan
from rewriter_operator.core.replacing import LIMIT
from tests.builders import make_spec, weights_ref
from tests.core.simulator import Behaviour, Simulator

TRAINER, SAMPLER = "shop-c0001-trainer-0", "shop-c0001-sampler-0"
PHASE, SAMPLES = "/v1/phases/1/1", "/v1/samples/1/1/0"


def in_training() -> Simulator:
    """The trainer works on phase 1 and never ends."""
    return Simulator(make_spec(), behaviour=Behaviour(trainer_finishes=False)).until(
        lambda it: f"order {PHASE}" in it.writes
    )


def in_sampling(state: WorkState = WorkState.RUNNING) -> Simulator:
    """The sampler's work for phase 1 stays in `state`."""
    return Simulator(make_spec(), behaviour=Behaviour(samples=state)).until(lambda it: f"order {SAMPLES}" in it.writes)


def replaced(story: Simulator, pod: str) -> int:
    """How often it was given up."""
    return sum(note.reason == "PodReplaced" and note.message.startswith(pod) for note in story.notes)


def test_a_trainer_that_hangs_is_replaced_three_times_and_then_the_cycle_fails() -> None:
    story = in_training()
    assert story.cycle_ends() == "Failed"
    assert replaced(story, TRAINER) == LIMIT
    assert story.status.history[0].reason == "PodsStalled"
    assert f"{TRAINER} works without a sign of progress" in story.status.history[0].message
    assert "3 pods were replaced before" in story.status.history[0].message


def test_a_trainer_that_beats_is_left_alone_however_long_it_takes() -> None:
    story = in_training()
    for _ in range(30):
        story.works[PHASE] = replace(story.works[PHASE], heartbeat_at=story.now)
        story.wait(60)
    assert replaced(story, TRAINER) == 0


def test_a_heartbeat_from_the_future_is_no_heartbeat() -> None:
    story = in_training()
    story.works[PHASE] = replace(story.works[PHASE], heartbeat_at=story.now + 10**9)
    story.wait(1000)
    assert replaced(story, TRAINER) == 1


def test_replacements_are_counted_anew_in_the_next_phase() -> None:
    story = in_training()
    story.until(lambda it: replaced(it, TRAINER) == 2)
    story.behaviour.trainer_finishes = True
    story.until(lambda it: bool(it.status.cycle and it.status.cycle.phases))
    assert story.status.cycle and story.status.cycle.stalls.replaced == []
    assert story.cycle_ends() == "Promoted"


@pytest.mark.parametrize(
    "odd", [WorkReport(WorkState.CANCELLED), WorkReport(WorkState.DONE)], ids=["cancelled", "done"]
)
def test_a_trainer_that_ends_without_a_result_is_replaced_at_once(odd: WorkReport) -> None:
    story = in_training()
    story.works[PHASE] = odd
    story.behaviour.trainer_finishes = True
    story.settle()
    assert replaced(story, TRAINER) == 1
    assert story.cycle_ends() == "Promoted"


@pytest.mark.parametrize("state", [WorkState.RUNNING, WorkState.CANCELLED])
def test_a_sampler_that_stalls_is_replaced_and_told_again(state: WorkState) -> None:
    story = in_sampling(state)
    story.until(lambda it: replaced(it, SAMPLER) == 1)
    story.behaviour.samples = WorkState.DONE
    assert story.cycle_ends() == "Promoted"


def test_a_sampler_that_stalls_for_ever_fails_the_cycle() -> None:
    story = in_sampling()
    assert story.cycle_ends() == "Failed"
    assert (replaced(story, SAMPLER), story.status.history[0].reason) == (LIMIT, "PodsStalled")


def test_a_sampler_that_loads_for_ever_is_replaced() -> None:
    story = Simulator(make_spec()).until(lambda it: it.has("Pod", SAMPLER))
    story.samplers[0] = replace(story.samplers[0], state=LoadState.LOADING, weights=weights_ref("other"))
    story.wait(1000)
    assert replaced(story, SAMPLER) == 1


def test_a_sampler_that_does_not_answer_is_replaced() -> None:
    story = Simulator(make_spec()).until(lambda it: it.has("Pod", SAMPLER))
    story.samplers.clear()
    story.wait(600)
    assert replaced(story, SAMPLER) == 0
    story.wait(400)
    assert replaced(story, SAMPLER) == 1
    assert "does not answer for over spec.training.stallTimeout 15m" in " ".join(note.message for note in story.notes)


def test_a_pod_that_waits_for_a_node_is_not_replaced() -> None:
    story = Simulator(make_spec()).until(lambda it: it.has("Pod", SAMPLER))
    story.samplers.clear()
    pod = story.children[("Pod", SAMPLER)]
    story.children[("Pod", SAMPLER)] = replace(pod, phase="Pending", message="Unschedulable: no GPU")  # type: ignore[call-arg]
    story.wait(3000)
    assert replaced(story, SAMPLER) == 0
    assert "Unschedulable: no GPU" in story.status.message


def test_a_sampler_that_hangs_over_evidence_is_replaced() -> None:
    story = Simulator(make_spec()).until(State.GATING)
    path = "/v1/evidence/1/candidate/0"
    story.until(lambda it: path in it.works)
    story.works[path] = WorkReport(WorkState.RUNNING, 1, 8, heartbeat_at=story.now)
    story.wait(1000)
    assert replaced(story, SAMPLER) == 1
    assert story.cycle_ends() == "Promoted"


def test_a_crash_between_giving_a_pod_up_and_deleting_it_neither_forgets_nor_repeats() -> None:
    story = in_training().until(lambda it: "PodReplaced" in [note.reason for note in it.notes])
    assert story.writes.count(f"delete Pod {TRAINER}") == 0, "status first"
    (removal,) = plan(story.world()).replace
    assert removal.name == TRAINER
    story.reconcile()
    assert story.writes.count(f"delete Pod {TRAINER}") == 1
    assert story.status.cycle and len(story.status.cycle.stalls.replaced) == 1


def test_a_node_that_refuses_its_pods_is_not_asked_every_second() -> None:
    story = in_training()
    for _ in range(60):
        if story.has("Pod", TRAINER):
            story.kill(TRAINER)
        story.pass_time(1)
        story.settle()
    assert story.writes.count(f"delete Pod {TRAINER}") <= 5
