"""Live objects as the API server gives them, for tests of the plugin."""

from collections.abc import Mapping
from typing import Any

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.revision import RevisionPhase, RewriterRevisionSpec
from rewriter_operator.api.status import GateResult, RewriterReleaseStatus
from rewriter_operator.cli.reading import world_of
from rewriter_operator.core.world import World
from tests.builders import digest_of, make_spec, make_status, weights


def release_object(
    status: RewriterReleaseStatus,
    spec: RewriterReleaseSpec | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    metadata = {
        "name": "shop",
        "namespace": "search",
        "uid": "uid-shop",
        "generation": 1,
        "resourceVersion": "41",
        "annotations": dict(annotations or {}),
    }
    return {"metadata": metadata, "spec": (spec or make_spec()).to_api(), "status": status.to_api()}


def revision_object(number: int, verdict: str = "Pass", reward_gain: float = 0.1) -> dict[str, Any]:
    gate = GateResult(
        verdict=verdict,
        summary=f"{verdict} on 80 queries",
        report=f"cycles/{number:04d}/gate/report.json",
        findings=[f"{verdict} RewardGain: +{reward_gain}", "Pass Format: 0 of 80"],
    )
    spec = RewriterRevisionSpec(
        release_name="shop",
        revision=number,
        weights=weights(f"r{number:04d}-p02"),
        spec_digest=digest_of("spec"),
        phases=[RevisionPhase(number=2, version=f"r{number:04d}-p02", metrics={"rewardMean": reward_gain})],
        gate=gate,
    )
    metadata = {"name": f"shop-r{number:04d}", "namespace": "search", "uid": f"uid-{number}"}
    return {"metadata": metadata, "spec": spec.to_api(), "status": {"outcome": "Promoted", "serving": ["finerank"]}}


def world(
    annotations: Mapping[str, str] | None = None,
    revisions: tuple[int, ...] = (),
    spec: RewriterReleaseSpec | None = None,
    **status: Any,
) -> World:
    """A release in this status, as the plugin reads it."""
    spec = spec or make_spec()
    live = release_object(make_status(spec, **status), spec, annotations)
    return world_of(live, [revision_object(number) for number in revisions])
