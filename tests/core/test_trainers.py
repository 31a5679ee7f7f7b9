"""Several trainer pods that train together: who is told when, who is waited for, and what ends a phase."""

from dataclasses import replace

import pytest

from rewriter_contract.messages import PEER_LOST, WorkReport, WorkState
from rewriter_operator.core.replacing import LIMIT
from rewriter_operator.core.world import Pod
from tests.builders import make_spec
from tests.core.simulator import Behaviour, Simulator

PODS = [f"shop-c0001-trainer-{number}" for number in range(3)]
CALLS = [f"/v1/phases/1/1/{number}" for number in range(3)]
SERVICE = ("Service", "shop-trainer")
LOST = WorkReport(WorkState.FAILED, message="connection closed by peer", reason=PEER_LOST)


def training(pods: int = 3) -> Simulator:
    """Phase 1 is trained by so many pods, which all have been told, and never end."""
    spec = make_spec(**{"training.trainer.replicas": pods})
    story = Simulator(spec, behaviour=Behaviour(trainer_finishes=False))
    return story.until(lambda it: all(f"order {call}" in it.writes for call in CALLS[:pods]))


def told(story: Simulator) -> list[int]:
    """Numbers of the pods that were given phase 1, in order."""
    calls = [write.removeprefix("order ") for write in story.writes]
    return [CALLS.index(call) for call in calls if call in CALLS]


def replaced(story: Simulator) -> list[str]:
    return [note.message.split()[0] for note in story.notes if note.reason == "PodReplaced"]


def beat(story: Simulator, number: int) -> None:
    story.works[CALLS[number]] = replace(story.works[CALLS[number]], heartbeat_at=story.now)


def test_each_pod_is_given_the_order_and_the_phase_ends_with_the_one_that_names_weights() -> None:
    story = training()
    assert told(story) == [0, 1, 2] and SERVICE in story.children
    assert {("Pod", name) for name in PODS} <= story.children.keys()
    story.behaviour.trainer_finishes = True
    story.works = {CALLS[0]: WorkReport(WorkState.RUNNING, 5, 9), CALLS[1]: WorkReport(WorkState.DONE)}
    assert story.cycle_ends() == "Promoted"
    assert SERVICE not in story.children, "it goes with the pods, and waits for no request"


def test_one_trainer_has_neither_a_service_nor_a_number_in_its_call() -> None:
    story = Simulator(make_spec())
    assert story.cycle_ends() == "Promoted"
    assert "order /v1/phases/1/1" in story.writes and not any("shop-trainer" in write for write in story.writes)


def test_nobody_is_told_before_all_answer() -> None:
    spec = make_spec(**{"training.trainer.replicas": 2})
    story = Simulator(spec).until(lambda it: it.has("Pod", PODS[1]))
    pod = story.children[("Pod", PODS[1])]
    assert isinstance(pod, Pod)
    waits = replace(pod, phase="Pending", ip="", message="Unschedulable: 0/3 nodes have a GPU")
    story.children[("Pod", PODS[1])] = waits
    story.wait(1200)
    assert (told(story), replaced(story)) == ([], [])
    assert story.status.message == "waiting for trainer 1: Unschedulable: 0/3 nodes have a GPU"
    story.children[("Pod", PODS[1])] = pod
    assert story.cycle_ends() == "Promoted"


def test_a_pod_that_comes_back_is_told_again_and_the_others_are_not() -> None:
    story = training()
    story.kill(PODS[1])
    story.wait(60)
    assert told(story) == [0, 1, 2, 1]


def test_those_that_lost_pod_0_are_told_again_before_it() -> None:
    story = training()
    story.kill(PODS[0])
    story.works |= {CALLS[1]: LOST, CALLS[2]: LOST}
    story.wait(60)
    assert told(story) == [0, 1, 2, 1, 2, 0]
    assert story.status.cycle is not None


def test_a_loss_that_no_pods_absence_explains_ends_the_cycle_in_the_words_of_the_first() -> None:
    story = training()
    first = replace(LOST, message="no route to shop-c0001-trainer-0", heartbeat_at=story.now)
    story.works |= {CALLS[1]: replace(LOST, heartbeat_at=story.now + 1), CALLS[2]: first}
    assert story.cycle_ends() == "Failed"
    found = story.status.history[0]
    assert (found.reason, found.message) == ("TrainingFailed", "phase 1: no route to shop-c0001-trainer-0")


def test_a_pods_own_failure_ends_the_cycle_whatever_the_others_lost() -> None:
    story = training()
    cause = WorkReport(WorkState.FAILED, message="loss not finite at step 3", heartbeat_at=story.now + 5)
    story.works |= {CALLS[0]: replace(LOST, heartbeat_at=story.now), CALLS[2]: cause}
    del story.works[CALLS[1]]
    assert story.cycle_ends() == "Failed"
    assert "loss not finite at step 3" in story.status.history[0].message


def test_the_signs_of_progress_of_one_count_for_all() -> None:
    story = training()
    for _ in range(30):
        beat(story, 0)
        story.wait(60)
    assert replaced(story) == []


def test_pods_that_all_stop_are_replaced_one_by_one_and_then_the_cycle_fails() -> None:
    story = training()
    assert story.cycle_ends() == "Failed"
    assert len(replaced(story)) == LIMIT and story.status.history[0].reason == "PodsStalled"


@pytest.mark.parametrize("done", [(0,), (1,), (1, 2)])
def test_a_pod_that_is_done_before_the_others_is_left_alone(done: tuple[int, ...]) -> None:
    story = training()
    story.works |= {CALLS[number]: WorkReport(WorkState.DONE, heartbeat_at=story.now) for number in done}
    for _ in range(5):
        for number in set(range(3)) - set(done):
            beat(story, number)
        story.wait(60)
    assert replaced(story) == []


def test_pods_that_are_all_done_and_name_no_weights_are_replaced() -> None:
    story = training()
    story.works |= {call: WorkReport(WorkState.DONE, heartbeat_at=story.now) for call in CALLS}
    story.behaviour.trainer_finishes = True
    story.until(lambda it: bool(replaced(it)))
    assert story.cycle_ends() == "Promoted"


def test_progress_is_told_by_the_pod_that_knows_it() -> None:
    story = training()
    story.works[CALLS[1]] = WorkReport(WorkState.RUNNING, 12, 96, heartbeat_at=story.now)
    story.wait(20)
    assert story.status.message == "phase 1 of 2: trained 12 of 96"
