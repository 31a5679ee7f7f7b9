"""Checks of what rewrites do to ranking: reward, gold, and harm that a mean hides.

Each is a pure function of the evidence and its limits; gate_checks.py says what it means for the verdict. None may
pass without numbers, and none looks at the texts (gate_texts.py does).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from rewriter_contract.reports import Verdict
from rewriter_operator.core.gate_evidence import Comparison, Evidence, minus
from rewriter_operator.core.gate_measured import Limits, Measured, numbers_of, unknown
from rewriter_operator.core.statistics import bootstrap, holm, sign_flip_loss, spearman, tail_mean

TAIL_SHARE: Final = 0.05
TIE: Final = 0.02
"""Differences of log R up to this are ties in WinsAndLosses."""


def reward_gains(evidence: Evidence, limits: Limits) -> Measured:
    """Superiority: the lower bound of the paired difference of log R is above `min`."""
    found = evidence.reward
    if found is None:
        return unknown("log R", "too few comparable rewards")
    if found.difference.low > limits.min:
        verdict, relation = Verdict.PASS, f"lower bound {found.difference.low:+.4f} > {limits.min:+.4f}"
    elif found.difference.high < limits.min and (chance := _chance_of_loss(evidence, found, limits.min)) < _harm(
        evidence
    ):
        relation = f"upper bound {found.difference.high:+.4f} < {limits.min:+.4f}, p={chance:.3f}"
        verdict = Verdict.FAIL
    else:
        bounds = f"{found.difference.low:+.4f} to {found.difference.high:+.4f}"
        verdict, relation = Verdict.INCONCLUSIVE, f"bounds {bounds} do not tell it from {limits.min:+.4f}"
    return _compared("log R", found, verdict, relation, threshold=limits.min)


def _chance_of_loss(evidence: Evidence, found: Comparison, least: float) -> float:
    """p-value that the mean difference is below `least` only by chance (sign-flip test)."""
    shifted = [difference - least for difference in found.differences]
    return sign_flip_loss(shifted, evidence.resamples, evidence.random("loss:reward"))


def _harm(evidence: Evidence) -> float:
    """The level at which a candidate is accused of a lower reward: half of alpha leaves the guardrails the other half.

    At alpha alone 7.5 % of equal candidates were refused (200 gates of 80 queries with heavy tails); what is not shown
    here is Inconclusive, which promotes as little.
    """
    return evidence.settings.alpha / 2


def gold_ndcg_holds(evidence: Evidence, limits: Limits) -> Measured:
    """Non-inferiority of gold nDCG@10."""
    return not_inferior("nDCG@10", evidence.ndcg, limits.margin)


def gold_recall_holds(evidence: Evidence, limits: Limits) -> Measured:
    """Non-inferiority of gold recall@100."""
    return not_inferior("recall@100", evidence.recall, limits.margin)


def not_inferior(what: str, found: Comparison | None, margin: float) -> Measured:
    """Pass: the lower bound is above -margin. Fail: the loss is over the margin, and no accident. Else unknown."""
    if found is None:
        return unknown(what, "too few queries have it on both sides")
    low, high = found.difference.low, found.difference.high
    if low > -margin:
        return _compared(what, found, Verdict.PASS, f"lower bound {low:+.3f} > {-margin:+.3f}", threshold=-margin)
    if found.difference.estimate < -margin and high < 0:
        relation = f"{found.candidate:.3f} < {found.incumbent:.3f} - {margin:.3f}, upper bound {high:+.3f} < 0"
        return _compared(what, found, Verdict.FAIL, relation, threshold=-margin)
    relation = f"lower bound {low:+.3f} <= {-margin:+.3f}, a loss cannot be excluded"
    return _compared(what, found, Verdict.INCONCLUSIVE, relation, threshold=-margin)


def gold_follows_reward(evidence: Evidence, limits: Limits) -> Measured:
    """No reward hacking: where the reward rises for certain, gold does not fall for certain.

    Two looks at gold (nDCG and recall) get Holm's correction, so that an honest candidate is accused in at most
    `alpha` of the gates.
    """
    reward, ndcg, recall = evidence.reward, evidence.ndcg, evidence.recall
    if reward is None or ndcg is None or recall is None:
        return unknown("reward against gold", "too few comparable rewards or gold values")
    looks = (("nDCG@10", ndcg), ("recall@100", recall))
    flips = evidence.resamples
    chances = holm([sign_flip_loss(found.differences, flips, evidence.random(f"fall:{what}")) for what, found in looks])
    chance, (what, gold) = min(
        zip(chances, looks, strict=True), key=lambda look: (look[0], look[1][1].difference.estimate)
    )
    numbers = f"log R {reward.difference.estimate:+.4f} (lower bound {reward.difference.low:+.4f})"
    fall = f"{what} {gold.difference.estimate:+.3f}"
    verdict = Verdict.PASS
    if reward.difference.low <= 0:
        message = f"{numbers}: no certain gain that gold would have to follow"
    elif chance < evidence.settings.alpha:
        verdict, message = Verdict.FAIL, f"{numbers} while {fall} fell for certain, p={chance:.3f}"
    elif gold.difference.estimate < -limits.margin:
        verdict, message = Verdict.INCONCLUSIVE, f"{numbers} while {fall} < {-limits.margin:+.3f}, p={chance:.3f}"
    else:
        message = f"{numbers}, {fall} >= {-limits.margin:+.3f}, p={chance:.3f} for a fall"
    return replace(_compared(what, gold, verdict, "", threshold=-limits.margin), message=message)


def _compared(what: str, found: Comparison, verdict: Verdict, relation: str, threshold: float) -> Measured:
    return Measured(
        verdict,
        f"{what} {found.candidate:.3f} against {found.incumbent:.3f}, {found.difference.estimate:+.4f}: {relation}",
        candidate=found.candidate,
        incumbent=found.incumbent,
        difference=found.difference.estimate,
        low=found.difference.low,
        high=found.difference.high,
        threshold=threshold,
        n=found.n,
    )


def tail_loss_is_bounded(evidence: Evidence, limits: Limits) -> Measured:
    """The mean log R of the worst 5 % of queries is above `min`, or at least no worse than the incumbent's."""
    rewards, settings = numbers_of(evidence.pairs, lambda pair: pair.candidate.reward), evidence.settings
    theirs = numbers_of(evidence.pairs, lambda pair: pair.incumbent.reward)
    if min(len(rewards), len(theirs)) < settings.minimum_queries:
        return unknown("tail", "too few rewards")
    of_incumbent = _tail(theirs)
    threshold = min(limits.min, of_incumbent) if evidence.rewards_are_comparable else limits.min
    found = bootstrap(rewards, _tail, settings.alpha, evidence.resamples, evidence.random("tail"))
    if found.estimate >= threshold:
        verdict, relation = Verdict.PASS, f">= {threshold:+.3f}"
    else:
        verdict = Verdict.FAIL if found.high < threshold else Verdict.INCONCLUSIVE
        relation = f"< {threshold:+.3f}, upper bound {found.high:+.3f}"
    return Measured(
        verdict,
        f"mean log R of the worst {TAIL_SHARE:.0%} of queries {found.estimate:+.3f} {relation}",
        candidate=found.estimate,
        incumbent=of_incumbent,
        low=found.low,
        high=found.high,
        threshold=threshold,
        n=len(rewards),
    )


