"""Pods that do not start and pods that do not go: the stable revision serves on, and a person reads which and why."""

from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import RUN_ANNOTATION
from rewriter_operator.core.held_up import GOING_SECONDS, STARTING_SECONDS
from rewriter_operator.core.world import Deployment, Pod, Role
from tests.builders import make_spec, make_status, serving, stage_status
from tests.core.simulator import Behaviour, Simulator
from tests.core.test_promotion import promoting
from tests.core.test_rollout import passed

PULL = 'ImagePullBackOff: Back-off pulling image "registry.test/trainer:1"'
NO_GPU = "Unschedulable: 0/12 nodes are available: 12 Insufficient nvidia.com/gpu."


def stalled(story: Simulator) -> tuple[str, str, str]:
    """(status, reason, message)"""
    found = next(item for item in story.status.conditions if item.type == "Stalled")
    return found.status, found.reason, found.message


def change(story: Simulator, name: str, **values: Any) -> None:
    """What the cluster says of a pod from now on."""
    story.children[("Pod", name)] = replace(story.children[("Pod", name)], **values)


def in_second_cycle(state: State, **behaviour: Any) -> Simulator:
    """r0001 serves; cycle 2 is in `state`."""
    spec = make_spec(**{"training.phaseDeadline": "10m"})
    status = make_status(spec, stages=[stage_status(incumbent=serving(1))], last_cycle_number=1)
    story = Simulator(spec, status, Behaviour(**behaviour)).settle()
    story.annotations[RUN_ANNOTATION] = "second"
    return story.until(state)


@pytest.mark.parametrize("words", [PULL, NO_GPU], ids=["image", "unschedulable"])
@pytest.mark.parametrize("pod", ["shop-c0002-trainer-0", "shop-c0002-sampler-0"])
def test_a_pod_that_cannot_start_is_told_in_its_own_words_within_a_minute(pod: str, words: str) -> None:
    story = in_second_cycle(State.TRAINING).until(lambda it: it.has("Pod", pod))
    change(story, pod, phase="Pending", ready=False, ip="", message=words, created_at=story.now)
    story.settle().pass_time(STARTING_SECONDS - 5)
    story.settle()
    assert stalled(story)[0] == "False", "a slow pull, or a node that is being made, is nobody's business"
    story.pass_time(10)
    story.settle()
    status, reason, message = stalled(story)
    assert (status, reason) == ("True", "PodNotStarting")
    assert message == f"pod {pod} does not start: {words}; see `kubectl describe pod {pod}`"
    assert story.status.serves == "r0001" and story.condition("Ready") == ("True", "Serving")
    change(story, pod, phase="Running", ready=True, ip="10.0.0.1", message="")
    assert story.cycle_ends() == "Promoted"
    assert stalled(story.settle())[0] == "False"


def test_a_pod_that_never_starts_ends_its_cycle_at_the_deadline_and_is_gone_then() -> None:
    pod = "shop-c0002-trainer-0"
    story = in_second_cycle(State.TRAINING).until(lambda it: it.has("Pod", pod))
    change(story, pod, phase="Pending", ready=False, ip="", message=PULL)
    assert story.cycle_ends(limit=900) == "Failed"
    assert story.status.history[0].reason == "PhaseDeadlineExceeded"
    story.settle()
    assert not story.has("Pod", pod) and stalled(story)[0] == "False"
    assert story.status.serves == "r0001"


def test_a_prepare_pod_that_cannot_start_is_told_although_no_deadline_ends_its_wait() -> None:
    story = Simulator(make_spec())
    story.until(lambda it: it.has("Pod", "shop-c0000-prepare-1"))
    change(story, "shop-c0000-prepare-1", phase="Pending", message=PULL)
    story.pass_time(STARTING_SECONDS + 1)
    story.settle()
    assert stalled(story)[:2] == ("True", "PodNotStarting")
    assert PULL in story.status.message


def test_candidate_pods_that_cannot_be_made_are_told_and_named_in_the_outcome() -> None:
    quota = 'FailedCreate: pods "shop-r0002-x" is forbidden: exceeded quota: gpus, requested: nvidia.com/gpu=1'
    story = passed(serving_ready=False)
    story.until(lambda it: it.has("Deployment", "shop-r0002"))
    child = story.children[("Deployment", "shop-r0002")]
    assert isinstance(child, Deployment)
    story.children[("Deployment", "shop-r0002")] = replace(child, message=quota)
    story.settle()
    assert stalled(story) == ("True", "PodNotStarting", f"Deployment shop-r0002 gets no pods: {quota}")
    assert story.status.message == f"candidate pods: 0 of 1 ready: {quota}"
    assert story.cycle_ends() == "Failed"
    assert story.status.history[0].reason == "CandidateNotReady"
    assert quota in story.status.history[0].message
    assert story.wait(60).status.serves == "r0001"


def node_is_gone(story: Simulator, name: str) -> None:
    """Kubernetes has deleted the pod, and no kubelet says that it has ended."""
    change(story, name, deleting=True, ready=False, gone_by=story.now + 30)
    child = story.children[("Pod", name)]
    assert isinstance(child, Pod)
    if child.role is Role.SAMPLER:
        story.samplers.pop(child.number, None)
    story.works = {path: work for path, work in story.works.items() if not path.startswith("/v1/phases")}


@pytest.mark.parametrize("pod", ["shop-c0002-trainer-0", "shop-c0002-sampler-0"])
def test_no_second_writer_is_made_while_the_pod_of_a_lost_node_may_still_write(pod: str) -> None:
    story = in_second_cycle(State.TRAINING, trainer_finishes=False)
    story.until(lambda it: "order /v1/phases/2/1" in it.writes)
    node_is_gone(story, pod)
    written = len(story.writes)
    story.wait(30 + GOING_SECONDS - 10)
    assert stalled(story)[0] == "False"
    story.wait(20)
    status, reason, message = stalled(story)
    assert (status, reason) == ("True", "PodNotGone")
    assert message.startswith(f"pod {pod} was deleted and should have ended by 2025-11-2")
    assert f"`kubectl delete pod {pod} --force`" in message
    assert f"apply Pod {pod}" not in story.writes[written:]
    story.behaviour.trainer_finishes = True
    story.pods_are_gone()
    story.works.clear()
    assert story.cycle_ends() == "Promoted"
    assert f"apply Pod {pod}" in story.writes[written:]
    assert stalled(story.settle())[0] == "False"


def test_a_record_pod_on_a_lost_node_holds_up_the_promotion_and_says_so() -> None:
    story = promoting()
    (name,) = [child.name for child in story.children.values() if child.role is Role.RECORD]
    node_is_gone(story, name)
    story.wait(120)
    assert story.status.state is State.PROMOTING
    assert stalled(story)[:2] == ("True", "PodNotGone") and name in stalled(story)[2]
    story.behaviour.record_ends = True
    story.pods_are_gone()
    assert story.cycle_ends() == "Promoted"


def test_serving_pods_of_a_lost_node_hold_up_nothing() -> None:
    story = passed().until(State.ROLLING_OUT)
    lost: dict[str, Any] = {"name": "shop-r0001-lost", "deleting": True, "gone_by": story.now}
    story.children[("Pod", lost["name"])] = replace(story.children[("Pod", "shop-r0001-0")], **lost)
    assert story.cycle_ends() == "Promoted"
    assert stalled(story)[0] == "False"
