"""Entropy and divergence of a step against their definitions, on a model whose distributions can be written down."""

from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract.messages import MpoConfig  # noqa: E402
from rewriter_trainer.divergence import divergence_sum  # noqa: E402
from rewriter_trainer.layouts import Layout, PackedLayout, PaddedLayout, sequences_of  # noqa: E402
from rewriter_trainer.loss import PairLogProbs, StepSize, mpo_loss  # noqa: E402
from rewriter_trainer.scorer import CompletionScorer  # noqa: E402
from rewriter_trainer.sequences import TokenPair, TokenSequence  # noqa: E402
from rewriter_trainer.step_totals import StepTotals, by_pair  # noqa: E402

from .test_layouts import PAIRS  # noqa: E402
from .test_recomputation import deep_scorer  # noqa: E402

pytestmark = pytest.mark.ml


def test_the_estimator_is_unbiased_where_the_draws_are_the_policys_own() -> None:
    """The expectation taken exactly, over all tokens: no draw and no luck."""
    policy, reference = (torch.randn(50, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    policy, reference = policy.log_softmax(0), reference.log_softmax(0)
    found = [divergence_sum(p, q) for p, q in zip(policy, reference, strict=True)]
    terms = torch.tensor(found, dtype=torch.float64)
    assert (terms >= 0).all()
    expected = (policy.exp() * (policy - reference)).sum()
    assert float((policy.exp() * terms).sum()) == pytest.approx(float(expected), rel=1e-9)


def test_equal_policies_do_not_differ_and_a_ratio_beyond_all_numbers_is_infinite() -> None:
    logprobs = torch.tensor([[-1.0, -20.0, 0.0]])
    assert divergence_sum(logprobs, logprobs) == 0.0
    assert divergence_sum(torch.tensor([-2000.0]), torch.tensor([-1.0])) == float("inf")


def distributions(scorer: CompletionScorer, sequence: TokenSequence) -> Any:
    """[C, V] log p at every token of a completion: a plain pass over one sequence."""
    ids = [*sequence.prompt, *sequence.completion]
    with torch.no_grad():
        logits = scorer.policy(torch.tensor([ids])).logits[0].double()
    return logits.log_softmax(dim=1)[len(sequence.prompt) - 1 : len(ids) - 1]


def by_definition(policy: CompletionScorer, reference: CompletionScorer, pairs: list[TokenPair]) -> dict[str, float]:
    entropies, divergences = [], []
    for sequence in sequences_of(pairs):
        here, there = distributions(policy, sequence), distributions(reference, sequence)
        entropies += (-(here.exp() * here).sum(dim=1)).tolist()
        drawn = torch.tensor(sequence.completion).unsqueeze(1)
        ratio = (there.gather(1, drawn) - here.gather(1, drawn)).exp()
        divergences.append(float((ratio - 1 - ratio.log()).sum()))
    return {"entropy": sum(entropies) / len(entropies), "kl": sum(divergences) / len(divergences)}


def moved_scorer() -> tuple[CompletionScorer, CompletionScorer]:
    """A policy that has moved away from its reference."""
    policy, reference = deep_scorer(layers=2), deep_scorer(layers=2)
    with torch.no_grad():
        for number, parameter in enumerate(policy.parameters()):
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return policy, reference


@pytest.mark.parametrize("layout", [PaddedLayout(0), PackedLayout()])
@pytest.mark.parametrize("cuts", [[0, 6], [0, 1, 4, 6]], ids=["one pass", "three passes"])
def test_a_step_tells_the_means_over_its_tokens_and_completions_however_it_is_cut(
    layout: Layout, cuts: list[int]
) -> None:
    policy, reference = moved_scorer()
    pairs = list(PAIRS)
    assert len(pairs) == 6
    totals, size = StepTotals(), StepSize(6, sum(len(pair.chosen.completion) for pair in pairs))
    for start, end in pairwise(cuts):
        batch = layout.batch(sequences_of(pairs[start:end]))
        with torch.inference_mode():
            sums = reference(batch).chunk(2)
            kept = torch.zeros(end - start, 2, 40)  # as wide as the longest completion of the phase
            by_token = by_pair(reference.readings.logprobs)
            kept[:, :, : by_token.shape[2]] = by_token
        terms = mpo_loss(
            PairLogProbs(*policy(batch).chunk(2), *(part.clone() for part in sums)), MpoConfig(), 0.0, size
        )
        terms.total.backward()
        totals.add(terms, policy.readings, kept)
    found = totals.over_all(lambda values: values)
    expected = by_definition(policy, reference, pairs)
    assert expected["kl"] > 0.01
    assert found.watched == pytest.approx(expected, rel=1e-3)
    assert found.learnt["margin"] == pytest.approx(found.learnt["reward_chosen"] - found.learnt["reward_rejected"])


def test_without_a_backward_pass_nothing_of_the_vocabularys_size_is_made_for_them() -> None:
    scorer = deep_scorer(layers=2)
    with torch.inference_mode():
        scorer(PackedLayout().batch(sequences_of(PAIRS)))
    assert not scorer.readings.entropies.any()
