"""How far the policy has moved from the reference, estimated from log-probabilities that training has anyway.

The estimator is k3 of J. Schulman, "Approximating KL Divergence" (2020): for y ~ pi and s = pi_0(y) / pi(y),

    KL(pi || pi_0) = E[s - 1 - log s],

every term of it at least 0, and with less variance than the mean of -log s. It is taken token by token and added up
over a completion: given the words before it each token is a draw of its own, and the ratio of whole completions would
have a variance that no number of samples makes up for.

What the completions were drawn from: the weights that the phase began with, at the temperature and top_p of
spec.training.sampling; then the pairs kept the best and the worst of each query. So even at the first step, where
those weights are the policy, the expectation is over chosen draws, not over all. At every later step the policy has
moved and its draws have not: the estimate is biased, and upwards where the policy has left what was drawn (a token that
became e^5 times rarer counts with e^5). Read it as an alarm and as a trend, not as a measurement.
"""

import torch
from torch import Tensor


def divergence_sum(policy: Tensor, reference: Tensor) -> float:
    """The k3 terms of all tokens added up, in nats, for two tensors of their log-probabilities, of one shape.

    Tokens that are equally likely under both, padding above all, add nothing. Infinite where a ratio exceeds a double.
    """
    log_ratio = reference.double() - policy.double()
    return float((torch.expm1(log_ratio) - log_ratio).sum())
