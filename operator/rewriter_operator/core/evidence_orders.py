"""What samplers measure of a weight set, for the gate and after each phase: one way, so that both measure alike."""

from dataclasses import dataclass

from rewriter_contract.messages import EvidenceOrder, GenerationConfig, Selection, WeightsRef
from rewriter_operator.api.status import Recipe, Weights
from rewriter_operator.core.recipe import prompt_of, recipe_of
from rewriter_operator.core.reward import endpoint_url
from rewriter_operator.core.samplers import cycle_reward
from rewriter_operator.core.world import World


@dataclass(frozen=True)
class Measured:
    """Whose answers to which queries."""

    weights: Weights | None
    """None is the passthrough."""
    recipe: Recipe
    """How the weights are asked where they serve."""
    role: str
    """The data file with the queries: `gate` or `validation`."""
    out: str


def measuring(world: World, measured: Measured, selection: Selection) -> EvidenceOrder:
    """The order: greedily, one rewrite a query, with the cycle's reward and the real search."""
    cycle, spec = world.status.cycle, world.spec
    assert cycle is not None
    weights, prompt = measured.weights, prompt_of(measured.recipe)
    return EvidenceOrder(
        weights=WeightsRef(weights.version, weights.digest) if weights else None,
        requests_file=spec.data.to_api()[measured.role],
        requests_sha256=cycle.data_digests[measured.role],
        corpus_file=spec.data.corpus,
        selection=selection,
        generation=GenerationConfig(
            n=1, temperature=0.0, max_tokens=measured.recipe.max_tokens, seed=spec.training.seed
        ),
        reward=cycle_reward(world),
        search_url=endpoint_url(spec.gate.search, world.release.namespace),
        out=measured.out,
        prompt=None if prompt == prompt_of(recipe_of(spec)) else prompt,
    )
