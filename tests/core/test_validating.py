"""The candidate is the best phase, not the last: measuring each, choosing, ending early, and what odd numbers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewriter_contract.messages import EvidenceOrder, WorkReport, WorkState
from rewriter_operator.api.status import PhaseResult, PhaseStep
from rewriter_operator.core import validating
from rewriter_operator.core.validating import validation_order
from tests.builders import make_spec, weights
from tests.core.simulator import Behaviour, Simulator


def told(gold: float, reward: float = 0.0, queries: float = 40, gold_queries: float = 40) -> dict[str, float]:
    """What a sampler says of one phase."""
    return {
        "queries": queries,
        "missing_rewards": 0,
        "reward": reward,
        "gold_queries": gold_queries,
        "ndcg10": gold,
    }


def measured(number: int, **values: float) -> PhaseResult:
    return PhaseResult(
        number=number,
        weights=weights(f"r0001-p{number:02d}"),
        seconds=1,
        validation=validating.measured([report(values)]),
    )


def report(metrics: dict[str, float]) -> WorkReport:
    return WorkReport(WorkState.DONE, metrics=metrics)


def spec(phases: int = 3, **changes: object):  # type: ignore[no-untyped-def]
    return make_spec(**{"training.phases": phases, "data.validation": "data/validation.jsonl", **changes})


def played(golds: list[float], **changes: object) -> Simulator:
    """A cycle whose phases do so well on the validation queries."""
    validation = {number: told(gold) for number, gold in enumerate(golds, 1)}
    story = Simulator(spec(len(golds), **changes), behaviour=Behaviour(validation=validation))
    story.cycle_ends()
    return story


def test_the_best_phase_becomes_the_candidate_and_says_why() -> None:
    story = played([0.374, 0.383, 0.379])
    assert story.promoted is not None and story.promoted.stages["finerank"].version == "r0001-p02"
    note = next(note.message for note in story.notes if note.reason == "Trained")
    assert "candidate is r0001-p02" in note
    assert "phase 2 of 3 by nDCG@10 of 40 validation queries: 0.3740, 0.3830, 0.3790" in note


def test_the_gate_judges_the_weights_that_were_chosen_and_not_the_last_ones() -> None:
    story = played([0.4, 0.3])
    loads = [write for write in story.writes if write in ("order /v1/weights", "order /v1/evidence/1/candidate/0")]
    assert loads[-2:] == ["order /v1/weights", "order /v1/evidence/1/candidate/0"]
    assert story.status.stages[0].incumbent is not None
    assert story.status.stages[0].incumbent.weights.version == "r0001-p01"


def test_without_a_file_the_last_phase_is_the_candidate_and_nothing_is_asked() -> None:
    story = Simulator(make_spec(**{"training.phases": 3}), behaviour=Behaviour(validation={1: told(0.9)}))
    story.cycle_ends()
    assert story.promoted is not None and story.promoted.stages["finerank"].version == "r0001-p03"
    assert not [write for write in story.writes if "validation" in write]


def test_measuring_takes_no_sync_of_its_own() -> None:
    with_file, without = played([0.1, 0.2, 0.3]), Simulator(make_spec(**{"training.phases": 3}))
    without.cycle_ends()
    assert with_file.writes.count("order /v1/weights") == without.writes.count("order /v1/weights")


def test_training_ends_after_so_many_phases_without_a_better_one() -> None:
    story = played([0.30, 0.38, 0.37, 0.38, 0.40, 0.50], **{"training.validation": {"patience": 2}})
    asked = [write for write in story.writes if write.startswith("order /v1/phases/1/")]
    assert asked == [f"order /v1/phases/1/{number}" for number in (1, 2, 3, 4)]
    assert story.promoted is not None and story.promoted.stages["finerank"].version == "r0001-p02"


def test_phases_are_validated_on_the_same_queries_and_never_on_the_gates() -> None:
    story = Simulator(spec(2), behaviour=Behaviour(validation={1: told(0.3), 2: told(0.4)}))
    orders: list[EvidenceOrder] = []
    while len(orders) < 2:
        story.until(
            lambda s: (
                bool(s.status.cycle and s.status.cycle.phase) and s.status.cycle.phase.step is PhaseStep.VALIDATING
            )
        )
        world = story.world()
        assert world.status.cycle and world.status.cycle.phase
        orders.append(validation_order(world, world.status.cycle.phase, 0))
        story.until(
            lambda s: (
                not (s.status.cycle and s.status.cycle.phase and s.status.cycle.phase.step is PhaseStep.VALIDATING)
            )
        )
    first, second = orders
    assert (first.requests_file, first.selection, first.generation) == (
        second.requests_file,
        second.selection,
        second.generation,
    )
    assert first.requests_file == "data/validation.jsonl"
    assert first.out != second.out
    assert first.weights != second.weights


def test_a_phase_that_was_measured_on_fewer_queries_is_not_compared() -> None:
    phases = [measured(1, **told(0.3)), measured(2, **told(0.9, gold_queries=12)), measured(3, **told(0.2))]
    chosen = validating.best(spec(), phases)
    assert chosen is not None and chosen.number == 1
    assert "0.3000, -, 0.2000" in validating.why(spec(), phases)


def test_of_equals_the_greater_reward_and_then_the_earlier_phase() -> None:
    by_reward = [measured(1, **told(0.3, reward=-0.1)), measured(2, **told(0.3, reward=0.1))]
    assert validating.best(spec(), by_reward) == by_reward[1]
    alike = [measured(1, **told(0.3)), measured(2, **told(0.3))]
    assert validating.best(spec(), alike) == alike[0]


def test_reward_chooses_where_the_spec_says_so() -> None:
    phases = [measured(1, **told(0.9, reward=-0.2)), measured(2, **told(0.1, reward=0.2))]
    assert validating.best(spec(**{"training.validation": {"metric": "Reward"}}), phases) == phases[1]


def test_where_no_phase_has_gold_the_last_one_is_the_candidate_and_training_goes_on() -> None:
    phases = [measured(number, queries=40, missing_rewards=0, reward=0.1, gold_queries=0) for number in (1, 2, 3, 4)]
    assert validating.best(spec(), phases) == phases[-1]
    assert not validating.exhausted(spec(), phases)
    assert validating.why(spec(), phases) == ""


def test_shards_are_joined_by_their_numbers_of_queries() -> None:
    joined = validating.measured([report(told(0.2, gold_queries=10, queries=10)), report(told(0.8, gold_queries=30))])
    assert joined["ndcg10"] == pytest.approx(0.65)
    assert joined["gold_queries"] == 40
    assert joined["queries"] == 50


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["queries", "missing_rewards", "reward", "gold_queries", "ndcg10", "other"]),
            st.floats(allow_nan=False),
        ),
        max_size=3,
    )
)
def test_whatever_numbers_samplers_tell_a_phase_is_chosen(shards: list[dict[str, float]]) -> None:
    odd = validating.measured(map(report, shards))
    phases = [
        measured(1, **told(0.3)),
        PhaseResult(number=2, weights=weights("r0001-p02"), seconds=1, validation=odd),
    ]
    assert validating.best(spec(), phases) in phases
    assert isinstance(validating.exhausted(spec(), phases), bool)
    validating.why(spec(), phases)


def test_validation_that_never_ends_fails_the_cycle() -> None:
    story = Simulator(spec(2), behaviour=Behaviour(validation_ends=False))
    assert story.cycle_ends(limit=40_000) == "Failed"
    assert story.status.history[0].reason == "PodsStalled"
