"""What is kept and what is given up, told as stories of many cycles.

After every pass the simulator checks that nothing which serves, is loaded, or is offered to roll back to was removed
(Simulator.check). Its prepare pod removes exactly what its order and promoted.json allow.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from rewriter_contract.messages import Problem, StorageOrder, StorageResult, WeightsRef
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RetentionStatus
from rewriter_operator.core import retention
from rewriter_operator.core.cycle import ABORT_ANNOTATION, ROLLBACK_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.world import Pod, Revision, Role
from tests.builders import evidence, make_cycle, make_spec, make_status, make_world, serving, stage_status, weights
from tests.core.simulator import Behaviour, Simulator, healthy_prepare
from tests.core.test_restore import rebuilt
from tests.examples import examples

KEEP_ONE = make_spec(**{"retention.weights": 1})


def cycle(story: Simulator, promoted: bool = True) -> str:
    """Another cycle, to its end."""
    story.behaviour.evidence = evidence() if promoted else evidence(gain=-0.5)
    story.annotations[RUN_ANNOTATION] = f"run-{story.status.last_cycle_number}"
    outcome = story.cycle_ends()
    story.wait(60)
    return outcome


def running(promotions: int, keep: int = 3) -> Simulator:
    """A release that has promoted this many revisions."""
    story = Simulator(make_spec(**{"retention.weights": keep}))
    assert story.cycle_ends() == "Promoted"
    story.settle()
    for _ in range(promotions - 1):
        assert cycle(story) == "Promoted"
    return story


def shown(story: Simulator) -> dict[int, str]:
    """What each RewriterRevision says of its weights."""
    return {item.cycle: item.kept for item in story.world().revisions}


def test_the_volume_of_a_release_that_runs_for_months_holds_a_fixed_number_of_sets() -> None:
    story = running(1, keep=2)
    held = []
    for number in range(9):
        cycle(story, promoted=number % 3 != 2)
        held.append(len(story.weight_sets))
    assert max(held) <= 3 + 2, "what serves, two to go back to, and the two phases of the newest cycle"
    assert story.status.last_cycle_number == 10 and len(story.removed_sets) >= 14


def test_phases_and_rejected_candidates_go_when_the_next_cycle_starts() -> None:
    story = running(1)
    assert cycle(story, promoted=False) == "Rejected"
    assert story.weight_sets == {"r0001-p02", "r0002-p01", "r0002-p02"}
    assert shown(story) == {1: "Kept", 2: "Kept"}
    assert cycle(story) == "Promoted"
    assert story.weight_sets == {"r0001-p02", "r0003-p01", "r0003-p02"}
    assert shown(story) == {1: "Kept", 2: "Removed", 3: "Kept"}


def test_no_row_of_rejected_candidates_pushes_out_what_one_can_go_back_to() -> None:
    story = running(2)
    for _ in range(6):
        assert cycle(story, promoted=False) == "Rejected"
    story.annotations[ROLLBACK_ANNOTATION] = "r0001"
    story.until(lambda it: it.status.serves == "r0001" and it.status.state is State.IDLE)


def test_a_rollback_to_a_revision_whose_weights_were_removed_is_refused_with_the_reason() -> None:
    story = running(4, keep=1)
    story.annotations[ROLLBACK_ANNOTATION] = "r0001"
    story.settle()
    assert story.status.notice == (
        "annotation rewriter.dev/rollback-to: got 'r0001'; r0001 was promoted, but its weights (r0001-p02) were "
        "removed from the volume: spec.retention.weights keeps 1 beside what serves; kept are r0004, r0003, r0002"
    )
    assert story.wait(60).status.serves == "r0004"


def test_what_was_given_up_is_not_offered_again_when_more_is_to_be_kept() -> None:
    story = running(4, keep=1)
    story.spec = make_spec(**{"retention.weights": 20})
    cycle(story)
    assert shown(story) == {1: "Removed", 2: "Kept", 3: "Kept", 4: "Kept", 5: "Kept"}
    assert {"r0002-p02", "r0003-p02", "r0004-p02"} <= story.weight_sets


def test_the_revision_that_was_rolled_back_to_is_kept_like_any_that_serves() -> None:
    story = running(4)
    story.annotations[ROLLBACK_ANNOTATION] = "r0001"
    story.until(lambda it: it.status.serves == "r0001" and it.status.state is State.IDLE)
    for _ in range(3):
        cycle(story, promoted=False)
    assert story.status.serves == "r0001" and "r0001-p02" in story.weight_sets
    assert {"r0002-p02", "r0003-p02", "r0004-p02"} <= story.weight_sets


def test_a_revision_that_was_rolled_back_to_once_is_not_kept_for_ever() -> None:
    story = running(3, keep=1)
    story.annotations[ROLLBACK_ANNOTATION] = "r0002"
    story.until(lambda it: it.status.serves == "r0002" and it.status.state is State.IDLE)
    for _ in range(3):
        assert cycle(story) == "Promoted"
    assert story.weight_sets == {"r0004-p02", "r0005-p02", "r0006-p01", "r0006-p02"}


def test_a_rollback_that_comes_while_the_volume_is_cleaned_finds_its_weights_or_is_refused() -> None:
    for target in ("r0002", "r0003"):
        story = running(3, keep=1)
        story.annotations[RUN_ANNOTATION] = "another"
        story.until(lambda it: bool(it.status.retention and it.status.retention.cycle == 4))
        story.annotations[ROLLBACK_ANNOTATION] = target
        story.until(State.IDLE)
        story.wait(120)
        assert story.status.serves == target


def test_what_is_given_up_is_in_status_before_a_pod_is_told() -> None:
    story = running(2)
    story.annotations[RUN_ANNOTATION] = "another"
    story.until(lambda it: it.storage_orders[-1].cycle == 3)
    told = story.status.retention
    assert told is not None and told.cycle == 3
    assert story.storage_orders[-1].weights == tuple(told.kept) == ("r0001-p02", "r0002-p02")
    made = next(index for index, text in enumerate(story.writes) if "c0003-prepare" in text)
    assert story.writes[made - 1] == "status Preparing"


def test_nothing_of_a_cycle_goes_while_one_of_its_pods_is_on_its_way_out() -> None:
    story = running(1)
    assert cycle(story, promoted=False) == "Rejected"
    pod = Pod("Pod", "shop-c0002-sampler-0", "uid", Role.SAMPLER, 2, 0, "", deleting=True, phase="Running")
    story.children[("Pod", pod.name)] = pod
    story.annotations[RUN_ANNOTATION] = "another"
    story.until(State.TRAINING)
    assert story.storage_orders[-1].busy == (2,)
    assert {"r0002-p01", "r0002-p02"} <= story.weight_sets
    story.pods_are_gone()
    assert story.cycle_ends() == "Rejected"
    cycle(story)
    assert {"r0002-p01", "r0002-p02"} <= story.removed_sets


def test_serving_pods_that_still_drain_keep_their_weights() -> None:
    spec = make_spec()
    status = make_status(
        spec, state=State.PREPARING, cycle=make_cycle(spec, 7), stages=[stage_status(incumbent=serving(5))]
    )
    draining = Pod("Pod", "shop-r0006-0", "uid", Role.SERVING, 6, 0, "", phase="Running")
    world = make_world(spec, status, children=(draining, replace(draining, name="shop-r0005-0", cycle=5)))
    decided = retention.ordered(world).retention
    assert decided and (decided.kept, decided.busy) == (["r0005-p02"], [6])


def test_what_an_incumbents_cycle_started_from_and_what_a_pod_reports_are_kept() -> None:
    spec = make_spec()
    status = make_status(
        spec, state=State.PREPARING, cycle=make_cycle(spec, 9), stages=[stage_status(incumbent=serving(8))]
    )
    child = Revision("RewriterRevision", "shop-r0008", "uid", Role.REVISION, 8, 0, "", parent="r0004-p02")
    world = make_world(spec, status, children=(child,))
    assert retention.ordered(world).retention == RetentionStatus(cycle=9, kept=["r0004-p02", "r0008-p02"])


def test_a_release_that_is_created_again_gives_up_nothing_before_its_next_cycle() -> None:
    lost = running(3)
    story = rebuilt(lost)
    story.promoted, story.weight_sets = lost.promoted, set(lost.weight_sets)
    story.until(State.IDLE)
    (bootstrap,) = story.storage_orders
    assert (bootstrap.cycle, story.removed_sets) == (0, set())
    assert cycle(story) == "Promoted"
    assert {"r0003-p02", "r0002-p02"} <= story.weight_sets, "promoted.json names both"


def too_full(message: str = "1 free, 2 needed") -> Behaviour:
    """The prepare pod finds no room."""
    answer = replace(healthy_prepare(), base=None, problems=(Problem("VolumeFull", message),))
    return Behaviour(prepare=replace(answer, storage=StorageResult(free_bytes=1, needed_bytes=2)))


def test_a_cycle_without_room_waits_with_a_condition_and_goes_on_by_itself() -> None:
    story = running(1)
    story.behaviour = too_full()
    story.annotations[RUN_ANNOTATION] = "another"
    story.settle()
    assert story.condition("Accepted") == ("False", "VolumeFull")
    assert story.condition("Stalled") == ("True", "VolumeFull")
    assert story.status.message == "1 free, 2 needed"
    assert story.status.retention and (story.status.retention.free_bytes, story.status.retention.needed_bytes) == (1, 2)
    assert not story.world().pods(Role.TRAINER) and story.status.serves == "r0001"
    story.wait(300)
    assert story.status.state is State.PREPARING and story.status.cycle and story.status.cycle.attempt > 5
    story.behaviour = Behaviour()
    assert story.cycle_ends() == "Promoted"
    story.settle()
    assert story.condition("Stalled") == ("False", "Accepted")


def test_fewer_weights_to_keep_make_room_at_the_next_attempt() -> None:
    story = running(4)
    story.behaviour = too_full()
    story.annotations[RUN_ANNOTATION] = "another"
    story.settle()
    assert "r0001-p02" in story.weight_sets
    story.spec = KEEP_ONE
    story.wait(60)
    assert story.status.cycle and story.status.cycle.number == 5, "the cycle is not started anew for it"
    assert story.weight_sets == {"r0003-p02", "r0004-p02"}


def test_a_volume_that_fills_up_in_training_ends_the_cycle_and_says_so_until_the_next_one() -> None:
    story = running(1)
    story.behaviour.volume_full = True
    assert cycle(story) == "Failed"
    assert story.status.history[0].reason == "VolumeFull"
    assert story.condition("Stalled") == ("True", "VolumeFull")
    (message,) = [item.message for item in story.status.conditions if item.type == "Stalled"]
    assert "spec.volume.claimName 'rewriter' (directory shop) was full in cycle 2" in message
    assert "No space left on device" in message and "kubectl rewriter retry shop" in message
    assert story.condition("Ready") == ("True", "Serving")
    story.behaviour.volume_full = False
    assert cycle(story) == "Promoted"
    assert story.condition("Stalled") == ("False", "Accepted")


def test_what_was_removed_and_what_is_not_known_is_in_status_and_told_once() -> None:
    story = running(1)
    told = StorageResult(
        removed=("weights/r0001-p01",), removed_count=1, freed_bytes=500, left=("weights/mine: unknown",), left_count=1
    )
    story.behaviour.prepare = replace(healthy_prepare(), storage=replace(told, free_bytes=10**12, needed_bytes=10**9))
    cycle(story)
    found = story.status.retention
    assert found and (found.removed, found.freed_bytes, found.left) == (1, 500, ["weights/mine: unknown"])
    (note,) = [item for item in story.notes if "weights/mine" in item.message]
    assert note.reason == "VolumeCleaned" and "removed 1 from the volume (weights/r0001-p01), 500 bytes" in note.message
    assert "1000000000000 bytes free, a cycle needs 1000000000" in note.message


def test_what_cannot_be_removed_is_told_once_however_often_it_is_tried() -> None:
    story = running(1)
    why = "nothing is removed: promoted.json cannot be read; restore the file"
    for free in range(3):
        story.behaviour.prepare = replace(healthy_prepare(), storage=StorageResult(trouble=why, free_bytes=free))
        cycle(story, promoted=False)
    assert [note.message for note in story.notes if note.reason == "VolumeNotCleaned"] == [why]
    assert next(note for note in story.notes if note.reason == "VolumeNotCleaned").warning
    assert story.status.retention and story.status.retention.trouble == why
    assert why in story.status.retention.message


@pytest.mark.parametrize(
    "odd",
    [
        StorageResult(freed_bytes=-1),
        StorageResult(free_bytes=10**30),
        StorageResult(removed_count=-5),
        StorageResult(left=("x" * 5000,) * 50, left_count=50),
        StorageResult(removed=("x" * 5000,) * 50, removed_count=50, trouble="y" * 9000),
    ],
)
def test_odd_numbers_of_a_prepare_pod_hold_up_nothing(odd: StorageResult) -> None:
    story = running(1)
    story.behaviour.prepare = replace(healthy_prepare(), storage=odd)
    assert cycle(story) == "Promoted"


def test_an_older_prepare_image_that_answers_nothing_of_it_is_understood() -> None:
    spec = make_spec()
    status = make_status(spec, retention=RetentionStatus(cycle=3, kept=["r0002-p02"]))
    assert retention.answered(status, None) == status


def test_with_a_crd_that_does_not_store_it_a_cycle_goes_on_and_nothing_is_removed() -> None:
    story = running(1)
    told, story.forgets_retention = len(story.storage_orders), True
    for _ in range(2):
        assert cycle(story) == "Promoted"
    assert (len(story.storage_orders), story.removed_sets) == (told, set())


def test_the_room_for_samples_grows_with_queries_samples_and_tokens() -> None:
    small = make_spec()
    sizes = [
        retention.phase_bytes(make_spec(**{f"training.sampling.{name}": value}))
        for name, value in (("queriesPerPhase", 16), ("samplesPerQuery", 16), ("maxTokens", 64))
    ]
    assert all(size > retention.phase_bytes(small) for size in sizes)
    assert sizes[0] == 2 * retention.phase_bytes(small)


Happening = Callable[[Simulator], object]


def roll_back(back: int) -> Happening:
    def change(story: Simulator) -> None:
        target = max(1, story.status.last_cycle_number - back)
        story.annotations[ROLLBACK_ANNOTATION] = f"r{target:04d}/{len(story.writes)}"
        story.wait(30)

    return change


def abort(story: Simulator) -> None:
    story.annotations[RUN_ANNOTATION] = f"aborted-{story.status.last_cycle_number}"
    story.until(State.TRAINING, limit=600)
    story.annotations[ABORT_ANNOTATION] = str(story.status.last_cycle_number)
    story.cycle_ends()


def keep(count: int) -> Happening:
    return lambda story: setattr(story, "spec", make_spec(**{"retention.weights": count}))


def lose_writes(story: Simulator) -> None:
    story.lose_status_writes = 2


HAPPENINGS: dict[str, Happening] = {
    "promoted": cycle,
    "rejected": lambda story: cycle(story, promoted=False),
    "aborted": abort,
    "rolled back by one": roll_back(1),
    "rolled back by three": roll_back(3),
    "keep one": keep(1),
    "keep four": keep(4),
    "status writes are lost": lose_writes,
}


@examples(6)
@given(names=some.lists(some.sampled_from(sorted(HAPPENINGS)), min_size=3, max_size=7))
@example(names=["promoted", "keep one", "promoted", "keep four", "promoted", "rolled back by three"])
def test_in_any_history_nothing_that_is_needed_goes_and_a_late_pod_removes_nothing_that_a_newer_one_keeps(
    names: list[str],
) -> None:
    story = running(2)  # Simulator.check looks at what is needed after every pass
    for name in names:
        HAPPENINGS[name](story)
    story.until(State.IDLE, limit=7200)
    for earlier, later in combinations(story.storage_orders, 2):
        assert would_remove(earlier, later) == set(), f"{earlier} against {later}"


def would_remove(earlier: StorageOrder, later: StorageOrder) -> set[str]:
    """What the earlier order gives up although the later one keeps it."""
    ended = {version for version in later.weights if int(version[1:5]) < earlier.cycle}
    return {version for version in ended - set(earlier.weights) if int(version[1:5]) not in earlier.busy}


@examples(50)
@given(data=some.data())
def test_whatever_status_says_what_serves_is_kept_and_nothing_that_was_given_up_comes_back(
    data: some.DataObject,
) -> None:
    number = some.integers(1, 30)
    promoted = data.draw(some.lists(number, unique=True, max_size=20))
    incumbent = data.draw(some.none() | number)
    kept = data.draw(some.none() | some.sets(number))
    spec = make_spec(**{"retention.weights": data.draw(some.integers(1, 20))})
    before = RetentionStatus(cycle=20, kept=[f"r{item:04d}-p02" for item in kept]) if kept is not None else None
    status = make_status(
        spec,
        state=State.PREPARING,
        cycle=make_cycle(spec, 31),
        stages=[stage_status(incumbent=serving(incumbent) if incumbent else None)],
        promoted=[serving(item) for item in promoted],
        retention=before,
    )
    decided = retention.ordered(make_world(spec, status)).retention
    assert decided is not None
    after = {int(version[1:5]) for version in decided.kept}
    assert incumbent is None or incumbent in after
    given_up = set() if kept is None else {item for item in range(1, 20) if item not in kept}
    assert after - {incumbent} <= set(range(1, 31)) - given_up
    assert len(after - {incumbent}) <= spec.retention.weights
    again = make_world(spec, status.model_copy(update={"retention": decided}))
    assert retention.ordered(again) == again.status, "decided once for each attempt"


def test_the_base_model_is_never_listed_because_it_is_never_removed() -> None:
    spec = make_spec()
    base = serving(0).model_copy(update={"weights": weights("base-0123456789ab")})
    status = make_status(spec, state=State.PREPARING, cycle=make_cycle(spec, 2), stages=[stage_status(incumbent=base)])
    decided = retention.ordered(make_world(spec, status)).retention
    assert decided and decided.kept == []
    assert retention.is_kept(status.model_copy(update={"retention": decided}), base)


def test_the_order_names_release_and_volume_and_the_evidence_of_kept_revisions() -> None:
    story = running(3)
    cycle(story, promoted=False)
    order = story.storage_orders[-1]
    assert (order.release, order.cycle, order.phases) == ("shop", 4, 2)
    assert order.claim == "the volume of spec.volume.claimName 'rewriter' (directory shop)"
    assert order.reports == (1, 2, 3)
    assert story.promoted and story.promoted.stages["finerank"] == WeightsRef("r0003-p02", weights("r0003-p02").digest)
