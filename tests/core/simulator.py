"""A cluster in memory that does what plan() decides, one write at a time, so that tests can play whole stories.

It obeys the same order of writes as reconcile.py: a route that takes traffic back, then status, then children, then an
order to a pod. Nothing in it decides anything about a release. After every pass it checks what must always hold.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rewriter_contract import env, wire
from rewriter_contract.messages import (
    PASSTHROUGH,
    VOLUME_FULL,
    EvidenceOrder,
    EvidenceRows,
    LoadState,
    PhaseOrder,
    PrepareResult,
    PromotionRecord,
    SamplerState,
    SamplesOrder,
    ServingOrder,
    ServingStats,
    ShardRef,
    StageCounters,
    StorageOrder,
    StorageResult,
    WeightsOrder,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import PhaseStep, RewriterReleaseStatus
from rewriter_operator.core.asked import are_serving_pods_asked
from rewriter_operator.core.children import servings
from rewriter_operator.core.decision import Decision, Note, OrderToPod, PodChange, Removal, revision_name
from rewriter_operator.core.diff import Want, can_wait, first_difference, outdated, surplus
from rewriter_operator.core.gating import SIDES, evidence_paths, is_gathered
from rewriter_operator.core.intents import known_revisions
from rewriter_operator.core.metric_calls import MetricCall, due
from rewriter_operator.core.plan import plan
from rewriter_operator.core.retention import kept_revisions
from rewriter_operator.core.slow_shards import sample_paths
from rewriter_operator.core.trainers import trainer_paths
from rewriter_operator.core.validating import validation_paths
from rewriter_operator.core.world import (
    Budget,
    Child,
    Claim,
    Deployment,
    Fusion,
    MetricAnswer,
    Pod,
    Revision,
    Role,
    Route,
    World,
)
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import Manifest, render
from rewriter_operator.workloads.routers import ROUTERS
from tests.builders import (
    INSTALLATION,
    NOW,
    RELEVANCE,
    REWARD,
    digest_of,
    evidence,
    fusion,
    make_world,
    weights_ref,
)
from tests.data_plane import copied, divided_by_bucket

BASE = weights_ref("base-0123456789ab")


def healthy_prepare() -> PrepareResult:
    """What the prepare pod answers when nothing is missing."""
    return PrepareResult(
        base=BASE,
        data_digests={name: digest_of(name) for name in ("corpus", "train", "gate", "validation")},
        train_queries=100,
        gate_queries=40,
        relevance_model=RELEVANCE,
    )


@dataclass
class Server:
    """One serving pod: its counters, and how it answers."""

    revision: str
    boot_id: str
    stages: dict[str, StageCounters] = field(default_factory=dict)
    shadowed: dict[str, StageCounters] = field(default_factory=dict)
    weights: WeightsRef | None = None
    """Of a pool's pod, which says what it has loaded."""
    state: LoadState = LoadState.READY
    message: str = ""
    order: str = ""
    """Of a pool's pod: what it has carried out, or is loading, as its file says."""
    reads_at: float = 0
    """When kubelet will have written what it was told; 0 while its file is as the annotation."""
    loaded_by: float = 0
    """When what it is loading will be there; 0 while nothing is under way."""
    left: tuple[int, float] = (-1, 0)
    """Of a pool's pod: the revision whose label it had last, and until when the gateway sends it requests still."""
    ready_at: float = 0
    template: str = ""
    """Of a pool's pod: what it was made from."""


@dataclass
class Behaviour:
    """How the parts outside of the operator behave; a story changes what it is about."""

    prepare: PrepareResult = field(default_factory=healthy_prepare)
    evidence: Mapping[str, tuple[EvidenceRows, ...]] = field(default_factory=evidence)
    extended: Mapping[int, Mapping[str, tuple[EvidenceRows, ...]]] = field(default_factory=dict)
    """Extension of the gate -> all the evidence that there is then."""
    gateway_accepts: bool | None = True
    gateway_takes_over: bool = True
    """False: the gateway says "accepted", but its data plane keeps the shares that it had."""
    copies_are_marked: bool = True
    """False: the router mirrors without the mark by which a pod tells a copy from a request."""
    serving_ready: bool = True
    load_seconds: float = 20
    """What a pool's pod takes to load a weight set."""
    hanging: frozenset[str] = frozenset()
    """Pods of the pool in which no load ever ends."""
    kubelet_seconds: float = 1
    """After which a pool's pod finds in its file what it was told; until then it is what it was."""
    counts_on: bool = False
    """A pool's pod that is told the same revision anew goes on counting, as pods of older images do."""
    tells_orders: bool = True
    """False: the image is from before a pod told which order it has carried out."""
    load_fails: str = ""
    """The revision that no pool's pod can load."""
    requests_per_second: int = 20
    candidate_error_rate: float = 0.0
    candidate_latency: str = "50"
    """Bucket of all the candidate's answers; empty: no latency is told."""
    stats_readable: bool = True
    silent_pods: frozenset[str] = frozenset()
    odd_counters: Mapping[str, StageCounters] = field(default_factory=dict)
    """What a pod tells of finerank, whatever it has counted."""
    metrics_say: Callable[[MetricCall], MetricAnswer | None] = lambda call: None
    """What a look at a metric gives, whenever it is asked; None while there is no answer."""
    validation: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """What a phase's weights do on the validation queries, as the sampler tells it."""
    validation_ends: bool = True
    trainer_finishes: bool = True
    volume_full: bool = False
    """The trainer finds no room to publish."""
    samples: WorkState = WorkState.DONE
    """What becomes of samples that are ordered."""
    slow_samplers: frozenset[int] = frozenset()
    """Whose samples never end."""
    start_fails: str = ""
    """Why a sampler that is made for a weight set does not come up with it."""
    answering_model: str = RELEVANCE
    """The relevance model that a sampler's calls meet."""
    record_succeeds: bool = True
    record_ends: bool = True
    """False: a record pod runs until the story says `record_is_done()`."""
    record_lingers: bool = False
    """A record pod that is deleted writes its record all the same, and is gone only with `pods_are_gone()`."""


