"""What more queries could tell is asked of more queries: never of the same ones twice, and at an honest alpha."""

from random import Random
from typing import Any

import pytest

from rewriter_contract.messages import EvidenceOrder, EvidenceRows
from rewriter_contract.reports import CheckName, GateSettings, Verdict
from rewriter_operator.api.states import State
from rewriter_operator.core.begun_spec import spec_digest
from rewriter_operator.core.gate import judge, more_queries_would_tell
from rewriter_operator.core.gating import evidence_order, report_of
from rewriter_operator.core.plan import plan
from rewriter_operator.core.states import CANDIDATE_STATES
from rewriter_operator.core.statistics import bootstrap_mean
from tests.builders import evidence, make_spec
from tests.core.simulator import Behaviour, Simulator
from tests.gate.evidence_builder import World, both_sides

Sides = dict[str, tuple[EvidenceRows, ...]]
EXTENDS = {"gate.onInconclusive": "Extend", "gate.extension": {"queries": 40, "maxExtensions": 2}}


def sides(gain: float, queries: int = 40, **changes: Any) -> Sides:
    world = World(queries=queries, reward_gain=gain, **changes)
    return dict(zip(("candidate", "incumbent"), ((side,) for side in both_sides(world)), strict=True))


def story_of(
    first: Sides, *, gate_queries: int = 120, extended: dict[int, Sides] | None = None, **spec: Any
) -> Simulator:
    story = Simulator(make_spec(**(EXTENDS | spec)), behaviour=Behaviour(evidence=first, extended=extended or {}))
    prepare = story.behaviour.prepare
    story.behaviour.prepare = type(prepare)(**(vars(prepare) | {"gate_queries": gate_queries}))
    return story


UNDECIDED, CLEAR = sides(0.03), sides(0.08, queries=80)


def test_a_second_look_decides_what_the_first_could_not() -> None:
    story = story_of(UNDECIDED, extended={1: CLEAR})
    assert story.cycle_ends() == "Promoted"
    told = [note.message for note in story.notes if note.reason == "GateExtended"]
    assert len(told) == 1
    assert told[0].startswith("extension 1 of 2, 40 further queries; Inconclusive: RewardGain")


def test_each_look_asks_both_sides_other_queries_and_no_shard_twice() -> None:
    story = story_of(UNDECIDED, **{"training.samplers": {"replicas": 2}})
    assert story.cycle_ends() == "Rejected"
    orders = [write for write in story.writes if write.startswith("order /v1/evidence/1/")]
    for side in ("candidate", "incumbent"):
        assert [o for o in orders if side in o] == [f"order /v1/evidence/1/{side}/{shard}" for shard in range(6)]


def test_selections_of_all_looks_are_disjoint_and_alike_for_both_sides() -> None:
    story = story_of(UNDECIDED, **{"training.samplers": {"replicas": 2}}).until(State.GATING)
    found: list[EvidenceOrder] = [evidence_order(story.world(), "candidate", index) for index in range(6)]
    picked = [(order.selection.offset, order.selection.count, order.selection.shard) for order in found]
    assert picked == [(0, 40, 0), (0, 40, 1), (40, 40, 0), (40, 40, 1), (80, 40, 0), (80, 40, 1)]
    assert [evidence_order(story.world(), "incumbent", index).selection for index in range(6)] == [
        order.selection for order in found
    ]
    assert len({order.out for order in found}) == 6


def test_it_is_rejected_when_all_extensions_leave_it_open() -> None:
    story = story_of(UNDECIDED)
    assert story.cycle_ends() == "Rejected"
    assert story.status.history[0].reason == "GateInconclusive"
    assert [note.reason for note in story.notes].count("GateExtended") == 2
    assert not set(story.states) & CANDIDATE_STATES


@pytest.mark.parametrize("gate_queries, looks", [(0, 0), (79, 0), (80, 1), (119, 1), (120, 2)])
def test_no_query_is_asked_twice_where_the_file_has_no_more(gate_queries: int, looks: int) -> None:
    story = story_of(UNDECIDED, gate_queries=gate_queries)
    assert story.cycle_ends() == "Rejected"
    assert [note.reason for note in story.notes].count("GateExtended") == looks


