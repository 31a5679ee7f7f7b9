"""Stand-ins for the programs in the pods: the contract's own control server, real files on a real directory, no model.

Allowed here and only here (tests/faults): what is under test is the operator, and a cycle has to take seconds.
"""

import hashlib
import re
import threading
import time as real
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rewriter_contract import env, volume, wire
from rewriter_contract.agent import Progress, Refused, Route, WorkFailed, WorkTable, boot_id
from rewriter_contract.messages import (
    EvidenceOrder,
    EvidenceRow,
    EvidenceRows,
    LoadState,
    PhaseOrder,
    PrepareOrder,
    PrepareResult,
    Problem,
    PromotionRecord,
    Sample,
    SampleRow,
    SamplerState,
    SamplesOrder,
    ServingConfig,
    ServingStats,
    ShardRef,
    StageCounters,
    WeightsOrder,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.shards import read_done, read_shard, replace_file, write_shard
from rewriter_contract.weights import file_sha256, manifest_digest
from tests.builders import evidence
from tests.faults import weight_files

SAMPLES = r"/v1/samples/(\d+)/(\d+)/(\d+)"
EVIDENCE = r"/v1/evidence/(\d+)/(candidate|incumbent)/(\d+)"
VALIDATION = r"/v1/validation/(\d+)/(\d+)/(\d+)"
REPORT = r"/v1/report/(\d+)"
PHASE = r"/v1/phases/(\d+)/(\d+)"


@dataclass
class Behaviour:
    """What a workload is about; everything else is healthy."""

    gain: float = 0.2
    """Of the candidate's reward in the gate's evidence."""
    gold_gain: float = 0.02
    """Of its gold, there too."""
    candidate_errors: float = 0.0
    """Share of a candidate's answers that are errors."""
    bad_revision: str = ""
    """Which revision answers with errors."""
    unscored_shard: int = -1
    """Of samples: the one that its own sampler cannot score, because no way leads from its node to the service."""


def prepare(root: Path, order: PrepareOrder, writer: str) -> PrepareResult:
    """What rewriter_trainer.prepare does, but for the checks of content."""
    promoted = root / volume.PROMOTED
    digests = {name: file_sha256(root / path) for name, path in order.data_files.items()}
    spec = root / volume.spec_file(order.cycle)
    if order.cycle and spec.exists() and spec.read_text() != order.resolved_spec:
        return PrepareResult(problems=(Problem("SpecChanged", f"cycle {order.cycle} has run with another spec"),))
    content = (root / order.model_path / "config.json").read_text()
    version = volume.base_version(hashlib.sha256(content.encode()).hexdigest())
    base = weight_files.publish(root, version, "", content, writer)
    cycles = [int(path.name) for path in (root / "cycles").iterdir()] if (root / "cycles").is_dir() else []
    result = PrepareResult(
        base=base,
        data_digests=digests,
        train_queries=8,
        gate_queries=32,
        relevance_model="stand-in@1",
        promoted=wire.loads(PromotionRecord, promoted.read_bytes()) if promoted.exists() else None,
        last_cycle=max(cycles, default=0),
    )
    replace_file(spec, order.resolved_spec.encode(), writer)
    return result


def record(root: Path, promotion: PromotionRecord, writer: str) -> None:
    """What rewriter_trainer.record does: never point at weights that are not there.

    Raises:
        WorkFailed: when they are not.
    """
    for ref in [*promotion.stages.values(), *promotion.history]:
        directory = root / volume.weights_dir(ref.version)
        if not (directory / volume.MANIFEST).exists() or manifest_digest(directory) != ref.digest:
            raise WorkFailed(f"weight set {ref.version} is not on the volume")
    replace_file(root / volume.PROMOTED, wire.dumps(promotion).encode(), writer)


def ran_once(root: Path, environment: Mapping[str, str], uid: str) -> tuple[int, str]:
    """Exit code and termination message of a prepare or record pod."""
    try:
        if env.PREPARE in environment:
            return 0, wire.dumps(prepare(root, wire.loads(PrepareOrder, environment[env.PREPARE]), uid))
        record(root, wire.loads(PromotionRecord, environment[env.RECORD]), uid)
    except (WorkFailed, OSError) as error:
        return 1, str(error)
    return 0, "{}"


@dataclass
class Trainer:
    """One phase at a time: checks what it learns from, publishes a weight set that depends on exactly that."""

    root: Path
    uid: str
    work: WorkTable = field(default_factory=WorkTable)

    def routes(self) -> list[Route]:
        return [
            Route("PUT", PHASE, self._put),
            Route("GET", PHASE, lambda match, _: self.work.get(match[0])),
            Route("DELETE", PHASE, lambda match, _: self.work.cancel(match[0])),
        ]

    def is_working(self) -> bool:
        return self.work.active() > 0

    def _put(self, match: re.Match[str], body: bytes) -> WorkReport:
        order = wire.loads(PhaseOrder, body)
        return self.work.put(match[0], wire.dumps(order), lambda progress: self._learn(order, progress))

    def _learn(self, order: PhaseOrder, progress: Progress) -> WorkReport:
        weight_files.verify(self.root, order.base)
        weight_files.verify(self.root, order.reference)
        rows = sum(1 for shard in order.samples for _ in read_shard(self.root / shard.path, shard.sha256))
        progress.update(done=rows, total=rows)
        content = f"{order.base.digest} {order.seed} {[shard.sha256 for shard in order.samples]}"
        ref = weight_files.publish(self.root, order.out_version, order.base.version, content, self.uid)
        return WorkReport(WorkState.DONE, rows, rows, metrics={"loss": 0.5}, weights=ref)


@dataclass
class Sampler:
    """Loads weight sets after verifying them, and draws rows that say which weights drew them."""

    root: Path
    uid: str
    behaviour: Behaviour
    work: WorkTable = field(default_factory=WorkTable)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: SamplerState = field(default_factory=lambda: SamplerState(boot_id(), LoadState.EMPTY, None))

    def routes(self) -> list[Route]:
        return [
            Route("PUT", "/v1/weights", self._load),
            Route("GET", "/v1/state", lambda _, __: self._state),
            Route("PUT", SAMPLES, self._samples),
            Route("GET", SAMPLES, lambda match, _: self.work.get(match[0])),
            Route("PUT", EVIDENCE, self._evidence),
            Route("GET", EVIDENCE, lambda match, _: self.work.get(match[0])),
            Route("GET", EVIDENCE + "/rows", self._rows),
            Route("PUT", VALIDATION, self._validation),
            Route("GET", VALIDATION, lambda match, _: self.work.get(match[0])),
            Route("PUT", REPORT, self._put_report),
            Route("GET", REPORT, self._get_report),
        ]

    def is_working(self) -> bool:
        return self.work.active() > 0 or self._state.state is LoadState.LOADING

    def _load(self, _: re.Match[str], body: bytes) -> SamplerState:
        order = wire.loads(WeightsOrder, body)
        return self.load(WeightsRef(order.version, order.digest))

    def load(self, ref: WeightsRef) -> SamplerState:
        """Because it was ordered to, or because its pod was made for these weights."""
        with self._lock:
            self._state = replace(self._state, state=LoadState.LOADING)
        threading.Thread(target=self._loaded, args=(ref,), daemon=True).start()
        return self._state

    def _loaded(self, ref: WeightsRef) -> None:
        weight_files.verify(self.root, ref)
        real.sleep(0.005)
        with self._lock:
            self._state = replace(self._state, state=LoadState.READY, weights=ref, reloads=self._state.reloads + 1)

    def _check_loaded(self, ref: WeightsRef) -> None:
        if self._state.state is not LoadState.READY or self._state.weights != ref:
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "OtherWeights", f"{ref.version} is not loaded")

    def _samples(self, match: re.Match[str], body: bytes) -> WorkReport:
        order = wire.loads(SamplesOrder, body)
        self._check_loaded(order.weights)
        return self.work.put(match[0], wire.dumps(order), lambda progress: self._draw(order, progress))

    def _draw(self, order: SamplesOrder, progress: Progress) -> WorkReport:
        if order.out.endswith(f"shard-{self.behaviour.unscored_shard:03d}.jsonl"):
            raise WorkFailed("8 of 8 samples have no score; most often: relevance: no route to host")
        drawn = [
            SampleRow(f"q{i}", f"query {i}", f"query {i}", (Sample(order.weights.version, 0.1),)) for i in range(8)
        ]
        progress.update(done=8, total=8)
        done = write_shard(self.root / order.out, drawn, order.weights.version, order.reward.revision, self.uid)
        return WorkReport(WorkState.DONE, 8, 8, shard=ShardRef(order.out, done.rows, done.sha256))

    def _validation(self, match: re.Match[str], body: bytes) -> WorkReport:
        order = wire.loads(EvidenceOrder, body)
        assert order.weights is not None
        self._check_loaded(order.weights)
        phase = int(match[2])
        return self.work.put(match[0], wire.dumps(order), lambda progress: self._validate(order, phase, progress))

    def _validate(self, order: EvidenceOrder, phase: int, progress: Progress) -> WorkReport:
        """The first phase is the best: which one becomes the candidate then depends on what was measured."""
        found = evidence()["candidate"][0].rows[order.selection.shard :: order.selection.shards]
        progress.update(done=len(found), total=len(found))
        queries, version = float(len(found)), order.weights.version if order.weights else ""
        means = {"reward": 0.2 - 0.01 * phase, "ndcg10": 0.4 - 0.01 * phase}
        counts = {"queries": queries, "missing_rewards": 0.0, "gold_queries": queries}
        done = write_shard(self.root / order.out, found, version, order.reward.revision, self.uid)
        shard = ShardRef(order.out, done.rows, done.sha256)
        return WorkReport(WorkState.DONE, done.rows, done.rows, metrics=means | counts, shard=shard)

    def _evidence(self, match: re.Match[str], body: bytes) -> WorkReport:
        order = wire.loads(EvidenceOrder, body)
        if order.weights is not None:
            self._check_loaded(order.weights)
        side = match[2]
        return self.work.put(match[0], wire.dumps(order), lambda progress: self._measure(order, side, progress))

    def _measure(self, order: EvidenceOrder, side: str, progress: Progress) -> WorkReport:
        everything = evidence(self.behaviour.gain, gold_gain=self.behaviour.gold_gain)[side][0].rows
        found = everything[order.selection.shard :: order.selection.shards]
        progress.update(done=len(found), total=len(found))
        version = order.weights.version if order.weights else "passthrough"
        done = write_shard(self.root / order.out, found, version, order.reward.revision, self.uid)
        return WorkReport(WorkState.DONE, done.rows, done.rows, shard=ShardRef(order.out, done.rows, done.sha256))

    def _rows(self, match: re.Match[str], _: bytes) -> EvidenceRows:
        path = self.root / volume.evidence_file(int(match[1]), match[2], int(match[3]))
        done = read_done(path)
        if done is None:
            raise Refused(HTTPStatus.NOT_FOUND, "NoEvidence", "not measured yet")
        rows = tuple(wire.from_wire(EvidenceRow, row) for row in read_shard(path, done.sha256))
        return EvidenceRows(rows, done.sha256, done.reward_revision, "stand-in@1")

    def _put_report(self, match: re.Match[str], body: bytes) -> dict[str, str]:
        replace_file(self.root / volume.report_file(int(match[1]), "json"), body, self.uid)
        return {}

    def _get_report(self, match: re.Match[str], _: bytes) -> dict[str, str]:
        path = self.root / volume.report_file(int(match[1]), "json")
        if not path.exists():
            raise Refused(HTTPStatus.NOT_FOUND, "NoReport", "this cycle has no report yet")
        return {"sha256": file_sha256(path)}