LOOK_AGAIN_SECONDS = 15.0
"""A pod that could not load what it was told tries again after this."""

GATEWAY_SECONDS = 5.0
"""A gateway sends a pod requests for this long after its label is gone."""

AT_ONE_MOMENT = 500
"""Writes without a pause: more, and the operator undoes what it does."""


class Stuck(AssertionError):
    """The story did not get where it should have."""


class Simulator:
    """A release and everything around it."""

    def __init__(
        self,
        spec: RewriterReleaseSpec,
        status: RewriterReleaseStatus | None = None,
        behaviour: Behaviour | None = None,
        now: float = NOW,
    ) -> None:
        self.spec, self.status = spec, status or RewriterReleaseStatus()
        self.written, self.generation = spec, 1
        """The newest spec that was seen, and the API server's count of its changes."""
        self.behaviour = behaviour or Behaviour()
        self.now = now
        self.annotations: dict[str, str] = {}
        self.managers: dict[str, str] = {}
        """Annotation -> who wrote it last, as the API server keeps it."""
        self.claim: Claim | None = Claim("Bound", ("ReadWriteMany",))
        self.fusion: Fusion | None = fusion()
        self.children: dict[tuple[str, str], Child] = {}
        self.backends: dict[str | None, dict[str, int]] = {}
        self.data_plane: dict[str | None, dict[str, int]] = {}
        self.mirrors: dict[str, tuple[str, int]] = {}
        """Stage -> the Service that the live route copies its requests to, and the percent of them."""
        self.copying: dict[str, tuple[str, int]] = {}
        """The same, as the data plane has it."""
        self.servers: dict[str, Server] = {}
        self.pool: dict[str, Any] = {}
        """Spec of the pool's Deployment."""
        self.samplers: dict[int, SamplerState] = {}
        self.works: dict[str, WorkReport] = {}
        self.report_digest = ""
        self.promoted: PromotionRecord | None = None
        """promoted.json"""
        self.records: dict[str, PromotionRecord] = {}
        """What each record pod was told to write."""
        self.weight_sets: set[str] = set()
        """Sets of phases that the volume holds."""
        self.removed_sets: set[str] = set()
        self.storage_orders: list[StorageOrder] = []
        """What each prepare pod was told."""
        self.writes: list[str] = []
        self.notes: list[Note] = []
        self.states: list[State] = [self.status.state]
        self.drained: set[int] = set()
        """Revisions that a hand may have left without a pod of the pool."""
        self.lost = 0
        """Requests that reached no pod, or one that serves something else by now."""
        self.remainders: dict[tuple[str | None, str], float] = {}
        self.uids = 0
        self.decided_twice = -1
        self.forgets_retention = False
        """The CRD is from before status.retention."""
        self.looks: dict[tuple[float, str], MetricAnswer | None] = {}
        """When and what was asked of a metrics service, and what it answered."""
        self.lose_status_writes = 0
        """That many of the next status writes never arrive: a conflict, or a crash right before."""
        self.rendered_for: object = None
        self.rendered: list[Manifest] = []

    # --- telling the story --------------------------------------------------------------------------------------------

    def settle(self, limit: int = 80) -> "Simulator":
        """Reconcile until there is nothing left to write at this moment."""
        for _ in range(limit):
            if not self.reconcile():
                return self
        raise Stuck(f"still writing after {limit} passes; last: {self.writes[-6:]}")

    def wait(self, seconds: float) -> "Simulator":
        """Time goes by, requests come in, and the operator looks every few seconds."""
        end, interval = self.now + seconds, max(5.0, seconds / 40)
        while self.now < end:
            self.pass_time(min(interval, end - self.now))
            self.settle()
        return self

    def until(self, reached: "State | Callable[[Simulator], bool]", limit: float = 3600) -> "Simulator":
        """Go on until a state is entered, or something is true."""
        if isinstance(reached, State):
            state, seen = reached, len(self.states)
            reached = lambda _: self.status.state is state or state in self.states[seen:]  # noqa: E731
        end, written = self.now + limit, 0
        while not reached(self):
            if self.now >= end or written > AT_ONE_MOMENT:
                told = f"{self.status.state}: {self.status.message}; states {self.states}; last {self.writes[-6:]}"
                raise Stuck(told)
            written += 1
            if not self.reconcile():
                self.pass_time(10.0)
                written = 0
        return self

    def cycle_ends(self, limit: float = 7200) -> str:
        """Go on until a cycle has ended; returns its outcome."""
        before = self.status.history[:1]
        self.until(lambda story: story.status.history[:1] != before, limit)
        return self.status.history[0].outcome.value

    def pass_time(self, seconds: float) -> None:
        """Time goes by without the operator."""
        self.now += seconds
        self._answer_requests(seconds)
        self._load()
        self._roll()

    def share(self, stage: str = "finerank") -> int:
        """Percent that the live route gives to a candidate."""
        route = self.world().route
        return route.shares.get(stage, 0) if route else 0

    def condition(self, kind: str) -> tuple[str, str]:
        """(status, reason)"""
        found = next(item for item in self.status.conditions if item.type == kind)
        return found.status, found.reason

    def has(self, kind: str, name: str) -> bool:
        """Whether an object exists."""
        return (kind, name) in self.children

    def gateway_answers(self) -> None:
        """The gateway looks at the live route again."""
        key, route = next((key, child) for key, child in self.children.items() if isinstance(child, Route))
        self.children[key] = replace(route, accepted=self.behaviour.gateway_accepts)
        if self.behaviour.gateway_takes_over:
            self.data_plane, self.copying = self.backends, self.mirrors

    def kill(self, name: str) -> None:
        """A pod of a cycle ends by itself, with all it knew."""
        pod = self.children[("Pod", name)]
        assert isinstance(pod, Pod)
        self.children[("Pod", name)] = replace(pod, phase="Failed", ready=False, message="OOMKilled")
        self._forget(pod)

    def record_is_done(self) -> None:
        """The record pod that runs, deleted or not, writes its record."""
        for key, child in self.children.items():
            if isinstance(child, Pod) and child.role is Role.RECORD and child.phase == "Running":
                self.promoted = self.records[child.name]
                self.children[key] = replace(child, phase="Succeeded", exit_code=0)

    def pods_are_gone(self) -> None:
        """Pods that were deleted have ended."""
        self.children = {key: child for key, child in self.children.items() if not child.deleting}

    def restart_sampler(self, index: int = 0) -> None:
        """Its container restarts: the pod is the same, its process knows nothing."""
        pods = [pod for pod in self.children.values() if isinstance(pod, Pod) and pod.role is Role.SAMPLER]
        made_for = next((pod.made_for for pod in pods if pod.number == index and not pod.deleting), None)
        self.samplers[index] = self._came_up(f"boot-{self._uid()}", made_for)
        for path in [path for path in self.works if path.startswith(("/v1/samples", "/v1/evidence", "/v1/validation"))]:
            del self.works[path]
        self.report_digest = ""

    # --- one pass -----------------------------------------------------------------------------------------------------

    def world(self) -> World:
        """What observe.py would see."""
        if self.spec != self.written:
            self.written, self.generation = self.spec, self.generation + 1
        world = make_world(
            self.spec,
            self.status,
            dict(self.annotations),
            now=self.now,
            claim=self.claim,
            fusion=self.fusion,
            children=tuple(self.children.values()),
        )
        release = replace(world.release, managers=dict(self.managers), generation=self.generation)
        world = replace(world, release=release)
        state, paths = self.status.state, self._asked_paths(world)
        sampler_pods = {pod.number for pod in world.pods(Role.SAMPLER) if pod.ip and not pod.deleting}
        works = {path: self.works[path] for *_, path in paths if path in self.works}
        rows = {}
        if state is State.GATING:
            extensions = self.status.cycle.extensions if self.status.cycle else 0
            found = self.behaviour.extended.get(extensions, self.behaviour.evidence)
            told = replace(world, works=works)
            rows = {
                side: tuple(self._scored(shard) for shard in found[side])
                for side in SIDES
                if sampler_pods and is_gathered(told, side)
            }
        return replace(
            world,
            answers=self._answers(world),
            samplers={index: item for index, item in self.samplers.items() if index in sampler_pods},
            works=works,
            unknown_works=frozenset(
                path for role, number, path in paths if path not in works and _runs(world, role, number)
            ),
            evidence=rows,
            report_digest=self.report_digest if len(rows) == 2 else "",
            stats=self._stats() if are_serving_pods_asked(world) else {},
        )

    def _scored(self, shard: EvidenceRows) -> EvidenceRows:
        """Evidence by the reward that was ordered and the model that answers, where the story tells of no others."""
        cycle = self.status.cycle
        ordered = cycle.reward_revision if cycle and shard.reward_revision == REWARD else shard.reward_revision
        model = self.behaviour.answering_model if shard.relevance_model == RELEVANCE else shard.relevance_model
        return replace(shard, reward_revision=ordered, relevance_model=model)

    def reconcile(self) -> bool:
        """One pass: decide, and carry out one write. False when there was nothing to write."""
        world = self.world()
        decision = plan(world)
        if self.status.state is not State.GATING and self.decided_twice != len(self.writes):
            self.decided_twice = len(self.writes)  # once after every write: between two, worlds are many and alike
            assert plan(world) == decision, "the same world must give the same decision"
        wrote = self._write_one(world, decision)
        self.check()
        return wrote

    def check(self) -> None:
        """What must hold between any two writes: only what passed or was approved has a share, of a known size."""
        world = self.world()
        cycle, route = self.status.cycle, world.route
        carried = {stage: share for stage, share in (route.shares if route else {}).items() if share}
        if carried or self.mirrors:
            assert cycle is not None, f"the route gives {carried} to a candidate, and there is no cycle"
            assert cycle.gate is not None
            approved = bool(cycle.hold and cycle.hold.approved) and cycle.gate.approvable
            assert cycle.gate.verdict == "Pass" or approved, f"{carried} without a Pass or an approval"
            ours = self._candidate_service() | {service for service, _ in self.mirrors.values()}
            assert ours == {names.serving("shop", cycle.number)}
        if self.status.state is State.IDLE and self.promoted is not None:
            told = {stage: ref.version for stage, ref in self.promoted.stages.items()}
            serves = {item.name: item.incumbent.weights.version for item in self.status.stages if item.incumbent}
            assert not serves or {stage: told.get(stage) for stage in serves} == serves, (
                "promoted.json is not what serves"
            )
        planned = {stage.name.value: {0, *(s.set_share for s in stage.steps)} for stage in world.spec.rollout.stages}
        assert all(share in planned[stage] for stage, share in carried.items() if stage in planned)
        self._check_weights()
        self._check_pool(world)

    def _check_pool(self, world: World) -> None:
        """Nothing answers as what its Service is not, and whoever the live route names has a pod that does answer."""
        for pod in world.pool:
            found = self.servers[pod.name]
            assert pod.role is Role.POOL or found.revision == revision_name(pod.cycle), f"{pod.name} serves another"
        if not world.pool or any(item.cycle >= 0 for item in self._own_deployments()):
            return
        for service in {name for live in self.backends.values() for name, weight in live.items() if weight}:
            revision = names.revision_of(service, "shop")
            lent = [pod for pod in world.pool if pod.role is Role.SERVING and pod.cycle == revision]
            assert revision is None or lent or revision in self.drained, f"{service} has requests and no pod"

    def _own_deployments(self) -> list[Deployment]:
        found = [child for child in self.children.values() if isinstance(child, Deployment)]
        return [item for item in found if item.role is Role.SERVING]

    def _check_weights(self) -> None:
        """Nothing that serves, is loaded, or may be asked for was ever removed from the volume."""
        if not self.removed_sets:
            return
        world = self.world()
        cycle = self.status.cycle
        wanted = {item.weights.version for item in servings(world).values()}
        wanted |= {item.weights.version for item in known_revisions(world)}
        if cycle:
            refs = [cycle.start, *(item.weights for item in cycle.phases), cycle.phase and cycle.phase.weights]
            wanted |= {ref.version for ref in refs if ref}
        wanted |= {state.weights.version for state in world.samplers.values() if state.weights}
        assert wanted.isdisjoint(self.removed_sets), f"removed although it is needed: {wanted & self.removed_sets}"

    def _write_one(self, world: World, decision: Decision) -> bool:
        after = replace(world, release=replace(world.release, status=decision.status))
        manifests = self._render(after, decision)
        if decision.urgent_route:
            self._apply(next(item for item in manifests if item.is_route))
        if decision.status.to_api() != self.status.to_api():
            self._write_status(decision)
            return True
        if decision.urgent_route:
            return True
        wants = [_want(manifest) for manifest in manifests]
        difference = first_difference(wants, world.children)
        if decision.assignment is not None and (difference is None or can_wait(difference)):
            self._assign(decision.assignment)
            return True
        if difference is not None:
            self._apply(next(m for m in manifests if (m.kind, m.name) == (difference.kind, difference.name)))
            return True
        removals = [*decision.replace, *outdated(wants, world.children)]
        removals += surplus(wants, after, kept_revisions(after))
        if removals:
            self._remove(removals[0])
            return True
        if decision.outcomes:
            self._write_outcome(decision)
            return True
        if decision.order is not None:
            self._order(decision.order)
            return True
        return False

    def _render(self, after: World, decision: Decision) -> list[Manifest]:
        """Rendered again only when something is wanted differently, which keeps long stories fast."""
        if self.rendered_for != (after.spec, decision.wanted):
            self.rendered_for = (after.spec, decision.wanted)
            self.rendered = render(after.release, decision.wanted, INSTALLATION)
        return self.rendered

    def _write_status(self, decision: Decision) -> None:
        if self.lose_status_writes:
            self.lose_status_writes -= 1
            return
        self.status = RewriterReleaseStatus.model_validate(decision.status.to_api())  # as it is read back
        if self.forgets_retention:
            self.now += 1  # it is written again and again
            self.status = self.status.model_copy(update={"retention": None})
        self.notes += decision.notes
        self.writes.append(f"status {self.status.state}")
        if self.states[-1] is not self.status.state:
            self.states.append(self.status.state)

    def _write_outcome(self, decision: Decision) -> None:
        outcome = decision.outcomes[0]
        key = ("RewriterRevision", names.revision("shop", outcome.revision))
        found = self.children[key]
        assert isinstance(found, Revision)
        text = outcome.status.outcome.value if outcome.status.outcome else ""
        serving = tuple(outcome.status.serving)
        told = {"outcome": text, "message": outcome.status.message, "kept": outcome.status.weights or ""}
        self.children[key] = replace(found, **told, serving=serving)
        self.writes.append(f"outcome r{outcome.revision:04d} {text}")

    # --- the rest of the cluster --------------------------------------------------------------------------------------

    def _apply(self, manifest: Manifest) -> None:
        self.writes.append(f"apply {manifest.kind} {manifest.name}")
        labels = manifest.body["metadata"]["labels"]
        cycle = labels[names.LABEL_CYCLE]
        common: dict[str, Any] = {
            "kind": manifest.kind,
            "name": manifest.name,
            "uid": self._uid(),
            "role": Role(labels[names.LABEL_ROLE]),
            "cycle": -1 if cycle == "passthrough" else int(cycle),
            "number": int(labels[names.LABEL_NUMBER]),
            "spec_hash": manifest.digest,
        }
        match manifest.kind:
            case "Pod":
                child: Child = self._new_pod(common, manifest)
            case "Deployment" if common["role"] is Role.POOL:
                child = self._new_pool(common, manifest)
            case "Deployment":
                child = self._new_deployment(common, manifest)
            case "PodDisruptionBudget":
                child = Budget(**common, spec=manifest.body["spec"])
            case "HTTPRoute" | "VirtualService":
                child = self._new_route(common, manifest)
            case "RewriterRevision":
                told = manifest.body["spec"]
                child = Revision(**common, weights=told["weights"]["version"], parent=told["parent"])
            case _:
                child = Child(**common)
        self.children[(manifest.kind, manifest.name)] = child

    def _new_pod(self, common: dict[str, Any], manifest: Manifest) -> Pod:
        pod = Pod(**common, phase="Running", ready=True, ip="10.0.0.1", created_at=self.now)
        match pod.role:
            case Role.PREPARE:
                answer = self._retained(_variables(manifest))
                return replace(pod, phase="Succeeded", message=wire.dumps(answer), exit_code=0)
            case Role.RECORD:
                self.records[pod.name] = wire.loads(PromotionRecord, _variables(manifest)[env.RECORD])
                return self._new_record(pod)
            case Role.SAMPLER:
                made_for = _made_for(manifest)
                self.samplers[pod.number] = self._came_up(pod.uid, made_for)
                return replace(pod, made_for=made_for)
        return pod

    def _came_up(self, boot_id: str, made_for: WeightsRef | None) -> SamplerState:
        """A sampler's new process: empty, or with the weights that the pod's template names."""
        if made_for is None:
            return SamplerState(boot_id=boot_id, state=LoadState.EMPTY, weights=None)
        words = self.behaviour.start_fails
        state = LoadState.FAILED if words else LoadState.READY
        return SamplerState(boot_id=boot_id, state=state, weights=None if words else made_for, message=words)

    def _retained(self, variables: Mapping[str, str]) -> PrepareResult:
        """The prepare pod's answer, once it has removed what its order gives up and promoted.json does not name."""
        if env.STORAGE not in variables:
            return self.behaviour.prepare
        order = wire.loads(StorageOrder, variables[env.STORAGE])
        self.storage_orders.append(order)
        refs = [*self.promoted.stages.values(), *self.promoted.history] if self.promoted else []
        kept = {*order.weights, *(ref.version for ref in refs)}
        cycles = {version: int(version[1:5]) for version in self.weight_sets - kept}
        gone = {version for version, cycle in cycles.items() if cycle < order.cycle and cycle not in order.busy}
        self.weight_sets -= gone
        self.removed_sets |= gone
        result = StorageResult(removed=tuple(sorted(gone)), removed_count=len(gone), freed_bytes=1000 * len(gone))
        return replace(self.behaviour.prepare, storage=self.behaviour.prepare.storage or result)

    def _new_record(self, pod: Pod) -> Pod:
        if not self.behaviour.record_ends:
            return pod
        if not self.behaviour.record_succeeds:
            return replace(pod, phase="Failed", exit_code=1, message="no space left")
        self.promoted = self.records[pod.name]
        return replace(pod, phase="Succeeded", exit_code=0)

    def _new_deployment(self, common: dict[str, Any], manifest: Manifest) -> Deployment:
        replicas = manifest.body["spec"]["replicas"]
        before = self.children.get((manifest.kind, manifest.name))
        ready = replicas if self.behaviour.serving_ready or common["cycle"] < 0 else 0
        if isinstance(before, Deployment) and before.spec_hash == manifest.digest:  # scaled: its pods stay as they are
            ready = max(ready, min(before.ready, replicas))
        for index in range(replicas):
            name = f"{manifest.name}-{index}"
            values = common | {"kind": "Pod", "name": name, "uid": self._uid(), "spec_hash": ""}
            self.children[("Pod", name)] = Pod(**values, phase="Running", ready=index < ready, ip="10.0.0.2")
            revision = PASSTHROUGH if common["cycle"] < 0 else f"r{common['cycle']:04d}"
            self.servers.setdefault(name, Server(revision, f"boot-{name}-{self.uids}"))
        return Deployment(**common, replicas=replicas, ready=ready)

    def _new_pool(self, common: dict[str, Any], manifest: Manifest) -> Deployment:
        """Its pods stay what they are until its controller comes to them; new ones are told nothing yet."""
        self.pool = manifest.body["spec"]
        replicas = self.pool["replicas"]
        free = [index for index in range(replicas) if ("Pod", f"{manifest.name}-{index}") not in self.children]
        for index in free[: max(0, replicas - len(self.world().pool))]:
            self._new_pool_pod(f"{manifest.name}-{index}")
        return Deployment(**common, replicas=self.pool["replicas"], rolls=bool(self._outdated()))

    def _new_pool_pod(self, name: str) -> None:
        pod = Pod("Pod", name, self._uid(), Role.POOL, 0, 0, "", phase="Running", ip="10.0.0.3", pool=True)
        self.children[("Pod", name)] = pod
        template = wire.dumps(self.pool["template"])
        self.servers[name] = Server("", f"boot-{name}-{self.uids}", state=LoadState.EMPTY, template=template)

    def _outdated(self) -> list[Pod]:
        """Pods of the pool whose template is another by now."""
        template = wire.dumps(self.pool["template"])
        return [pod for pod in self.world().pool if self.servers[pod.name].template != template]

    def _roll(self) -> None:
        """The pool's controller replaces pods: which are ready, and since when, is all that it knows of them."""
        key = ("Deployment", names.pool("shop"))
        live = self.children.get(key)
        if not isinstance(live, Deployment) or not live.rolls:
            return
        ready_at = {pod.name: self.servers[pod.name].ready_at if pod.ready else self.now for pod in self.world().pool}
        up = [name for name, since in ready_at.items() if self.now - since >= self.pool["minReadySeconds"]]
        may = self.pool["strategy"]["rollingUpdate"]["maxUnavailable"] - (self.pool["replicas"] - len(up))
        for pod in sorted(self._outdated(), key=lambda pod: -ready_at[pod.name]):
            if pod.name not in up or may > 0:
                may -= pod.name in up
                self.restart_pool_pod(pod.name)
        self.children[key] = replace(live, rolls=bool(self._outdated()))

    def _assign(self, change: PodChange) -> None:
        pod, server = self.children[("Pod", change.pod)], self.servers[change.pod]
        assert isinstance(pod, Pod) and pod.uid == change.uid
        did = f"order {json.loads(change.order)['serving']['revision']}" if change.order is not None else ""
        label = f"label r{change.label:04d}" if change.label is not None else "release"
        self.writes.append(f"{did or label} {change.pod}")
        if pod.role is Role.SERVING and pod.ready:
            server.left = (pod.cycle, self.now + GATEWAY_SECONDS)
        if change.label is None:
            pod = replace(pod, role=Role.POOL, cycle=0, released_at=change.at)
        else:
            pod = replace(pod, role=Role.SERVING, cycle=change.label, assigned_at=change.at)
        if change.order is not None:
            pod = replace(pod, order=change.order)
            server.reads_at = self.now + self.behaviour.kubelet_seconds
        self.children[("Pod", change.pod)] = pod
        self._load()

    def _load(self) -> None:
        """Pods read what they were told, and have loaded what they read."""
        for key, pod in self.children.items():
            if not isinstance(pod, Pod) or not pod.pool or pod.phase != "Running":
                continue
            server = self.servers[key[1]]
            if not server.loaded_by and 0 < server.reads_at <= self.now:
                self._read_order(pod, server)
            if 0 < server.loaded_by <= self.now:
                self._loaded(pod, server)

    def _read_order(self, pod: Pod, server: Server) -> None:
        """It begins to load; or goes on as it is, where nothing of it has to be loaded."""
        order, old = wire.loads(ServingOrder, pod.order), server
        before = wire.loads(ServingOrder, old.order) if old.order and old.state is LoadState.READY else None
        is_kept = before is not None and _loads_nothing(before, order)
        boot_id = f"boot-{pod.name}-{self._uid()}"
        server = self.servers[pod.name] = Server(
            order.serving.revision,
            boot_id,
            left=old.left,
            order=pod.order,
            ready_at=old.ready_at,
            template=old.template,
        )
        if is_kept:
            server.weights = order.serving.weights
            if self.behaviour.counts_on:
                server.boot_id, server.stages, server.shadowed = old.boot_id, old.stages, old.shadowed
        else:
            hangs = pod.name in self.behaviour.hanging
            server.state = LoadState.LOADING
            server.loaded_by = math.inf if hangs else self.now + self.behaviour.load_seconds
        self.children[("Pod", pod.name)] = replace(pod, ready=is_kept)

    def _loaded(self, pod: Pod, server: Server) -> None:
        order = wire.loads(ServingOrder, server.order)
        if order.serving.revision == self.behaviour.load_fails:
            server.state, server.message = LoadState.FAILED, f"weights of {self.behaviour.load_fails} are refused"
            server.loaded_by = 0 if server.reads_at else self.now + LOOK_AGAIN_SECONDS
            return
        server.state, server.message, server.loaded_by = LoadState.READY, "", 0
        server.weights, server.ready_at = order.serving.weights, self.now
        self.children[("Pod", pod.name)] = replace(pod, ready=True)

    def restart_pool_pod(self, name: str) -> None:
        """The pod is replaced: a node was drained, or somebody deleted it."""
        del self.children[("Pod", name)]
        del self.servers[name]
        self._new_pool_pod(f"{name}x")

    def evict_pool_pod(self, name: str) -> None:
        """kubelet ended it, for want of memory or disk: the object stays, with its labels, and another one is made."""
        pod = self.children[("Pod", name)]
        assert isinstance(pod, Pod)
        self.children[("Pod", name)] = replace(pod, phase="Failed", ready=False, message="Evicted")
        self._new_pool_pod(f"{name}x")

    def drain(self, name: str) -> str:
        """The same, and its successor finds no node; returns its name."""
        pod = self.children[("Pod", name)]
        self.drained.add(pod.cycle)
        self.restart_pool_pod(name)
        successor = self.children[("Pod", f"{name}x")]
        assert isinstance(successor, Pod)
        self.children[("Pod", successor.name)] = replace(successor, phase="Pending", ip="")
        return successor.name

    def _new_route(self, common: dict[str, Any], manifest: Manifest) -> Route:
        self.backends = _divided(manifest.body["spec"])
        self.mirrors = copied(manifest.body["spec"])
        if self.behaviour.gateway_takes_over:
            self.data_plane, self.copying = self.backends, self.mirrors
        shares = {
            stage: list(backends.values())[1] if len(backends) > 1 else 0
            for stage, backends in self.backends.items()
            if stage is not None
        }
        withdrawn = manifest.body["metadata"]["annotations"].get(names.ANNOTATION_WITHDRAWN)
        before = self.children.get((manifest.kind, common["name"]))
        return Route(
            **common,
            accepted=self.behaviour.gateway_accepts,
            was_accepted=isinstance(before, Route) and (before.accepted is True or before.was_accepted),
            tells_acceptance=ROUTERS[manifest.kind].tells_acceptance,
            shares=shares,
            withdrawn=int(withdrawn) if withdrawn else None,
            mirrors={stage: percent for stage, (_, percent) in self.mirrors.items()},
            spec=manifest.body["spec"],
        )

    def _remove(self, removal: Removal) -> None:
        self.writes.append(f"delete {removal.kind} {removal.name}")
        child = self.children[(removal.kind, removal.name)]
        assert child.uid == removal.uid
        if child.role is Role.RECORD and self.behaviour.record_lingers:
            self.children[(removal.kind, removal.name)] = replace(child, deleting=True)
            return
        del self.children[(removal.kind, removal.name)]
        live = {name for backends in self.backends.values() for name in backends}
        lent = any(pod.role is Role.SERVING and pod.cycle == child.cycle for pod in self.world().pool)
        serves = removal.kind in ("Service", *([] if lent else ["Deployment"])) and removal.name in live
        assert not serves, f"{removal.name} is deleted while the route still names it"
        self._forget(child)
        if removal.kind == "Deployment":
            for key in [key for key in self.children if key[0] == "Pod" and key[1].startswith(f"{removal.name}-")]:
                del self.children[key]
                self.servers.pop(key[1], None)

    def _forget(self, child: Child) -> None:
        if child.role is Role.SAMPLER:
            self.restart_sampler(child.number)
        if child.role is Role.TRAINER:
            own = f"/{child.number}" if self.spec.training.trainer.replicas > 1 else ""
            for path in [path for path in self.works if path.startswith("/v1/phases") and path.endswith(own)]:
                del self.works[path]

    def _order(self, order: OrderToPod) -> None:
        self.writes.append(f"order {order.path}")
        body = order.body
        match body:
            case WeightsOrder():
                ref = WeightsRef(body.version, body.digest)
                before = self.samplers[order.number]
                self.samplers[order.number] = replace(before, state=LoadState.READY, weights=ref)
            case SamplesOrder() | EvidenceOrder() if self._meets_another_model(body):
                words = f"relevance model: {self.behaviour.answering_model} answers, not {body.reward.relevance_model}"
                self.works[order.path] = WorkReport(WorkState.FAILED, heartbeat_at=self.now, message=words)
            case SamplesOrder() if order.number in self.behaviour.slow_samplers:
                self.works[order.path] = WorkReport(WorkState.RUNNING, 1, 8, heartbeat_at=self.now)
            case SamplesOrder() if self.behaviour.samples is not WorkState.DONE:
                self.works[order.path] = WorkReport(self.behaviour.samples, 1, 8, heartbeat_at=self.now)
            case EvidenceOrder() if "/validation/" in order.path and not self.behaviour.validation_ends:
                self.works[order.path] = WorkReport(WorkState.RUNNING, 1, 8, heartbeat_at=self.now)
            case SamplesOrder() | EvidenceOrder():
                assert body.weights is None or self.samplers[order.number].weights == body.weights, "412"
                shard = ShardRef(body.out, 8, digest_of(body.out))
                done = WorkReport(WorkState.DONE, 8, 8, heartbeat_at=self.now, shard=shard)
                self.works[order.path] = replace(done, metrics=self._validated(order.path))
            case PhaseOrder() if self.behaviour.volume_full:
                words = "SafetensorError: No space left on device"
                self.works[order.path] = WorkReport(WorkState.FAILED, message=words, reason=VOLUME_FULL)
            case PhaseOrder() if order.number < self.spec.training.trainer.replicas - 1:
                self.works[order.path] = WorkReport(WorkState.RUNNING, heartbeat_at=self.now)  # it waits for the others
            case PhaseOrder() if self.behaviour.trainer_finishes:
                self.weight_sets.add(body.out_version)
                done = WorkReport(WorkState.DONE, heartbeat_at=self.now, weights=weights_ref(body.out_version))
                self.works[order.path] = replace(done, metrics={"loss": 0.5})
            case PhaseOrder():
                self.works[order.path] = WorkReport(WorkState.RUNNING, 1, 9, heartbeat_at=self.now)
            case _:
                self.report_digest = hashlib.sha256(wire.dumps(body).encode()).hexdigest()

    def _meets_another_model(self, order: SamplesOrder | EvidenceOrder) -> bool:
        return order.reward.relevance_model not in (None, self.behaviour.answering_model)

    def _validated(self, path: str) -> dict[str, float]:
        of_phase = path.split("/")[4] if path.startswith("/v1/validation") else "0"
        return dict(self.behaviour.validation.get(int(of_phase), {}))

    def _asked_paths(self, world: World) -> list[tuple[Role, int, str]]:
        cycle = world.status.cycle
        if self.status.state is State.GATING:
            count = world.spec.training.samplers.replicas
            shards = [pair for side in SIDES for pair in enumerate(evidence_paths(world, side))]
            return [(Role.SAMPLER, index % count, path) for index, path in shards]
        if self.status.state is State.TRAINING and cycle and cycle.phase:
            if cycle.phase.step is PhaseStep.VALIDATING:
                return [(Role.SAMPLER, index, path) for index, path in enumerate(validation_paths(world))]
            if cycle.phase.step is PhaseStep.SAMPLING:
                return [(Role.SAMPLER, index, path) for index, path in sample_paths(world)]
            if cycle.phase.step is PhaseStep.TRAINING:
                return [(Role.TRAINER, number, path) for number, path in enumerate(trainer_paths(world))]
        return []

    def _answers(self, world: World) -> dict[str, MetricAnswer]:
        """Each look is asked once, as the operator does it, and answered at once."""
        answers = {}
        for call in due(world):
            key = (self.now, call.of)
            if key not in self.looks:
                answer = self.behaviour.metrics_say(call)
                self.looks[key] = answer and replace(answer, asked_at=self.now)
            found = self.looks[key]
            if found is not None:
                answers[call.of] = found
        return answers

    def _stats(self) -> dict[str, ServingStats]:
        if not self.behaviour.stats_readable:
            return {}
        return {
            name: ServingStats(
                server.boot_id,
                server.revision,
                server.state,
                server.weights,
                self._told(name, server),
                server.message,
                dict(server.shadowed),
                self._carried_out(server),
            )
            for name, server in self.servers.items()
            if name not in self.behaviour.silent_pods and not self._is_pending(name)
        }

    def _is_pending(self, name: str) -> bool:
        pod = self.children.get(("Pod", name))
        return isinstance(pod, Pod) and pod.phase == "Pending"

    def _carried_out(self, server: Server) -> str:
        is_told = self.behaviour.tells_orders and server.order and server.state is LoadState.READY
        return wire.digest(server.order) if is_told else ""

    def _told(self, name: str, server: Server) -> dict[str, StageCounters]:
        odd = self.behaviour.odd_counters.get(name)
        return dict(server.stages) | ({"finerank": odd} if odd else {})

    def _candidate_service(self) -> set[str]:
        seconds = [list(backends.items())[1] for backends in self.backends.values() if len(backends) > 1]
        return {service for service, weight in seconds if weight}

    def _answer_requests(self, seconds: float) -> None:
        """Requests of every stage, divided as the data plane divides them."""
        for stage, backends in self.data_plane.items():
            if stage is None:
                continue
            for service, weight in backends.items():
                exact = self.behaviour.requests_per_second * seconds * weight / 100
                exact += self.remainders.get((stage, service), 0.0)
                self.remainders[(stage, service)] = exact - int(exact)
                self._count(service, stage, int(exact))
        for stage, (service, percent) in self.copying.items():
            copies = int(self.behaviour.requests_per_second * seconds * percent / 100)
            self._count(service, stage, copies, mirrored=self.behaviour.copies_are_marked)

    def _count(self, service: str, stage: str, requests: int, mirrored: bool = False) -> None:
        pods = self._endpoints(service)
        if not pods and names.revision_of(service, "shop") is not None:
            self.lost += requests
        cycle = self.status.cycle
        ours = bool(cycle and cycle.candidate and service == names.serving("shop", cycle.candidate.revision))
        for index, name in enumerate(pods):
            count = requests // len(pods) + (index < requests % len(pods))
            errors = round(count * self.behaviour.candidate_error_rate) if ours else 0
            bucket = self.behaviour.candidate_latency if ours else "50"
            server = self.servers[name]
            counted = server.shadowed if mirrored else server.stages
            before = counted.get(stage, StageCounters())
            counted[stage] = StageCounters(
                requests=before.requests + count,
                errors=before.errors + errors,
                empty=before.empty,
                latency_ms=_histogram(before.latency_ms, bucket, count),
            )

    def _endpoints(self, service: str) -> list[str]:
        """Pods to which the gateway sends a Service's requests."""
        own = [name for name in self.servers if name.rsplit("-", 1)[0] == service]
        revision = names.revision_of(service, "shop")
        lent = []
        for key, pod in self.children.items():
            if not isinstance(pod, Pod) or not pod.pool or revision is None:
                continue
            left, until = self.servers[key[1]].left
            is_learnt = pod.role is Role.SERVING and pod.cycle == revision and pod.ready
            if is_learnt or (left == revision and self.now < until):
                assert self.servers[key[1]].revision == revision_name(revision), f"{key[1]} is asked and serves another"
                assert pod.ready, f"{key[1]} is asked while it loads"
                lent.append(key[1])
        return sorted([*own, *lent])

    def _uid(self) -> str:
        self.uids += 1
        return f"uid-{self.uids}"


