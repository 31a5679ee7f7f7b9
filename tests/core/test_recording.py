"""promoted.json that cannot be written: tried on, ever more rarely, and told; each attempt has a higher order."""

import json
from itertools import pairwise

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import RecordResult
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RecordWriting
from rewriter_operator.core import recording
from rewriter_operator.core.plan import plan
from rewriter_operator.core.reported import record_result
from rewriter_operator.core.world import Pod, Role
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, NOW, make_cycle, make_spec, make_status, make_world, serving
from tests.core.simulator import Simulator
from tests.core.test_promotion import promoting


def failing() -> Simulator:
    """Attempt after attempt to record r0002 fails."""
    story = promoting()
    story.behaviour.record_ends, story.behaviour.record_succeeds = True, False
    story.kill("shop-c0002-record-1")
    return story


def failures(story: Simulator) -> int:
    return story.status.record.failures if story.status.record else 0


def test_three_failed_attempts_are_told_with_reason_and_remedy_and_forgotten_once_one_succeeds() -> None:
    story = failing()
    stalled = {}
    for count in range(1, 6):
        story.until(lambda it, count=count: failures(it) == count)  # type: ignore[misc]
        stalled[count] = story.condition("Stalled")
    assert stalled[2] == ("False", "Accepted")
    assert stalled[3] == ("True", "RecordFailed")
    message = next(item.message for item in story.status.conditions if item.type == "Stalled")
    assert "5 times: no space left" in message and "spec.volume.claimName 'rewriter'" in message
    assert [note.reason for note in story.notes].count("RecordFailed") == 1
    story.behaviour.record_succeeds = True
    assert story.cycle_ends() == "Promoted"
    story.settle()
    assert story.condition("Stalled") == ("False", "Accepted")
    assert story.status.record is not None and (story.status.record.failures, story.status.record.reason) == (0, "")


def test_attempts_go_on_at_growing_distances() -> None:
    story, begun = failing(), list[float]()
    for count in range(1, 8):
        story.until(lambda it, count=count: failures(it) == count)  # type: ignore[misc]
        begun.append(story.now)
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert gaps == sorted(gaps) and gaps[-1] >= 2 * gaps[0]


def orders(story: Simulator) -> list[int]:
    """Orders of the record pods, as the story goes on for a while."""
    found: list[int] = []
    for _ in range(60):
        if not story.reconcile():
            story.pass_time(5)
        order = story.status.record.order if story.status.record else 0
        if found[-1:] != [order]:
            found.append(order)
    return found


def test_every_attempt_has_a_higher_order_not_below_the_time_and_a_clock_that_goes_back_changes_nothing() -> None:
    story = failing()
    first = orders(story)
    story.now -= 3600
    assert story.status.cycle is not None
    second = orders(story.wait(3600))
    assert len(first) > 2 and first[0] >= NOW
    assert first + second[1:] == sorted({*first, *second})


def record_pod(message: str, order: int = 5) -> tuple[int, dict[str, str]]:
    """Order and environment of the pod after one that ended with `message`."""
    spec = make_spec()
    cycle = make_cycle(spec, 2, candidate=serving(2), attempt=3, attempt_at=NOW - 3600, restore_record=True)
    status = make_status(spec, state=State.WITHDRAWING, cycle=cycle, record=RecordWriting(order=order))
    pod = Pod("Pod", "shop-c0002-record-3", "uid", Role.RECORD, 2, 3, "", phase="Failed", message=message, exit_code=1)
    world = make_world(spec, status, children=(pod,), now=NOW)
    after = recording.ordered(world, status.model_copy(update={"cycle": cycle.model_copy(update={"attempt": 4})}))
    assert after.record is not None
    gone = make_world(spec, after, now=NOW)
    (manifest,) = [item for item in render(gone.release, plan(gone).wanted, INSTALLATION) if "record" in item.name]
    container = manifest.body["spec"]["containers"][0]
    return after.record.order, {item["name"]: item.get("value", "") for item in container["env"]}


def test_a_pod_that_found_a_higher_order_is_followed_by_one_above_it() -> None:
    """A release that was made again over the volume of another one whose clock was ahead."""
    told = RecordResult(ok=False, message="record 5 comes too late", newer=int(NOW) + 1000)
    order, environment = record_pod(wire.dumps(told))
    assert order == int(NOW) + 1001
    assert environment[env.RECORD_ORDER] == str(order)


@pytest.mark.parametrize(
    "message",
    ["OOMKilled", "", json.dumps({"ok": False, "message": "late", "newer": 10**30}), json.dumps({"newer": "x"})],
)
def test_odd_words_of_a_record_pod_are_only_words(message: str) -> None:
    assert record_pod(message)[0] == int(NOW)
    assert record_result(message).newer == 0
