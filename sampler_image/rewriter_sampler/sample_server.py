"""The sampler pod's program: loads weight sets, draws and scores samples, gathers gate evidence.

`python -m rewriter_sampler.sample_server`. Stateless: all that it knows after a restart comes from the next orders.
Ready from the start, without weights: the operator has to reach a sampler to give it some. A pod that was made for a
weight set (REWRITER_WEIGHTS) loads it when it starts, checked like any other, and is ready once it runs it.
"""

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rewriter_contract import agent, wire
from rewriter_contract.agent import Progress, Refused, Reply, Route, Work, WorkFailed, WorkTable
from rewriter_contract.messages import (
    DataRow,
    EvidenceOrder,
    EvidenceRows,
    GenerationConfig,
    SampledDraw,
    SamplerState,
    SamplesOrder,
    WeightsOrder,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.shards import ShardError
from rewriter_contract.volume import OutsideVolume, evidence_file, report_file, resolve
from rewriter_contract.weights import file_sha256
from rewriter_sampler import evidence, report
from rewriter_sampler.corpus import CorpusRefused
from rewriter_sampler.draw_rows import draw_rows
from rewriter_sampler.drawing import Completion
from rewriter_sampler.engine import Engine
from rewriter_sampler.engine_thread import EngineThread
from rewriter_sampler.prompts import BadTemplate, Prompts, rewrite_of
from rewriter_sampler.reload import SamplerWeights
from rewriter_sampler.sample import SamplerPod, sample_shard
from rewriter_sampler.sampler_metrics import sampler_registry
from rewriter_sampler.settings import BadSettings, engine_config, pod_settings, volume_root, weights_to_load

SEQUENCES = 64
"""Completions side by side: eight queries with eight rewrites; more gains little for models of this size."""

EXIT_ENGINE_LOST = 70

SAMPLES = r"/v1/samples/(?P<cycle>\d+)/(?P<phase>\d+)/(?P<shard>\d+)"
EVIDENCE = r"/v1/evidence/(?P<cycle>\d+)/(?P<side>candidate|incumbent)/(?P<shard>\d+)"
VALIDATION = r"/v1/validation/(?P<cycle>\d+)/(?P<phase>\d+)/(?P<shard>\d+)"
REPORT = r"/v1/report/(?P<cycle>\d+)"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleCalls:
    """The control calls of a sampler pod."""

    pod: SamplerPod
    work: WorkTable
    made_for: WeightsRef | None = None
    """What the pod is to come up with."""

    def routes(self) -> list[Route]:
        """All calls, for the control server."""
        return [
            Route("PUT", "/v1/weights", self.put_weights),
            Route("GET", "/v1/state", self.get_state),
            Route("PUT", SAMPLES, self.put_samples),
            Route("GET", SAMPLES, self.get_work),
            Route("DELETE", SAMPLES, self.cancel_work),
            Route("PUT", EVIDENCE, self.put_evidence),
            Route("GET", EVIDENCE, self.get_work),
            Route("DELETE", EVIDENCE, self.cancel_work),
            Route("GET", EVIDENCE + "/rows", self.get_rows),
            Route("PUT", VALIDATION, self.put_evidence),
            Route("GET", VALIDATION, self.get_work),
            Route("DELETE", VALIDATION, self.cancel_work),
            Route("PUT", REPORT, self.put_report),
            Route("GET", REPORT, self.get_report),
            Route("GET", "/healthz", self.get_ok, open=True),
            Route("GET", "/readyz", self.get_ready, open=True),
            Route("GET", "/metrics", self.get_metrics, open=True),
        ]

    def put_weights(self, _: re.Match[str], body: bytes) -> SamplerState:
        return self.pod.weights.order(wire.loads(WeightsOrder, body))

    def get_state(self, _: re.Match[str], __: bytes) -> SamplerState:
        return self.pod.weights.state()

    def put_samples(self, match: re.Match[str], body: bytes) -> WorkReport:
        order = wire.loads(SamplesOrder, body)
        work = _work(lambda progress: sample_shard(self.pod, order, progress))
        return self._put_work(match, order, order.weights, work)

    def put_evidence(self, match: re.Match[str], body: bytes) -> WorkReport:
        order = wire.loads(EvidenceOrder, body)
        work = _work(lambda progress: self._gather(order, progress))
        return self._put_work(match, order, order.weights, work)

    def get_work(self, match: re.Match[str], _: bytes) -> WorkReport:
        return self.work.get(match[0])

    def cancel_work(self, match: re.Match[str], _: bytes) -> WorkReport:
        return self.work.cancel(match[0])

    def get_rows(self, match: re.Match[str], _: bytes) -> EvidenceRows:
        out = evidence_file(int(match["cycle"]), match["side"], int(match["shard"]))
        try:
            return evidence.read_rows(self.pod.root, out)
        except ShardError as error:
            raise Refused(HTTPStatus.NOT_FOUND, "NoEvidence", str(error)) from error

    def put_report(self, match: re.Match[str], body: bytes) -> dict[str, str]:
        try:
            report.write(self.pod.root, int(match["cycle"]), body, self.pod.writer)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "BadReport", str(error)) from error
        return {}

    def get_report(self, match: re.Match[str], _: bytes) -> dict[str, str]:
        """The digest of the report on the volume: how the operator knows that its own has arrived."""
        try:
            return {"sha256": file_sha256(resolve(self.pod.root, report_file(int(match["cycle"]), "json")))}
        except FileNotFoundError as error:
            raise Refused(HTTPStatus.NOT_FOUND, "NoReport", "this cycle has no report yet") from error

    def get_ok(self, _: re.Match[str], __: bytes) -> dict[str, str]:
        return {"status": "ok"}

    def get_ready(self, _: re.Match[str], __: bytes) -> dict[str, str]:
        if self.made_for is not None:
            self.pod.weights.check_ready()
        return {"status": "ok"}

    def get_metrics(self, _: re.Match[str], __: bytes) -> Reply:
        registry = sampler_registry(self.pod.weights.state, self.work.active)
        return Reply(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)

    def _put_work(self, match: re.Match[str], order: Any, weights: WeightsRef | None, work: Work) -> WorkReport:
        """Start work, or answer with what is known of it; finished work needs no weights to be asked about again."""
        key = match[0]
        if weights is not None and not self._is_known(key):
            self.pod.weights.check_loaded(weights)
        return self.work.put(key, wire.dumps(order), work)

    def _is_known(self, key: str) -> bool:
        try:
            return self.work.get(key).state in (WorkState.RUNNING, WorkState.DONE)
        except Refused:
            return False

    def _gather(self, order: EvidenceOrder, progress: Progress) -> WorkReport:
        def generate(rows: list[DataRow], generation: GenerationConfig) -> list[list[Completion]]:
            return draw_rewrites(self.pod, order, rows, generation, progress)

        def weigh(rows: list[DataRow], drawn: list[SampledDraw | None]) -> list[tuple[float, ...] | None]:
            return weigh_draws(self.pod, order, rows, drawn, progress)

        return evidence.run(order, self.pod.root, generate, progress, self.pod.writer, weigh)


