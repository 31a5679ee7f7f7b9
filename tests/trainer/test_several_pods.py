"""Two trainer pods train a phase together as one does, and end it with the same weights whichever of them is killed.

Real control servers, real torchrun and gloo. The pods are processes on one machine, each with an address of its own.
"""

import json
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

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load  # noqa: E402

from rewriter_contract import env, volume, wire  # noqa: E402
from rewriter_contract.messages import OptimizerConfig, PhaseOrder, TrainerGroup, WorkReport, WorkState  # noqa: E402
from tests.ports import free_port  # noqa: E402

from . import builders  # noqa: E402
from .builders import rows_with_signal, write_samples  # noqa: E402
from .phase_program import steps, tensors, train  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml

OUT, TOKEN, DEADLINE = "r0001-p01", "secret", 240.0
STEPS = 120
TERMS = ("loss", "loss_preference", "loss_quality", "loss_generation", "grad_norm", "margin", "delta")

MakeVolume = Callable[[], tuple[Path, PhaseOrder]]


@dataclass
class TrainerPod:
    """A control server with all that it starts."""

    number: int
    root: Path
    group: TrainerGroup
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """As the kubelet does: the same environment, a new process."""
        self.port = free_port()
        variables = {
            env.VOLUME_ROOT: str(self.root),
            env.AGENT_TOKEN: TOKEN,
            env.AGENT_PORT: str(self.port),
            env.POD_UID: f"uid-{self.number}-{self.port}",
            env.TRAINER_GROUP: wire.dumps(self.group),
            "DS_ACCELERATOR": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen([sys.executable, "-m", "rewriter_trainer"], env=os.environ | variables)
        eventually(lambda: self._call("GET", "/healthz")[0] == 200, "the control server answers")

    def put(self, order: PhaseOrder) -> None:
        status, body = self._call("PUT", f"/v1/phases/1/1/{self.number}", wire.dumps(order))
        assert status in (200, 202), body

    def report(self) -> WorkReport:
        return wire.loads(WorkReport, self._call("GET", f"/v1/phases/1/1/{self.number}")[1])

    def end(self, number: signal.Signals) -> None:
        """SIGTERM to the control server, as the kubelet sends it; SIGKILL to all that runs, as a lost node is."""
        assert self.process is not None
        everything = [*_descendants(self.process.pid), self.process.pid]
        for pid in everything if number is signal.SIGKILL else everything[-1:]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        self.process.wait(timeout=60)

    def _call(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request, data=body.encode() if body else None, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""


def _descendants(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found += [int(path.parent.name), *_descendants(int(path.parent.name))]
    return found


def eventually(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def make_volume(tmp_path_factory: pytest.TempPathFactory) -> MakeVolume:
    """Volumes that are equal, each with the order of a phase of 120 steps, and a checkpoint after every fourth."""
    model = tmp_path_factory.mktemp("model")
    make_model(model)

    def make() -> tuple[Path, PhaseOrder]:
        root = tmp_path_factory.mktemp("volume")
        base = publish_base(root, model)
        optimizer = OptimizerConfig(learning_rate=2e-4, pairs_per_step=6, epochs=STEPS // 3, zero_stage=2)
        shard = write_samples(root, rows_with_signal(7), base.version)
        return root, builders.order(base, shard, optimizer=optimizer, checkpoint_every=4)

    return make


@pytest.fixture
def start_pods() -> Iterator[Callable[[Path], list[TrainerPod]]]:
    started: list[TrainerPod] = []

    def start(root: Path) -> list[TrainerPod]:
        meeting = f"127.0.0.1:{free_port()}"
        pods = [TrainerPod(n, root, TrainerGroup(2, n, host="127.0.0.1", meeting=meeting)) for n in range(2)]
        for pod in pods:
            pod.start()
        started.extend(pods)
        return pods

    yield start
    for pod in started:
        pod.end(signal.SIGKILL)


def ended(pods: list[TrainerPod]) -> list[WorkReport]:
    """Their reports, once one names weights or has failed."""
    eventually(
        lambda: any(report.weights or report.state is WorkState.FAILED for report in (pod.report() for pod in pods)),
        "the phase ends",
    )
    return [pod.report() for pod in pods]


def trained(pods: list[TrainerPod], order: PhaseOrder) -> list[WorkReport]:
    for pod in pods:
        pod.put(order)
    return ended(pods)


def at_step(pods: list[TrainerPod], step: int) -> None:
    eventually(lambda: any(pod.report().done >= step for pod in pods), f"step {step} is done")


@pytest.fixture(scope="module")
def undisturbed(make_volume: MakeVolume) -> Path:
    """Two workers in one pod."""
    root, order = make_volume()
    train(root, order, workers=2)
    return root


def test_two_pods_train_as_one_worker_does_and_one_of_them_names_the_weights(
    make_volume: MakeVolume, start_pods: Callable[[Path], list[TrainerPod]], undisturbed: Path
) -> None:
    alone, order = make_volume()
    train(alone, order)
    root, _ = make_volume()
    pods = start_pods(root)
    reports = trained(pods, order)
    assert sum(report.weights is not None for report in reports) == 1, reports
    eventually(lambda: all(pod.report().state is WorkState.DONE for pod in pods), "the other one is done too")
    for name in TERMS:
        expected = [step[name] for step in steps(alone)]
        assert [step[name] for step in steps(root)] == pytest.approx(expected, rel=1e-4, abs=1e-5), name
    left, right = load(tensors(alone, OUT)), load(tensors(root, OUT))
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-4)
    assert tensors(root, OUT) == tensors(undisturbed, OUT), "where the workers are changes no bit"


def lose(pods: list[TrainerPod], number: int, how: signal.Signals, order: PhaseOrder) -> None:
    """A pod goes and comes back, and those that do not work are told again, as the operator does."""
    pods[number].end(how)
    assert not (pods[number].root / volume.weights_dir(OUT)).exists()
    pods[number].start()
    other = pods[1 - number]
    if other.report().state is WorkState.FAILED:
        other.put(order)
    pods[number].put(order)


@pytest.mark.parametrize("first", [0, 1])
def test_pods_that_are_lost_and_told_again_change_no_bit(
    make_volume: MakeVolume, start_pods: Callable[[Path], list[TrainerPod]], undisturbed: Path, first: int
) -> None:
    root, order = make_volume()
    pods = start_pods(root)
    for pod in pods:
        pod.put(order)
    at_step(pods, 6)
    lose(pods, first, signal.SIGKILL, order)
    at_step(pods, STEPS // 2)
    lose(pods, 1 - first, signal.SIGTERM, order)
    reports = ended(pods)
    assert any(report.weights for report in reports), reports
    assert tensors(root, OUT) == tensors(undisturbed, OUT)
    rows = [json.loads(line)["step"] for line in (root / volume.metrics_file(1, 1)).read_text().splitlines()]
    assert rows == list(range(1, STEPS + 1)), "no step is there twice, none is lost"


def test_a_failure_of_the_phase_itself_is_told_at_once_and_not_tried_again(
    make_volume: MakeVolume, start_pods: Callable[[Path], list[TrainerPod]]
) -> None:
    root, order = make_volume()
    pods = start_pods(root)
    optimizer = replace(order.optimizer, learning_rate=1e30, warmup_ratio=0.0)
    reports = trained(pods, replace(order, optimizer=optimizer))
    failed = [report for report in reports if report.state is WorkState.FAILED]
    assert [report.reason for report in failed] == [None] and "not finite at step" in failed[0].message


def test_a_phase_that_is_published_needs_no_other_pod(
    make_volume: MakeVolume, start_pods: Callable[[Path], list[TrainerPod]]
) -> None:
    root, order = make_volume()
    train(root, order)
    first, second = start_pods(root)
    second.put(order)
    (report,) = ended([second])
    assert report.weights is not None and first.process is not None