@dataclass
class Server:
    """A serving or passthrough pod: counts what the gateway gives it."""

    config: ServingConfig
    behaviour: Behaviour
    boot: str = field(default_factory=boot_id)
    stages: dict[str, StageCounters] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def routes(self) -> list[Route]:
        return [Route("GET", "/v1/stats", self._stats)]

    def is_working(self) -> bool:
        return False  # it answers, and that is all that it does

    def answer(self, stage: str, requests: int) -> None:
        """Requests that were answered, in under 50 ms; the workload's bad revision fails some."""
        bad = self.config.revision == self.behaviour.bad_revision
        with self._lock:
            before = self.stages.get(stage, StageCounters())
            total = before.requests + requests
            errors = int(total * self.behaviour.candidate_errors) if bad else 0
            latency = dict.fromkeys(("50", "1000", "+Inf"), total)
            self.stages[stage] = StageCounters(total, errors, before.empty, 0, latency)

    def _stats(self, _: re.Match[str], __: bytes) -> ServingStats:
        with self._lock:
            stages = dict(self.stages)
        return ServingStats(self.boot, self.config.revision, LoadState.READY, self.config.weights, stages)


Program = Trainer | Sampler | Server


def program_of(module: str, root: Path, environment: Mapping[str, str], uid: str, behaviour: Behaviour) -> Program:
    """What a long-running pod runs."""
    match module:
        case "rewriter_trainer":
            return Trainer(root, uid)
        case "rewriter_sampler.sample_server":
            sampler = Sampler(root, uid, behaviour)
            if env.WEIGHTS in environment:
                sampler.load(wire.loads(WeightsRef, environment[env.WEIGHTS]))
            return sampler
        case "rewriter_sampler.serve" | "rewriter_sampler.passthrough":
            config = wire.loads(ServingConfig, environment[env.SERVING])
            if config.weights is not None:
                weight_files.verify(root, config.weights)
            return Server(config, behaviour)
    raise ValueError(f"{module} has no stand-in")


def health() -> list[Route]:
    """Calls that every pod answers."""

    def ok(_: re.Match[str], __: bytes) -> dict[str, Any]:
        return {"status": "ok"}

    return [Route("GET", "/healthz", ok, open=True), Route("GET", "/readyz", ok, open=True)]