def draw_rewrites(
    pod: SamplerPod, order: EvidenceOrder, rows: list[DataRow], generation: GenerationConfig, progress: Progress
) -> list[list[Completion]]:
    """Completions of each row, their texts the rewrites, in the order of rows; none for a query that is too long.

    Asked with the order's prompt where it names one: a revision is judged with the prompt that it serves with.
    """
    assert order.weights is not None  # the passthrough side never generates
    prompt = order.prompt or pod.prompt

    def may_go_on() -> None:
        progress.update()
        pod.weights.check_may_draw()

    with pod.weights.drawing(order.weights) as thread:
        prompts = thread.call(lambda engine: Prompts(prompt, engine.bos_text(), engine.chat_text))
        return [
            [replace(completion, text=rewrite_of(prompt, completion.text)) for completion in drawn.completions]
            for drawn in draw_rows(thread, prompts, rows, generation, may_go_on)
        ]


def weigh_draws(
    pod: SamplerPod,
    order: EvidenceOrder,
    rows: list[DataRow],
    drawn: list[SampledDraw | None],
    progress: Progress,
) -> list[tuple[float, ...] | None]:
    """How probable other weights' rewrites are to the order's weights, behind the prompt that these serve with.

    log p of each, in nats; None for a row without a draw, or with one that does not fit.
    """
    assert order.weights is not None
    prompt = order.prompt or pod.prompt
    with pod.weights.drawing(order.weights) as thread:
        prompts = thread.call(lambda engine: Prompts(prompt, engine.bos_text(), engine.chat_text))
        found: list[tuple[float, ...] | None] = []
        for row, draw in zip(rows, drawn, strict=True):
            progress.update()
            pod.weights.check_may_draw()
            text, rewrites = prompts.prompt(row.query), draw.token_ids if draw else ()
            weighed = [_log_probability(thread, text, token_ids) for token_ids in rewrites]
            known = tuple(value for value in weighed if value is not None)
            found.append(known if known and len(known) == len(weighed) else None)
        return found


def _log_probability(thread: EngineThread, prompt: str, token_ids: tuple[int, ...]) -> float | None:
    found: float | None = thread.call(lambda engine: engine.log_probability(prompt, token_ids))
    return found


def _work(do: Callable[[Progress], WorkReport]) -> Work:
    """Work whose expected troubles (data, volume, weights) become one sentence instead of a stack trace."""

    def guarded(progress: Progress) -> WorkReport:
        try:
            return do(progress)
        except (ShardError, CorpusRefused, OutsideVolume, BadTemplate, Refused, OSError) as error:
            raise WorkFailed(str(error)) from error

    return guarded


def end_process(why: str) -> None:
    """End at once, without cleaning up: threads of a broken engine may never return."""
    log.critical("ending the process: %s", why)
    logging.shutdown()
    os._exit(EXIT_ENGINE_LOST)


def main() -> int:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        pod_env, root, config = pod_settings(os.environ), volume_root(os.environ), engine_config(os.environ)
        made_for = weights_to_load(os.environ)
    except BadSettings as error:
        log.critical("%s", error)
        return 2
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    def build(directory: Path) -> Engine:
        return Engine(config, directory, SEQUENCES)

    pod = SamplerPod(root, pod_env.pod_uid, SamplerWeights(root, build, end_process), config.prompt)
    if made_for is not None:  # before the first call: whoever asks finds it loading, never empty
        pod.weights.order(WeightsOrder(made_for.version, made_for.digest))
    work = WorkTable()
    server = agent.serve(pod_env.port, pod_env.token, SampleCalls(pod, work, made_for).routes())
    log.info("sampler of release %s answers on port %d", pod_env.release or "(unnamed)", pod_env.port)
    stopped.wait()
    work.cancel_all()
    server.shutdown()
    logging.shutdown()
    os._exit(0)  # nothing is lost: shards are renamed into place, and vLLM's own teardown can take many seconds


if __name__ == "__main__":
    sys.exit(main())
