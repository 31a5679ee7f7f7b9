"""A shard that its sampler is slow with: who draws it too, when, and that it only ever helps."""

from dataclasses import replace

import pytest

from rewriter_contract.messages import ShardRef, WorkReport, WorkState
from rewriter_operator.api.model import evolve
from rewriter_operator.api.status import Phase, PhaseStep, Takeover
from rewriter_operator.core import slow_shards
from rewriter_operator.core.world import World
from tests.builders import digest_of, make_spec
from tests.core.simulator import Behaviour, Simulator

OWN = "/v1/samples/1/1/{}"


def sampling(slow: frozenset[int], replicas: int = 3) -> Simulator:
    """Phase 1 is sampled, and every sampler has been told; those in `slow` never end."""
    spec = make_spec(**{"training.samplers.replicas": replicas})
    story = Simulator(spec, behaviour=Behaviour(slow_samplers=slow))
    return story.until(lambda it: all(f"order {OWN.format(index)}" in it.writes for index in range(replicas)))


def phase_of(story: Simulator) -> Phase:
    assert story.status.cycle and story.status.cycle.phase
    return story.status.cycle.phase


def taken(story: Simulator) -> list[str]:
    return [note.message for note in story.notes if note.reason == "ShardTakenOver"]


def drawn_in(seconds: float, index: int, since: float) -> WorkReport:
    """A sampler that was done with its own shard after so many seconds."""
    shard = ShardRef(f"shard-{index}", 8, digest_of(str(index)))
    return WorkReport(WorkState.DONE, 8, 8, heartbeat_at=since + seconds, shard=shard)


def test_a_slow_shard_is_drawn_by_an_idle_sampler_and_the_phase_goes_on() -> None:
    story = sampling(slow=frozenset({1}))
    assert phase_of(story).step is PhaseStep.SAMPLING
    story.until(lambda it: phase_of(it).step is not PhaseStep.SAMPLING or it.now > phase_of(it).since + 300)
    assert taken(story) == [
        "phase 1: sampler 0 draws shard 1 too: its own took it 0 s, and sampler 1 has drawn 12% of it after 60 s"
    ]
    assert [shard.path[-9:-6] for shard in phase_of(story).shards] == ["000", "004", "002"]
    story.behaviour.slow_samplers = frozenset()
    assert story.cycle_ends() == "Promoted"


@pytest.mark.parametrize(
    ("report", "elapsed", "is_taken"),
    [
        pytest.param(WorkReport(WorkState.RUNNING, 10, 100), 149, False, id="not yet 1.5 times as long"),
        pytest.param(WorkReport(WorkState.RUNNING, 10, 100), 150, True, id="far behind"),
        pytest.param(WorkReport(WorkState.RUNNING, 61, 100), 150, False, id="done before a second drawing would be"),
        pytest.param(WorkReport(WorkState.RUNNING, 59, 100), 150, True, id="done after it"),
        pytest.param(WorkReport(WorkState.RUNNING, 61, 100), 300, True, id="it stopped there"),
        pytest.param(WorkReport(WorkState.RUNNING, 0, 0), 150, True, id="nothing drawn"),
        pytest.param(WorkReport(WorkState.RUNNING, -5, 100), 150, True, id="less than nothing"),
        pytest.param(WorkReport(WorkState.RUNNING, 10**400, 1), 150, False, id="more than all"),
        pytest.param(WorkReport(WorkState.FAILED, 99, 100), 150, True, id="failed"),
        pytest.param(WorkReport(WorkState.DONE, 100, 100), 150, True, id="done, with a shard that cannot be read"),
        pytest.param(None, 150, True, id="nothing known of it"),
    ],
)
def test_it_is_worth_it_where_the_second_drawing_would_be_done_first(
    report: WorkReport | None, elapsed: float, is_taken: bool
) -> None:
    step = slow_shards.take_over(*looked_at({0: 100.0, 1: report}, elapsed))
    assert (step is not None) == is_taken
    if step is not None:
        assert step.status.cycle and step.status.cycle.phase
        assert [(item.shard, item.sampler) for item in step.status.cycle.phase.takeovers] == [(1, 0)]
        assert len(step.status.message) < 300


def looked_at(told: dict[int, float | WorkReport | None], elapsed: float) -> tuple[World, Phase]:
    """Sampler -> how many seconds its own shard took it, or what it says of it; seen so long after the start."""
    story = sampling(slow=frozenset(range(len(told))), replicas=len(told))
    since = phase_of(story).since
    reports = {
        OWN.format(index): item if isinstance(item, WorkReport) else drawn_in(item, index, since)
        for index, item in told.items()
        if item is not None
    }
    world = replace(story.world(), works=reports, now=since + elapsed)
    return world, phase_of(story)