def _tail(rewards: Sequence[float]) -> float:
    return tail_mean(rewards, TAIL_SHARE)


def wins_outnumber_losses(evidence: Evidence, limits: Limits) -> Measured:
    """More queries gain reward than lose it: many small harms under a good mean are worth a look."""
    if evidence.reward is None:
        return unknown("wins and losses", "too few comparable rewards")
    differences = evidence.reward.differences
    wins, losses = sum(value > TIE for value in differences), sum(value < -TIE for value in differences)
    verdict = Verdict.PASS if wins >= losses else Verdict.FAIL
    message = f"{wins} won, {len(differences) - wins - losses} tied, {losses} lost by more than {TIE} log R"
    share = (wins - losses) / len(differences)
    return Measured(verdict, message, difference=share, threshold=limits.min, n=len(differences))


def reward_agrees_with_gold(evidence: Evidence, limits: Limits) -> Measured:
    """Queries whose reward rose are those whose nDCG@10 rose (Spearman): else the reward measures something else."""
    both = [
        (reward, gold)
        for pair in evidence.pairs
        if (reward := minus(pair.candidate.reward, pair.incumbent.reward)) is not None
        and (gold := minus(pair.candidate.ndcg10, pair.incumbent.ndcg10)) is not None
    ]
    rank = spearman([reward for reward, _ in both], [gold for _, gold in both]) if both else None
    if rank is None or len(both) < evidence.settings.minimum_queries:
        return unknown("rank correlation of reward and nDCG@10", "too few queries, or one of them does not vary")
    error = 1 / math.sqrt(len(both) - 1)
    verdict = Verdict.PASS if rank >= limits.min else Verdict.INCONCLUSIVE
    if rank + 2 * error < limits.min:
        verdict = Verdict.FAIL
    message = f"rank correlation of reward and nDCG@10 differences {rank:+.2f}, standard error {error:.2f}"
    return Measured(verdict, message, candidate=rank, threshold=limits.min, n=len(both))
