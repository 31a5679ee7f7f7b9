"""The table of the gate's checks: name, what each means for the verdict, default limits, and who measures it.

For gate.py and gate_self_test.py. A check measures, compares with its limits, and shows both; it never sees another
check's result. docs/gate.md explains each row.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from rewriter_contract.reports import CheckName, CheckSettings, Finding, Role, Verdict
from rewriter_operator.api.release import OF_DRAWS
from rewriter_operator.core import (
    gate_constraints,
    gate_ranking,
    gate_sampled,
    gate_second_looks,
    gate_slices,
    gate_texts,
    gate_variety,
)
from rewriter_operator.core.gate_evidence import Evidence
from rewriter_operator.core.gate_measured import MOST_MISSING, Limits, Measured


@dataclass(frozen=True)
class Check:
    """One row of the table."""

    name: CheckName
    role: Role
    limits: Limits
    measure: Callable[[Evidence, Limits], Measured]

    def find(self, evidence: Evidence) -> Finding:
        """Run the check with the evidence's settings."""
        settings = evidence.settings.checks.get(self.name)
        measured = self.measure(evidence, self.limits.overridden(settings))
        if measured.verdict is Verdict.NOT_APPLICABLE:
            measured = self._without_data(measured, settings)
        return Finding(name=self.name, role=self.role_with(settings), **vars(measured))

    def _without_data(self, measured: Measured, settings: CheckSettings | None) -> Measured:
        """A check that the user asked for and that found nothing to look at has not held: Inconclusive."""
        if settings is None or settings.disabled:
            return replace(measured, message=f"nothing to judge: {measured.message}")
        wanted = "set spec.gate.sampledRewrites" if self.name in OF_DRAWS else "put such queries into spec.data.gate"
        remedy = f"{wanted}, or take {self.name} out of spec.gate.checks"
        return replace(measured, verdict=Verdict.INCONCLUSIVE, message=f"no data: {measured.message}; {remedy}")

    def role_with(self, settings: CheckSettings | None) -> Role:
        """Its role after the user's word: disabled checks are diagnostics, enforced diagnostics are guardrails."""
        if settings is None or self.name is CheckName.EVIDENCE_IS_COMPLETE:
            return self.role
        if settings.disabled:
            return Role.DIAGNOSTIC
        return Role.GUARDRAIL if settings.enforced and self.role is Role.DIAGNOSTIC else self.role


def evidence_is_complete(evidence: Evidence, limits: Limits) -> Measured:
    """Both sides answered the same queries, enough of them, measured by the cycle's reward, with little missing."""
    missing = {
        "reward": evidence.missing_share(lambda row: row.reward),
        "nDCG@10": evidence.missing_share(lambda row: row.ndcg10),
        "recall@100": evidence.missing_share(lambda row: row.recall100),
    }
    needed, worst = evidence.settings.minimum_queries, max(missing.values())
    problems = [f"{name} missing for {share:.1%}" for name, share in missing.items() if share > limits.max]
    problems += _pairing_problems(evidence) + _scoring_problems(evidence)
    message = "; ".join(problems) or f"{len(evidence.pairs)} paired queries >= {needed}, {worst:.1%} missing at most"
    verdict = Verdict.INCONCLUSIVE if problems else Verdict.PASS
    return Measured(verdict, message, candidate=worst, threshold=limits.max, n=len(evidence.pairs))


def _pairing_problems(evidence: Evidence) -> list[str]:
    needed = evidence.settings.minimum_queries
    problems = [f"{len(evidence.pairs)} paired queries < {needed}"] if len(evidence.pairs) < needed else []
    if evidence.unpaired:
        problems.append(f"{evidence.unpaired} queries answered by one side only")
    if evidence.repeated:
        problems.append(f"{evidence.repeated} queries answered twice")
    return problems


def _scoring_problems(evidence: Evidence) -> list[str]:
    if evidence.rewards_are_comparable:
        return []
    if evidence.foreign:
        return list(evidence.foreign)
    candidate, incumbent = evidence.candidate, evidence.incumbent
    if candidate.reward_revision != incumbent.reward_revision:
        return [f"reward revisions differ: {candidate.reward_revision[:12]}, {incumbent.reward_revision[:12]}"]
    return [f"relevance models differ: {candidate.relevance_model}, {incumbent.relevance_model}"]