def test_the_fastest_draws_the_slowest() -> None:
    quarter, tenth = WorkReport(WorkState.RUNNING, 25, 100), WorkReport(WorkState.RUNNING, 10, 100)
    step = slow_shards.take_over(*looked_at({0: 90.0, 1: quarter, 2: 40.0, 3: tenth}, 200))
    assert step and step.status.cycle and step.status.cycle.phase
    assert [(item.shard, item.sampler) for item in step.status.cycle.phase.takeovers] == [(3, 2)]


def test_nobody_is_helped_while_nobody_is_idle() -> None:
    half = WorkReport(WorkState.RUNNING, 50, 100)
    assert slow_shards.take_over(*looked_at({0: half, 1: None}, 10_000)) is None
    world, phase = looked_at({0: 100.0, 1: None}, 10_000)
    assert slow_shards.take_over(replace(world, samplers={}), phase) is None, "an idle one without the weights"
    assert slow_shards.take_over(*looked_at({0: None}, 10_000)) is None


def test_nothing_is_said_twice_within_ten_seconds_even_if_takeovers_are_not_stored() -> None:
    world, phase = looked_at({0: 10.0, 1: None}, 100)
    step = slow_shards.take_over(world, phase)
    assert step and step.status.cycle and step.status.cycle.phase
    forgotten = evolve(step.status.cycle.phase, takeovers=[])
    assert slow_shards.take_over(replace(world, now=world.now + 9), forgotten) is None
    assert slow_shards.take_over(replace(world, now=world.now + 10), forgotten) is not None


def test_a_sampler_draws_one_shard_at_a_time_for_others() -> None:
    story = sampling(slow=frozenset({1, 2}))
    story.until(lambda it: bool(taken(it)))
    first, second = OWN.format(4), OWN.format(5)
    story.behaviour.slow_samplers = frozenset({0, 1, 2})
    story.until(lambda it: first in it.works)
    story.wait(200)
    assert (len(taken(story)), second in story.works) == (1, False)
    story.works[first] = drawn_in(100, 4, story.now)
    story.until(lambda it: second in it.works)
    assert len(taken(story)) == 2


def test_the_shards_own_sampler_counts_where_it_is_done_first() -> None:
    story = sampling(slow=frozenset({1}))
    story.until(lambda it: bool(taken(it)))
    story.behaviour.slow_samplers = frozenset({0, 1, 2})
    story.until(lambda it: OWN.format(4) in it.works)
    story.works[OWN.format(1)] = drawn_in(70, 1, story.now)
    story.until(lambda it: phase_of(it).step is PhaseStep.TRAINING)
    assert phase_of(story).shards[1].path == "shard-1"


def test_a_second_drawing_that_fails_is_not_tried_again_and_ends_nothing() -> None:
    story = sampling(slow=frozenset({1}))
    story.until(lambda it: bool(taken(it)))
    story.behaviour.slow_samplers = frozenset({0, 1, 2})
    story.until(lambda it: OWN.format(4) in it.works)
    story.works[OWN.format(4)] = WorkReport(WorkState.FAILED, heartbeat_at=story.now, message="relevance: refused")
    for _ in range(40):
        story.works[OWN.format(1)] = replace(story.works[OWN.format(1)], heartbeat_at=story.now)
        story.wait(60)
    assert (len(taken(story)), phase_of(story).step) == (1, PhaseStep.SAMPLING)
    story.works[OWN.format(1)] = drawn_in(0, 1, story.now)
    story.behaviour.slow_samplers = frozenset()
    assert story.cycle_ends() == "Promoted"


def test_a_sampler_that_is_gone_is_not_waited_for() -> None:
    story = sampling(slow=frozenset({1}))
    pod = story.children.pop(("Pod", "shop-c0001-sampler-1"))
    story.samplers.pop(1), story.works.pop(OWN.format(1))
    story.until(lambda it: phase_of(it).step is PhaseStep.TRAINING)
    assert pod.uid and phase_of(story).shards[1].path.endswith("shard-004.jsonl")


def test_a_shard_that_fails_at_its_own_sampler_ends_no_cycle_while_another_one_draws_it() -> None:
    story = sampling(slow=frozenset({1}))
    story.until(lambda it: bool(taken(it)))
    story.behaviour.slow_samplers = frozenset({0, 1, 2})
    story.until(lambda it: OWN.format(4) in it.works)
    for _ in range(20):
        story.works[OWN.format(1)] = WorkReport(WorkState.FAILED, heartbeat_at=story.now, message="no route to host")
        story.works[OWN.format(4)] = replace(story.works[OWN.format(4)], heartbeat_at=story.now)
        story.wait(60)
    assert phase_of(story).step is PhaseStep.SAMPLING
    story.works[OWN.format(4)] = drawn_in(0, 4, story.now)
    story.until(lambda it: phase_of(it).step is PhaseStep.TRAINING)


def test_takeovers_are_read_back_from_status() -> None:
    story = sampling(slow=frozenset({1}))
    story.until(lambda it: bool(taken(it)))
    assert [type(item) for item in phase_of(story).takeovers] == [Takeover]
    assert story.wait(5) and len(taken(story)) == 1
