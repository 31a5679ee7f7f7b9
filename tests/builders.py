"""Values for tests of the operator, each with defaults that are whole and healthy; a test names only what it is about.

Standard library and the operator's own models only: importing this must stay cheap.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rewriter_contract import wire
from rewriter_contract.messages import (
    EvidenceRow,
    EvidenceRows,
    FusionTerm,
    LoadState,
    ServingStats,
    StageCounters,
    WeightsRef,
)
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Cycle, RewriterReleaseStatus, Serving, StageStatus, Weights
from rewriter_operator.core.begun_spec import spec_digest
from rewriter_operator.core.cycle import CONTRACT
from rewriter_operator.core.world import Claim, Deployment, Fusion, Release, Role, Route, World
from rewriter_operator.workloads.installation import Installation

NOW = 1_764_000_000.0
"""2025-11-24T16:00:00Z, a Monday."""

INSTALLATION = Installation(trainer_image="registry.test/trainer:1", sampler_image="registry.test/sampler:1")

TERMS = (FusionTerm(stage="finerank", a=1.0, b=0.3, gamma=1.0),)

BUCKETS = ("50", "100", "1000", "+Inf")


RELEVANCE = "minilm@1"

REWARD = hashlib.sha256(b"reward").hexdigest()
"""Revision of the reward that a cycle is made with here, and that evidence is scored by."""


def fusion(terms: tuple[FusionTerm, ...] = TERMS) -> Fusion:
    """A serving config that can be used."""
    return Fusion(terms=terms)


def spec_body(**changes: Any) -> dict[str, Any]:
    """A spec as a user writes it: one stage that goes 10 %, analysis, 100 %; two phases. Dotted keys reach inside.

    >>> spec_body(**{"training.phases": 1})["training"]["phases"]
    1
    """
    body: dict[str, Any] = {
        "volume": {"claimName": "rewriter", "subPath": "shop"},
        "model": {"path": "base/tiny"},
        "data": {"corpus": "data/corpus.jsonl", "train": "data/train.jsonl", "gate": "data/gate.jsonl"},
        "reward": {
            "relevance": {"serviceName": "relevance", "path": "/v1/score"},
            "fusion": {"configMapName": "fusion"},
        },
        "training": {"phases": 2, "sampling": {"queriesPerPhase": 8}},
        "gate": {"search": {"serviceName": "search", "path": "/v1/search"}},
        "serving": {"replicas": 1},
        "traffic": {"gateway": {"name": "internal"}},
        "rollout": {
            "stages": [stage("finerank", {"setShare": 10}, {"analysis": {"minRequests": 40}}, {"setShare": 100})],
            "verification": {"minRequests": 50, "timeout": "10m"},
            "bake": "30s",
        },
    }
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return body


def stage(name: str, *steps: dict[str, Any], depends_on: tuple[str, ...] = ()) -> dict[str, Any]:
    """One entry of spec.rollout.stages."""
    return {"name": name, "dependsOn": list(depends_on), "steps": list(steps)}


def make_spec(**changes: Any) -> RewriterReleaseSpec:
    """`spec_body` as the operator reads it."""
    return RewriterReleaseSpec.model_validate(spec_body(**changes))


def weights(version: str = "r0001-p02") -> Weights:
    """A published weight set; equal versions have equal digests."""
    return Weights(version=version, digest=digest_of(version))


def weights_ref(version: str = "r0001-p02") -> WeightsRef:
    """The same as the pods name it."""
    return WeightsRef(version, digest_of(version))


def digest_of(text: str) -> str:
    """Any sha256."""
    return hashlib.sha256(text.encode()).hexdigest()


def serving(revision: int = 1) -> Serving:
    """A revision that can serve."""
    return Serving(revision=revision, weights=weights(f"r{revision:04d}-p02"))


def stage_status(name: str = "finerank", **changes: Any) -> StageStatus:
    """A stage that the passthrough serves."""
    return StageStatus(name=name, **changes)


def make_cycle(spec: RewriterReleaseSpec, number: int = 2, **changes: Any) -> Cycle:
    """A cycle that runs with this spec and was prepared."""
    values: dict[str, Any] = {
        "number": number,
        "trigger": "Created",
        "started_at": NOW - 600,
        "spec_digest": spec_digest(spec),
        "since": NOW - 60,
        "start": weights("base-0123456789ab"),
        "fusion": wire.dumps(TERMS),
        "reward_revision": REWARD,
        "relevance_model": RELEVANCE,
        "contract": CONTRACT,
        "data_digests": {"train": digest_of("train"), "gate": digest_of("gate"), "corpus": digest_of("corpus")},
    }
    return Cycle(**(values | changes))


def make_status(spec: RewriterReleaseSpec, **changes: Any) -> RewriterReleaseStatus:
    """An idle release, bootstrapped with the passthrough, whose spec was seen."""
    values: dict[str, Any] = {
        "state": State.IDLE,
        "stages": [StageStatus(name=item.name) for item in spec.rollout.stages],
        "last_spec_digest": spec_digest(spec),
    }
    return RewriterReleaseStatus(**(values | changes))


def make_world(
    spec: RewriterReleaseSpec | None = None,
    status: RewriterReleaseStatus | None = None,
    annotations: Mapping[str, str] | None = None,
    **changes: Any,
) -> World:
    """A release with its inputs there and no child yet."""
    spec = spec or make_spec()
    release = Release(
        namespace="search",
        name="shop",
        uid="uid-shop",
        generation=1,
        created_at=NOW - 3600,
        annotations=annotations or {},
        spec=spec,
        status=status or RewriterReleaseStatus(),
    )
    world = World(now=NOW, release=release, claim=Claim("Bound", ("ReadWriteMany",)), fusion=fusion())
    return replace(world, **changes)


def make_route(shares: Mapping[str, int] | None = None, **changes: Any) -> Route:
    """The release's route, accepted by the gateway."""
    values: dict[str, Any] = {
        "kind": "HTTPRoute",
        "name": "shop-rewrites",
        "uid": "uid-route",
        "role": Role.ROUTE,
        "cycle": 0,
        "number": 0,
        "spec_hash": "",
        "accepted": True,
        "shares": shares or {},
    }
    return Route(**(values | changes))


