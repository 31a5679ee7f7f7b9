"""The multiplicative fusion of rewrites, F' = F * prod (b + a*rel(y,d))^gamma, and the file that configures it.

The file is the one that the operator's reward reads by reference, so that training optimises what serving computes:
{"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 0.5}, ...}}. A stage that is not listed takes no rewrites.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from e2e.demo.vectors import Vectors
from rewriter_contract.messages import STAGES, FusionTerm


class FusionError(ValueError):
    """The fusion file cannot be used; the message names the field."""


@dataclass(frozen=True)
class Fusion:
    """Terms by stage."""

    terms: Mapping[str, FusionTerm]

    def factor(self, stage: str, relevances: Vectors) -> Vectors:
        """What the ranking scores of a stage are multiplied with.

        `relevances` has one row per rewrite and one column per document, in 0..1. No rewrite: a factor of 1.
        """
        term = self.terms.get(stage)
        if term is None or relevances.shape[0] == 0:
            return np.ones(relevances.shape[1], np.float32)
        factors: Vectors = np.power(term.b + term.a * relevances, term.gamma).prod(axis=0)
        return factors


def read_fusion(path: Path) -> Fusion:
    """Read the fusion file.

    Raises:
        FusionError: when a stage is unknown or a constant is missing or not positive.
    """
    stages = json.loads(path.read_text()).get("stages", {})
    return Fusion({stage: _term(stage, constants) for stage, constants in stages.items()})


def _term(stage: str, constants: Mapping[str, float]) -> FusionTerm:
    if stage not in STAGES:
        raise FusionError(f"stages.{stage}: unknown stage; known: {', '.join(STAGES)}")
    try:
        term = FusionTerm(stage, a=float(constants["a"]), b=float(constants["b"]), gamma=float(constants["gamma"]))
    except KeyError as missing:
        raise FusionError(f"stages.{stage}.{missing.args[0]}: required") from None
    if min(term.a, term.b) <= 0 or term.gamma < 0:
        raise FusionError(f"stages.{stage}: a and b must be above 0, gamma at least 0")
    return term
