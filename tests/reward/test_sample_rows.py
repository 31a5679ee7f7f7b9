"""Rows of samples say which reward scored them, where the pods that read them know the field."""

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import PromptConfig
from rewriter_sampler.draw_rows import DrawnRow
from rewriter_sampler.drawing import Completion
from rewriter_sampler.reward import Scorer
from rewriter_sampler.sample import _score

from .reward_builder import CORPUS, config, row


@pytest.mark.parametrize(("model", "revision"), [("overlap@1", "reward-1"), (None, None)])
def test_a_sampled_row_says_which_reward_scored_it_where_orders_name_the_model(
    model: str | None, revision: str | None
) -> None:
    copy = Completion(text="blue shoes", token_ids=(1, 2), finished=True, mean_logprob=None)  # scored without a call
    drawn = DrawnRow(row(), "query: blue shoes", (copy,))
    (found,) = _score(PromptConfig("query: {query}"), Scorer(config(relevance_model=model), CORPUS), [drawn], 1)
    assert found.reward_revision == revision and found.samples[0].score == 0.0
    assert ('"rewardRevision"' in wire.dumps(found)) == (revision is not None)
