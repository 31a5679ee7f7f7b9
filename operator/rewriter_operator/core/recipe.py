"""Recipes: how weights are asked for rewrites, from the spec when a revision is made, from the revision ever after."""

from rewriter_contract.messages import EngineConfig, PromptConfig
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.status import Recipe


def recipe_of(spec: RewriterReleaseSpec) -> Recipe:
    """What a revision that is made now will be asked with."""
    prompt = spec.model.prompt
    return Recipe(
        template=prompt.template,
        chat=prompt.chat,
        stop=list(prompt.stop),
        dtype=spec.model.dtype,
        max_length=spec.model.max_length,
        max_tokens=spec.serving.max_tokens,
    )


def prompt_of(recipe: Recipe) -> PromptConfig:
    """The recipe's prompt as the pods take it."""
    return PromptConfig(template=recipe.template, stop=tuple(recipe.stop), chat=recipe.chat)


def engine_of(recipe: Recipe, tensor_parallel: int, seed: int = 0) -> EngineConfig:
    """The recipe as vLLM is built from it, the same for sampling, evidence and serving."""
    return EngineConfig(
        prompt=prompt_of(recipe),
        dtype=recipe.dtype,
        max_length=recipe.max_length,
        tensor_parallel=tensor_parallel,
        seed=seed,
    )