CHECKS: Final = (
    Check(CheckName.EVIDENCE_IS_COMPLETE, Role.INVARIANT, Limits(max=MOST_MISSING), evidence_is_complete),
    Check(CheckName.REWARD_GAIN, Role.PRIMARY, Limits(min=0.0), gate_ranking.reward_gains),
    Check(CheckName.GOLD_NDCG, Role.GUARDRAIL, Limits(margin=0.05), gate_ranking.gold_ndcg_holds),
    Check(CheckName.GOLD_RECALL, Role.GUARDRAIL, Limits(margin=0.05), gate_ranking.gold_recall_holds),
    Check(CheckName.NO_REWARD_HACKING, Role.HACKING_DETECTOR, Limits(margin=0.03), gate_ranking.gold_follows_reward),
    Check(CheckName.TAIL_LOSS, Role.GUARDRAIL, Limits(min=-0.7), gate_ranking.tail_loss_is_bounded),
    Check(CheckName.SLICE_REGRESSIONS, Role.GUARDRAIL, Limits(margin=0.1), gate_slices.no_slice_regresses),
    Check(CheckName.LENGTH_RATIO, Role.INVARIANT, Limits(min=0.4, max=2.0), gate_texts.mean_length_stays_in_bounds),
    Check(CheckName.LENGTH_TAIL, Role.INVARIANT, Limits(max=3.0), gate_texts.few_rewrites_are_long),
    Check(CheckName.COPY_RATE, Role.INVARIANT, Limits(max=0.8, margin=0.1), gate_texts.copies_are_few),
    Check(CheckName.REPETITION, Role.INVARIANT, Limits(max=0.02, margin=0.02), gate_texts.repetition_is_rare),
    Check(CheckName.FORMAT, Role.INVARIANT, Limits(max=0.02, margin=0.02), gate_texts.format_is_kept),
    Check(CheckName.DISTINCT_REWRITES, Role.INVARIANT, Limits(max=0.1), gate_texts.rewrites_differ),
    Check(CheckName.WINS_AND_LOSSES, Role.DIAGNOSTIC, Limits(min=0.0), gate_ranking.wins_outnumber_losses),
    Check(CheckName.REWARD_AGREES_WITH_GOLD, Role.DIAGNOSTIC, Limits(min=0.0), gate_ranking.reward_agrees_with_gold),
    Check(
        CheckName.LOOK_ALIKE_LETTERS,
        Role.INVARIANT,
        Limits(max=0.02, margin=0.02),
        gate_constraints.scripts_are_not_mixed,
    ),
    Check(CheckName.SCRIPT_KEPT, Role.DIAGNOSTIC, Limits(max=0.02, margin=0.02), gate_constraints.script_is_kept),
    Check(CheckName.NUMBERS_KEPT, Role.DIAGNOSTIC, Limits(max=0.01, margin=0.01), gate_constraints.numbers_are_kept),
    Check(CheckName.UNITS_KEPT, Role.DIAGNOSTIC, Limits(max=0.01, margin=0.01), gate_constraints.units_are_kept),
    Check(
        CheckName.NEGATIONS_KEPT, Role.DIAGNOSTIC, Limits(max=0.01, margin=0.01), gate_constraints.negations_are_kept
    ),
    Check(CheckName.NAMES_KEPT, Role.DIAGNOSTIC, Limits(max=0.03, margin=0.03), gate_constraints.names_are_kept),
    Check(CheckName.TARGET_KEPT, Role.DIAGNOSTIC, Limits(max=0.05), gate_constraints.target_stays_first),
    Check(CheckName.ADDED_WORD, Role.INVARIANT, Limits(max=0.5, margin=0.5), gate_variety.no_word_is_added_everywhere),
    Check(CheckName.UNRELATED_REWRITES, Role.INVARIANT, Limits(max=0.5, margin=0.3), gate_variety.rewrites_are_related),
    Check(CheckName.UNIQUE_REWRITES, Role.DIAGNOSTIC, Limits(min=0.2, margin=0.1), gate_variety.rewrites_are_unique),
    Check(CheckName.VOCABULARY, Role.DIAGNOSTIC, Limits(min=0.05, margin=0.1), gate_variety.vocabulary_is_kept),
    Check(CheckName.CHANGED_REWRITES, Role.DIAGNOSTIC, Limits(max=0.9), gate_variety.few_rewrites_change),
    Check(CheckName.COPIES_LOST, Role.DIAGNOSTIC, Limits(max=1.0, margin=0.2), gate_variety.copies_are_not_lost),
    Check(
        CheckName.TOP_REWARD_GOLD,
        Role.DIAGNOSTIC,
        Limits(margin=0.03),
        gate_second_looks.gold_holds_where_reward_rose_most,
    ),
    Check(CheckName.SLICE_REWARDS, Role.DIAGNOSTIC, Limits(margin=0.1), gate_slices.reward_holds_in_slices),
    Check(CheckName.QUERIES_SUFFICE, Role.DIAGNOSTIC, Limits(margin=0.06), gate_second_looks.queries_suffice),
    Check(CheckName.TRUNCATED, Role.DIAGNOSTIC, Limits(max=0.02, margin=0.02), gate_sampled.few_are_cut),
    Check(CheckName.SAMPLED_REWARD, Role.DIAGNOSTIC, Limits(margin=0.05), gate_sampled.sampled_reward_holds),
    Check(CheckName.SAMPLED_GOLD, Role.DIAGNOSTIC, Limits(margin=0.05), gate_sampled.sampled_gold_holds),
    Check(CheckName.SAMPLED_VARIETY, Role.GUARDRAIL, Limits(min=0.2, margin=0.3), gate_sampled.draws_vary),
    Check(CheckName.SURPRISE, Role.DIAGNOSTIC, Limits(max=2.0), gate_sampled.surprise_is_kept),
    Check(CheckName.DIVERGENCE, Role.DIAGNOSTIC, Limits(max=10.0), gate_sampled.weights_stay_near),
)

DEFAULTS: Final = MappingProxyType({check.name: check.limits for check in CHECKS})