@pytest.mark.parametrize("extensions", [1, 2, 3])
def test_alpha_is_shared_by_all_looks_that_there_may_be(extensions: int) -> None:
    spec = {"gate.extension": {"queries": 40, "maxExtensions": extensions}}
    story = story_of(UNDECIDED, **spec).until(lambda it: "order /v1/report/1" in it.writes)
    assert story.status.cycle and story.status.cycle.extensions == 0
    assert report_of(story.world()).settings.alpha == 0.05 / (1 + extensions)


def test_the_look_cannot_be_made_stricter_or_looser_while_it_is_taken() -> None:
    """Who could turn Extend off after a first look would have had that look for free."""
    story = story_of(UNDECIDED).until(State.GATING)
    story.spec = make_spec()
    assert story.cycle_ends(limit=60) == "Superseded"
    assert spec_digest(make_spec()) == spec_digest(make_spec(**{"gate.extension": {"queries": 40}}))
    assert spec_digest(make_spec(**EXTENDS)) != spec_digest(
        make_spec(**(EXTENDS | {"gate.extension": {"queries": 50}}))
    )


def test_without_extension_alpha_and_selection_are_as_they_were() -> None:
    story = Simulator(make_spec(), behaviour=Behaviour(evidence=UNDECIDED)).until(
        lambda it: "order /v1/report/1" in it.writes
    )
    assert report_of(story.world()).settings.alpha == 0.05
    selection = evidence_order(story.world(), "candidate", 0).selection
    assert (selection.offset, selection.count, selection.shards) == (0, 0, 1)


def test_a_fail_is_not_looked_at_again() -> None:
    story = story_of(evidence(gold_gain=-0.3))
    assert story.cycle_ends() == "Rejected"
    assert story.status.history[0].reason == "GateFailed"
    assert "GateExtended" not in [note.reason for note in story.notes]


def test_a_limit_that_is_crossed_perhaps_by_chance_is_not_counted_again_until_it_fits() -> None:
    candidate, incumbent = both_sides()
    rows = tuple(
        row if index >= 2 else type(row)(**(vars(row) | {"format_ok": False}))
        for index, row in enumerate(candidate.rows)
    )
    report = judge(type(candidate)(**(vars(candidate) | {"rows": rows})), incumbent, GateSettings(resamples=200))
    assert report.finding(CheckName.FORMAT).verdict is Verdict.INCONCLUSIVE
    assert not more_queries_would_tell(report)
    unclear = judge(*both_sides(World(reward_gain=0.02)), GateSettings(resamples=200))
    assert unclear.verdict is Verdict.INCONCLUSIVE and more_queries_would_tell(unclear)


@pytest.mark.parametrize("lost", range(4))
def test_an_extension_survives_a_crash_before_any_status_write(lost: int) -> None:
    story = story_of(UNDECIDED, extended={1: CLEAR}).until(lambda it: "order /v1/report/1" in it.writes)
    for _ in range(lost):
        story.reconcile()
    story.lose_status_writes = 1
    assert story.cycle_ends() == "Promoted"
    assert [note.reason for note in story.notes].count("GateExtended") == 1


def test_a_sampler_that_restarts_during_an_extension_brings_all_looks_again() -> None:
    story = story_of(UNDECIDED, extended={1: CLEAR})
    story.until(lambda it: "order /v1/evidence/1/candidate/1" in it.writes)
    story.restart_sampler()
    assert story.cycle_ends() == "Promoted"


def test_the_same_world_extends_in_the_same_way() -> None:
    story = story_of(UNDECIDED).until(lambda it: "order /v1/report/1" in it.writes)
    world = story.world()
    assert plan(world).status == plan(world).status
    assert plan(world).status.cycle and plan(world).status.cycle.extensions == 1


def test_looking_again_for_free_would_promote_too_often_and_sharing_alpha_does_not() -> None:
    """Equal models, three looks at 40, 80 and 120 queries: how often any look shows a gain."""
    free = shared = 0
    for seed in range(400):
        random = Random(seed)
        values = [random.gauss(0, 0.2) if random.random() < 0.6 else 0.0 for _ in range(120)]
        looks = [values[:40], values[:80], values]
        free += any(bootstrap_mean(look, 0.05, 200, Random(seed)).low > 0 for look in looks)
        shared += any(bootstrap_mean(look, 0.05 / 3, 200, Random(seed)).low > 0 for look in looks)
    assert free / 400 > 0.07, "what is shown by looking until it is there"
    assert shared / 400 < 0.05 + 1.645 * (0.05 * 0.95 / 400) ** 0.5