def _loads_nothing(before: ServingOrder, order: ServingOrder) -> bool:
    """Whether a pod that serves as one order says goes on answering when it is given the other."""
    kept = (before.serving.revision, before.serving.weights, replace(before.engine, prompt=order.engine.prompt))
    return kept == (order.serving.revision, order.serving.weights, order.engine)


def _runs(world: World, role: Role, number: int) -> bool:
    pods = (pod for pod in world.pods(role) if pod.number == number)
    return any(pod.phase == "Running" and not pod.deleting for pod in pods)


def _main(manifest: Manifest) -> dict[str, Any]:
    container: dict[str, Any] = manifest.body["spec"]["containers"][0]
    return container


def _variables(manifest: Manifest) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in _main(manifest)["env"]}


def _made_for(manifest: Manifest) -> WeightsRef | None:
    text = _variables(manifest).get(env.WEIGHTS)
    return wire.loads(WeightsRef, text) if text else None


def _histogram(before: Mapping[str, int], bucket: str, count: int) -> dict[str, int]:
    """Cumulative counts after `count` more answers in `bucket`."""
    if not bucket:
        return dict(before)
    bounds = ("50", "1000", "5000", "+Inf")
    return {bound: before.get(bound, 0) + (count if float(bound) >= float(bucket) else 0) for bound in bounds}


def _want(manifest: Manifest) -> Want:
    role = Role(manifest.body["metadata"]["labels"][names.LABEL_ROLE])
    compared = manifest.compared
    found = Want(manifest.kind, manifest.name, manifest.digest, manifest.update, role, manifest.replicas, compared)
    return replace(found, has_defaults=manifest.has_defaults)


def _divided(spec: Mapping[str, Any]) -> dict[str | None, dict[str, int]]:
    """Stage (None: everything else) -> Service -> weight, as a data plane reads them.

    Where users are told apart by their buckets, every request has one, and no bucket has more requests than another.
    """
    by_bucket = divided_by_bucket(spec)
    if by_bucket:
        return {**by_bucket}
    if "rules" in spec:
        return {
            next((header["value"] for match in rule["matches"] for header in match.get("headers", [])), None): {
                backend["name"]: backend["weight"] for backend in rule["backendRefs"]
            }
            for rule in spec["rules"]
        }
    return {
        next((match["headers"]["x-rewriter-stage"]["exact"] for match in rule.get("match", [])), None): {
            route["destination"]["host"]: route["weight"] for route in rule["route"]
        }
        for rule in spec["http"]
    }