def make_deployment(revision: int, ready: int = 1, replicas: int = 1) -> Deployment:
    """Serving pods of a revision; -1 is the passthrough."""
    role = Role.PASSTHROUGH if revision < 0 else Role.SERVING
    name = "shop-passthrough" if revision < 0 else f"shop-r{revision:04d}"
    return Deployment("Deployment", name, f"uid-{name}", role, revision, 0, "", replicas=replicas, ready=ready)


def counters(requests: int = 0, errors: int = 0, empty: int = 0, fast: int | None = None) -> StageCounters:
    """Totals of a stage; `fast` requests (all, unless told) took under 50 ms, the others over a second."""
    quick = requests if fast is None else fast
    histogram = {"50": quick, "100": quick, "1000": quick, "+Inf": requests}
    return StageCounters(requests=requests, errors=errors, empty=empty, latency_ms=histogram)


def stats(revision: str, boot_id: str = "", **stages: StageCounters) -> ServingStats:
    """What a serving pod tells."""
    return ServingStats(
        boot_id=boot_id or f"boot-{revision}", revision=revision, state=LoadState.READY, weights=None, stages=stages
    )


def evidence(gain: float = 0.2, queries: int = 32, gold_gain: float = 0.02) -> dict[str, tuple[EvidenceRows, ...]]:
    """Evidence of both sides where the candidate's reward is higher by about `gain` and its gold by `gold_gain`."""
    return {
        "candidate": (_side("candidate", gain, gold_gain, queries),),
        "incumbent": (_side("incumbent", 0.0, 0.0, queries),),
    }


def _side(name: str, gain: float, gold_gain: float, queries: int) -> EvidenceRows:
    rows = tuple(
        EvidenceRow(
            id=f"q{index:04d}",
            slice="",
            rewrites=(f"{index} w{index * 7} more{index * 11} {name[:3]}{index}",),
            reward=gain + 0.01 * ((index * 37) % 11 - 5),
            ndcg10=min(1.0, 0.4 + 0.005 * (index % 40) + gold_gain * (1 + (index % 3 - 1) / 2)),
            recall100=min(1.0, 0.6 + 0.004 * (index % 40) + gold_gain * (1 + (index % 5 - 2) / 4)),
            length_ratio=1.1,
            copy=False,
            repetition=0.2,
            format_ok=True,
            query=f"query {index} w{index * 7}",
        )
        for index in range(queries)
    )
    return EvidenceRows(rows=rows, sha256=digest_of(name), reward_revision=REWARD, relevance_model=RELEVANCE)
