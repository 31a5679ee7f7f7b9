"""Phases through the control server, with a real DeepSpeed engine and a tiny model."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract import env, volume, wire  # noqa: E402
from rewriter_contract.full_volume import is_full  # noqa: E402
from rewriter_contract.messages import (  # noqa: E402
    OptimizerConfig,
    PhaseOrder,
    SampleRow,
    TrainerState,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.text import normalise  # noqa: E402
from rewriter_contract.weights import parameters, verify  # noqa: E402
from rewriter_trainer import canary, trained_record  # noqa: E402
from rewriter_trainer.free_space import CHECKPOINT_BYTES  # noqa: E402
from tests.ports import free_port  # noqa: E402

from . import builders  # noqa: E402
from .builders import row, rows_with_signal, sample, write_samples  # noqa: E402
from .event_records import steps as steps_as_events  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml

TOKEN = "token"
DEADLINE = 300.0


@dataclass
class Pod:
    """A running control server and the volume that it works on."""

    root: Path
    port: int
    process: "subprocess.Popen[bytes]"

    def call(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request, data=body.encode() if body else None, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def put(self, order: PhaseOrder, phase: int = 1) -> tuple[int, bytes]:
        return self.call("PUT", f"/v1/phases/1/{phase}", wire.dumps(order))

    def report(self, phase: int = 1) -> WorkReport:
        return wire.loads(WorkReport, self.call("GET", f"/v1/phases/1/{phase}")[1])

    def wait(self, until: Callable[[WorkReport], bool], phase: int = 1) -> WorkReport:
        deadline = time.monotonic() + DEADLINE
        while not until(report := self.report(phase)):
            assert time.monotonic() < deadline, f"still {report}"
            time.sleep(0.05)
        return report

    def train(self, order: PhaseOrder, phase: int = 1) -> WorkReport:
        assert self.put(order, phase)[0] == 202
        return self.wait(lambda report: report.state is not WorkState.RUNNING, phase)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model(directory)
    return directory


@pytest.fixture(scope="module")
def start_pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pod]]:
    pods: list[Pod] = []

    def start(workers: int = 1) -> Pod:
        root, port = tmp_path_factory.mktemp("volume"), free_port()
        variables = {
            env.VOLUME_ROOT: str(root),
            env.AGENT_TOKEN: TOKEN,
            env.AGENT_PORT: str(port),
            env.POD_UID: "pod-uid",
            env.TRAINER_WORKERS: str(workers),
            "DS_ACCELERATOR": "cpu",
        }
        process = subprocess.Popen([sys.executable, "-m", "rewriter_trainer"], env=os.environ | variables)
        pods.append(Pod(root, port, process))
        wait_healthy(pods[-1])
        return pods[-1]

    yield start
    for pod in pods:
        pod.process.terminate()
        pod.process.wait(timeout=30)


def wait_healthy(pod: Pod) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            assert pod.call("GET", "/healthz")[0] == 200
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the control server does not answer")


def three_epochs(root: Path, base: WeightsRef, rows: list[SampleRow]) -> PhaseOrder:
    shard = write_samples(root, rows, base.version)
    optimizer = OptimizerConfig(learning_rate=1e-3, pairs_per_step=6, epochs=3)
    return builders.order(base, shard, optimizer=optimizer, checkpoint_every=2)


def tensors(root: Path, version: str) -> bytes:
    return (root / volume.weights_dir(version) / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(start_pod: Callable[..., Pod], model_dir: Path) -> tuple[Pod, PhaseOrder, WorkReport]:
    """A phase that was trained without disturbance: 7 queries, 14 pairs, steps of 6, 6 and 2, three epochs."""
    pod = start_pod()
    order = three_epochs(pod.root, publish_base(pod.root, model_dir), rows_with_signal(7))
    return pod, order, pod.train(order)


def test_a_phase_learns_from_its_pairs_and_publishes_a_weight_set_that_verifies(
    trained: tuple[Pod, PhaseOrder, WorkReport],
) -> None:
    pod, _, report = trained
    assert (report.state, report.done, report.total) == (WorkState.DONE, 9, 9), report.message
    assert report.weights is not None
    manifest = verify(pod.root / volume.weights_dir("r0001-p01"), report.weights.digest)
    assert (manifest.version, manifest.parent, manifest.dtype) == ("r0001-p01", "base-tiny", "float32")
    assert (manifest.reward_revision, manifest.seed) == (builders.REWARD, 7)
    assert manifest.canary.token_ids == canary.token_ids_of(pod.root / volume.weights_dir("r0001-p01"))

    steps = [json.loads(line) for line in (pod.root / volume.metrics_file(1, 1)).read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 10))
    assert sum(step["loss"] for step in steps[-3:]) < 0.95 * sum(step["loss"] for step in steps[:3])
    assert steps[0]["margin"] == pytest.approx(0.0, abs=1e-4) and steps[-1]["margin"] > 0.1
    assert steps[-1]["accuracy"] == 1.0
    assert steps[0]["kl"] == pytest.approx(0.0, abs=1e-6) and steps[-1]["kl"] > 0.01, "it starts as its reference"
    assert all(0.0 < step["entropy"] < math.log(400) for step in steps), "nats, of a vocabulary of less than 400"
    assert steps[0]["eta_seconds"] > steps[-1]["eta_seconds"] == 0.0

    assert report.metrics["pairs"] == 14 and report.metrics["queries_with_pairs"] == 7
    assert report.metrics["mean_score"] == pytest.approx(0.05) and report.metrics["missing_share"] == 0.0
    assert {"loss_preference", "loss_quality", "loss_generation", "delta", "grad_norm", "tokens_per_s"} <= set(
        report.metrics
    )
    assert (report.metrics["kl"], "eta_seconds" in report.metrics) == (steps[-1]["kl"], False)
    assert report.metrics["entropy"] == pytest.approx(fmean(step["entropy"] for step in steps))


def test_the_queries_that_were_trained_on_are_recorded_for_later_gates(
    trained: tuple[Pod, PhaseOrder, WorkReport],
) -> None:
    pod, order, _ = trained
    pairs = (pod.root / volume.pairs_file(1, 1)).read_text().splitlines()
    (phase,) = trained_record.lineage(pod.root, [order.out_version])
    asked = {trained_record.query_digest(normalise(json.loads(line)["query"])) for line in pairs}
    assert (phase.base, set(phase.queries)) == (order.base.version, asked)


def test_the_steps_are_an_event_file_too(trained: tuple[Pod, PhaseOrder, WorkReport]) -> None:
    pod, _, _ = trained
    told = steps_as_events(pod.root / volume.events_dir(1, 1))
    rows = [json.loads(line) for line in (pod.root / volume.metrics_file(1, 1)).read_text().splitlines()]
    assert [(step, time) for step, time, _ in told] == [(row["step"], row["time"]) for row in rows]
    for (_, _, values), expected in zip(told, rows, strict=True):
        del expected["step"], expected["time"]
        assert values == pytest.approx(expected, rel=1e-6)


def test_the_pairs_that_were_trained_on_are_left_on_the_volume(trained: tuple[Pod, PhaseOrder, WorkReport]) -> None:
    pod, _, _ = trained
    pairs = [json.loads(line) for line in (pod.root / volume.pairs_file(1, 1)).read_text().splitlines()]
    assert len(pairs) == 14
    assert all(pair["chosen"]["score"] > pair["rejected"]["score"] for pair in pairs)


def test_the_same_order_again_is_answered_and_another_is_refused(
    trained: tuple[Pod, PhaseOrder, WorkReport],
) -> None:
    pod, order, report = trained
    status, body = pod.put(order)
    assert (status, wire.loads(WorkReport, body)) == (200, report)
    status, body = pod.put(replace(order, seed=8))
    assert status == 409 and json.loads(body)["reason"] == "OtherBody"


def test_state_health_and_metrics_tell_of_the_phase(trained: tuple[Pod, PhaseOrder, WorkReport]) -> None:
    pod, _, _ = trained
    state = wire.loads(TrainerState, pod.call("GET", "/v1/state")[1])
    assert (state.cycle, state.phase, state.step, state.of) == (1, 1, 9, 9)
    with urllib.request.urlopen(f"http://127.0.0.1:{pod.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "rewriter_trainer_step 9.0" in text and 'rewriter_trainer_training{metric="loss"}' in text
    assert all(f'rewriter_trainer_training{{metric="{name}"}}' in text for name in ("entropy", "kl", "tokens_per_s"))
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{pod.port}/v1/state", timeout=10)


MANY_EPOCHS = 20
"""Of three steps: enough that a stop comes before the end, also where this process has to wait for its turn."""


def stop_and_resume(pod: Pod, order: PhaseOrder) -> WorkReport:
    """Train `order`, of sixty steps, with a stop in the middle."""
    assert pod.put(order)[0] == 202
    pod.wait(lambda report: report.done >= 3)
    pod.call("DELETE", "/v1/phases/1/1")
    stopped = pod.wait(lambda report: report.state is not WorkState.RUNNING)
    assert stopped.state is WorkState.CANCELLED and not (pod.root / volume.weights_dir("r0001-p01")).exists()
    mark = json.loads((pod.root / volume.checkpoint_dir(1, 1) / "latest.json").read_text())
    assert 3 <= mark["step"] < 3 * MANY_EPOCHS
    report = pod.train(order)
    assert report.state is WorkState.DONE, report.message
    return report


@pytest.mark.parametrize("workers", [1, 2])
def test_a_phase_that_was_stopped_and_resumed_equals_the_undisturbed_one_bit_by_bit(
    start_pod: Callable[..., Pod], model_dir: Path, workers: int
) -> None:
    pods = [start_pod(workers=workers) for _ in range(2)]
    short = [three_epochs(pod.root, publish_base(pod.root, model_dir), rows_with_signal(7)) for pod in pods]
    first, second = (replace(order, optimizer=replace(order.optimizer, epochs=MANY_EPOCHS)) for order in short)
    undisturbed, resumed = pods[0].train(first), stop_and_resume(pods[1], second)
    assert undisturbed.state is WorkState.DONE, undisturbed.message
    assert tensors(pods[1].root, "r0001-p01") == tensors(pods[0].root, "r0001-p01")
    assert resumed.weights == undisturbed.weights
    for name in ("loss", "delta", "grad_norm"):
        assert resumed.metrics[name] == undisturbed.metrics[name]
    assert not (pods[1].root / volume.checkpoint_dir(1, 1)).exists()
    of_events = [step for step, _, _ in steps_as_events(pods[1].root / volume.events_dir(1, 1))]
    assert of_events == list(range(1, 3 * MANY_EPOCHS + 1)), "no step is there twice, none is lost"


@pytest.mark.parametrize(
    ("dtype", "zero_stage", "least"),
    [("float32", 2, 0.7), ("bfloat16", 2, 0.8), ("bfloat16", 3, 0.8)],
    ids=["float32, which one worker trains without a copy", "bfloat16", "bfloat16 at stage 3"],
)
def test_a_checkpoint_takes_the_room_that_a_cycle_is_asked_for(
    trained: tuple[Pod, PhaseOrder, WorkReport], dtype: str, zero_stage: int, least: float
) -> None:
    pod, order, _ = trained
    phase = 30 + zero_stage + 10 * (dtype == "float32")
    optimizer = replace(order.optimizer, zero_stage=zero_stage, epochs=MANY_EPOCHS)
    version = f"r0001-p{phase}"
    stopped = replace(order, dtype=dtype, optimizer=optimizer, out_version=version, checkpoint_every=1)
    assert pod.put(stopped, phase)[0] == 202
    pod.wait(lambda report: report.done >= 2, phase)
    pod.call("DELETE", f"/v1/phases/1/{phase}")
    pod.wait(lambda report: report.state is not WorkState.RUNNING, phase)
    checkpoint = pod.root / volume.checkpoint_dir(1, phase)
    written = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    numbers = parameters((pod.root / volume.weights_dir(order.base.version)).glob("*.safetensors"))
    asked = numbers * CHECKPOINT_BYTES[dtype]
    assert least * asked < written < 1.1 * asked + 200_000, f"{written} bytes of {numbers} parameters"


def test_what_torch_says_of_a_full_device_counts_where_the_volume_is_seen_to_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.save({"x": torch.zeros(300_000)}, "/dev/full")
    assert not is_full(raised.value) and not is_full(raised.value, tmp_path), raised.value
    room = SimpleNamespace(f_bavail=1, f_frsize=4096, f_blocks=1000)
    monkeypatch.setattr("rewriter_contract.full_volume.os.statvfs", lambda _: room)
    assert is_full(raised.value, tmp_path)


def test_a_new_pod_answers_a_finished_phase_without_training_it_again_and_stops_on_sigterm(
    trained: tuple[Pod, PhaseOrder, WorkReport], tmp_path: Path
) -> None:
    first, order, report = trained
    port = free_port()
    variables = {
        env.VOLUME_ROOT: str(first.root),
        env.AGENT_TOKEN: TOKEN,
        env.AGENT_PORT: str(port),
        env.POD_UID: "two",
    }
    with subprocess.Popen([sys.executable, "-m", "rewriter_trainer"], env=os.environ | variables) as process:
        pod = Pod(first.root, port, process)
        wait_healthy(pod)
        again = pod.train(order)
        assert (again.state, again.weights, again.metrics) == (WorkState.DONE, report.weights, report.metrics)
        refused = pod.train(replace(order, seed=9), phase=2)
        assert refused.state is WorkState.FAILED and "published by another order" in refused.message
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def failure(pod: Pod, order: PhaseOrder, phase: int) -> str:
    report = pod.train(replace(order, out_version=f"r0001-p{phase:02d}"), phase)
    assert report.state is WorkState.FAILED
    assert not (pod.root / volume.weights_dir(f"r0001-p{phase:02d}")).exists()
    return report.message


def test_samples_without_signal_fail_the_phase_with_the_numbers(trained: tuple[Pod, PhaseOrder, WorkReport]) -> None:
    pod, order, _ = trained
    flat = [row("shoes", sample("red shoes", 0.1), sample("blue shoes", 0.1), sample("x", None))]
    shard = write_samples(pod.root, flat, order.base.version, phase=20)
    message = failure(pod, replace(order, samples=(shard,)), phase=20)
    assert "no usable preference pair: 1 queries, 3 samples, 1 without a score, mean log R 0.1000" in message


def test_inputs_that_are_not_what_the_order_says_fail_the_phase(trained: tuple[Pod, PhaseOrder, WorkReport]) -> None:
    pod, order, _ = trained
    other = write_samples(pod.root, rows_with_signal(2), "r0009-p01", phase=21)
    assert "holds r0009-p01" in failure(pod, replace(order, samples=(other,)), phase=21)
    damaged = replace(order, samples=(replace(order.samples[0], sha256="0" * 64),))
    assert "the order says 000000000000" in failure(pod, damaged, phase=22)
    wrong_base = replace(order, base=WeightsRef("base-tiny", "0" * 64))
    assert "expected 000000000000" in failure(pod, wrong_base, phase=23)
    outside = replace(order, samples=(replace(order.samples[0], path="../elsewhere.jsonl"),))
    assert "leaves the volume root" in failure(pod, outside, phase=24)
    unknown = replace(order, optimizer=OptimizerConfig(zero_stage=4))
    assert "zeroStage is 4; it must be 0, 1, 2 or 3" in failure(pod, unknown, phase=25)
    half = replace(order, optimizer=OptimizerConfig(zero_stage=0), dtype="bfloat16")
    assert "zeroStage is 0 with bfloat16; it must be 1, 2 or 3" in failure(pod, half, phase=27)


def test_a_loss_that_is_not_finite_fails_the_phase_and_publishes_nothing(
    trained: tuple[Pod, PhaseOrder, WorkReport],
) -> None:
    pod, order, _ = trained
    exploding = OptimizerConfig(learning_rate=1e37, pairs_per_step=6, epochs=3)
    assert "not finite at step" in failure(pod, replace(order, optimizer=exploding), phase=26)


@pytest.mark.parametrize(("dtype", "zero_stage"), [("bfloat16", 3)])
def test_other_precisions_and_stages_train_and_continue_the_running_mean(
    trained: tuple[Pod, PhaseOrder, WorkReport], dtype: str, zero_stage: int
) -> None:
    pod, order, report = trained
    assert report.weights is not None
    rows = write_samples(pod.root, rows_with_signal(4), report.weights.version, phase=2)
    second = builders.order(
        report.weights,
        rows,
        phase=2,
        reference=order.reference,
        dtype=dtype,
        optimizer=OptimizerConfig(learning_rate=1e-4, pairs_per_step=4, zero_stage=zero_stage),
    )
    done = pod.train(second, phase=2)
    assert done.state is WorkState.DONE, done.message
    assert done.weights is not None
    manifest: Any = verify(pod.root / volume.weights_dir("r0001-p02"), done.weights.digest)
    assert (manifest.parent, manifest.dtype, manifest.canary.tolerance) == ("r0001-p01", dtype, 0.1)
    assert done.metrics["delta"] != 0.0 and done.metrics["reward_chosen"] > done.metrics["reward_rejected"]
