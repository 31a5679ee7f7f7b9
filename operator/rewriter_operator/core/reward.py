"""The reward of a cycle as one value with a digest: what scores samples, what the gate judges with.

Rewards of different revisions are never compared; the revision changes when the fusion constants of serving, the
weights of the terms, or the relevance model change.
"""

from typing import Final

from rewriter_contract import wire
from rewriter_contract.expression import ExpressionError, compile_expression
from rewriter_contract.messages import FusionTerm, Penalty, RewardConfig
from rewriter_contract.terms import TERMS
from rewriter_operator.api.endpoint import ServiceEndpoint
from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import Reward

TEXT_TERMS: Final = "text/1"
"""Changes with what the terms of texts mean."""


def endpoint_url(endpoint: ServiceEndpoint, namespace: str) -> str:
    """`http://relevance.search.svc:8080/v1/score`: services are only ever of the release's own namespace."""
    return f"http://{endpoint.service_name}.{namespace}.svc:{endpoint.port}{endpoint.path}"


def health_base(endpoint: ServiceEndpoint, namespace: str) -> str:
    """The service's root, to which the health path is added."""
    return f"http://{endpoint.service_name}.{namespace}.svc:{endpoint.port}"


def fusion_sha256(terms: tuple[FusionTerm, ...]) -> str:
    """Digest of the fusion's constants: of the text of `status.cycle.fusion`."""
    return wire.digest(wire.dumps(terms))


def reward_revision(reward: Reward, terms: tuple[FusionTerm, ...], relevance_model: str) -> str:
    """sha256 over everything that decides a score."""
    parts: dict[str, object] = {
        "terms": terms,
        "lambda": reward.lambda_,
        "clip": reward.clip,
        "relevanceModel": relevance_model,
        "form": "log-ratio/1",
    }
    if penalties(reward) or reward.expression:
        parts |= {"penalties": penalties(reward), "expression": reward.expression, "textTerms": TEXT_TERMS}
    return wire.digest(wire.dumps(parts))


def reward_config(reward: Reward, terms: tuple[FusionTerm, ...], revision: str, namespace: str) -> RewardConfig:
    """The reward as the sampler gets it."""
    return RewardConfig(
        relevance_url=endpoint_url(reward.relevance, namespace),
        fusion=terms,
        negatives_weight=reward.lambda_,
        clip=reward.clip,
        revision=revision,
        timeout_seconds=float(seconds(reward.relevance.timeout)),
        max_missing=reward.max_missing,
        penalties=penalties(reward) or None,
        expression=reward.expression or None,
        relevance_api=reward.relevance.api if reward.relevance.api != "Batch" else None,
    )


def penalties(reward: Reward) -> tuple[Penalty, ...]:
    """Those that cost anything, by the names of their terms."""
    return tuple(Penalty(term, nats) for term, nats in reward.penalties.to_api().items() if nats > 0)


def expression_problem(reward: Reward) -> str:
    """Why the expression cannot be used; empty when it can, or when there is none."""
    try:
        if reward.expression:
            compile_expression(reward.expression, TERMS)
    except ExpressionError as error:
        return f"spec.reward.expression: {reward.expression[:200]!r}: {error}"
    return ""
