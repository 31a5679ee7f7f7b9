"""Each side of the gate is measured as it serves, or would serve."""

from dataclasses import replace

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import GenerationConfig
from rewriter_operator.api.model import evolve
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Recipe, Serving
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core.gating import evidence_order
from rewriter_operator.core.recipe import recipe_of
from rewriter_operator.core.world import World
from tests.builders import make_cycle, make_spec, make_status, make_world, weights

OLD = make_spec(**{"serving.maxTokens": 16})
NEW = make_spec(**{"model.prompt": {"template": "Rewrite: {query}\n", "stop": ["\n\n"]}, "serving.maxTokens": 24})


def gating(compared_with: Serving | None) -> World:
    candidate = Serving(revision=2, weights=weights("r0002-p02"), recipe=recipe_of(NEW))
    cycle = make_cycle(NEW, 2, candidate=candidate, compared_with=compared_with)
    return make_world(NEW, make_status(NEW, state=State.GATING, cycle=cycle))


def incumbent(recipe: Recipe | None) -> Serving:
    return Serving(revision=1, weights=weights("r0001-p02"), recipe=recipe)


def test_a_changed_prompt_is_the_candidates_and_never_the_incumbents() -> None:
    world = gating(incumbent(recipe_of(OLD)))
    candidate, old = evidence_order(world, "candidate", 0), evidence_order(world, "incumbent", 0)
    assert old.prompt and old.prompt.template == OLD.model.prompt.template
    assert old.generation.max_tokens == 16
    assert candidate.prompt is None, "the sampler's own"
    assert candidate.generation.max_tokens == 24
    assert (old.selection, old.requests_sha256, old.reward) == (
        candidate.selection,
        candidate.requests_sha256,
        candidate.reward,
    )


@pytest.mark.parametrize("recipe", [recipe_of(NEW), None], ids=["same-recipe", "promoted-before-recipes-were-kept"])
def test_where_the_prompt_is_the_same_the_order_is_as_it_was_before_the_field(recipe: Recipe | None) -> None:
    order = evidence_order(gating(incumbent(recipe)), "incumbent", 0)
    assert order.prompt is None
    assert "prompt" not in wire.dumps(order)


def test_both_sides_draw_as_training_draws_each_within_its_own_length() -> None:
    world = gating(incumbent(recipe_of(OLD)))
    candidate, old = (evidence_order(world, side, 0).sampled for side in ("candidate", "incumbent"))
    sampling = NEW.training.sampling
    assert candidate == GenerationConfig(4, sampling.temperature, sampling.top_p, 24, seed=NEW.training.seed)
    assert old and candidate and old == replace(candidate, max_tokens=16)


def test_the_incumbent_weighs_what_the_candidate_drew_where_there_is_one() -> None:
    world = gating(incumbent(None))
    candidate, old = (evidence_order(world, side, 0) for side in ("candidate", "incumbent"))
    assert (old.weigh, candidate.weigh) == (candidate.out, None)
    assert evidence_order(gating(None), "incumbent", 0).weigh is None, "the passthrough has no probabilities"


def test_the_gate_draws_nothing_where_the_spec_says_so() -> None:
    world = gating(None)
    greedy = replace(world.release, spec=make_spec(**{"gate.sampledRewrites": 0}))
    assert evidence_order(replace(world, release=greedy), "candidate", 0).sampled is None


def test_the_passthrough_has_no_prompt() -> None:
    order = evidence_order(gating(None), "incumbent", 0)
    assert (order.weights, order.prompt) == (None, None)


def test_results_are_asked_of_both_sides_and_the_query_alone_once_where_no_side_is_the_passthrough() -> None:
    ours, theirs = (evidence_order(gating(incumbent(None)), side, 0) for side in ("candidate", "incumbent"))
    assert (ours.first_results, ours.query_alone) == (3, True)
    assert (theirs.first_results, theirs.query_alone) == (3, None)
    first = evidence_order(gating(None), "candidate", 0)
    assert (first.first_results, first.query_alone) == (3, None)


def test_pods_of_a_cycle_from_before_results_were_kept_are_not_asked_for_them() -> None:
    world = gating(incumbent(None))
    assert world.status.cycle
    status = evolve(world.status, cycle=evolve(world.status.cycle, contract=cycles.DRAWS_FOR_THE_GATE - 1))
    order = evidence_order(replace(world, release=replace(world.release, status=status)), "candidate", 0)
    text = wire.dumps(order)
    assert "firstResults" not in text and "queryAlone" not in text
    assert order.reward.relevance_model is not None, "that contract named the model"
