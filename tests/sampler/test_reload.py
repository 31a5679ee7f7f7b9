"""The order of a reload, and what happens at every place where it can fail.

The engine here is scripted, because vLLM cannot be made to fail at a chosen step; test_real_engine.py has the real one.
"""

import hashlib
import json
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rewriter_contract import env, weights, wire
from rewriter_contract.agent import Refused, WorkFailed
from rewriter_contract.messages import LoadState, SamplerState, WeightsOrder, WeightsRef
from rewriter_sampler.drawing import Draw, Drawn, EngineError
from rewriter_sampler.reload import SamplerWeights
from rewriter_sampler.settings import BadSettings, weights_to_load

LOGPROBS = (-1.0, -2.0)


class ScriptedEngine:
    """Does what the test says: a step named in `fails` fails for that version."""

    def __init__(self, fails: set[tuple[str, str]], steps: list[str]) -> None:
        self.fails, self.steps, self.version = fails, steps, ""

    def submit(self, draw: Draw) -> str:
        raise NotImplementedError

    def step(self) -> dict[str, Drawn]:
        raise NotImplementedError

    def busy(self) -> bool:
        return False

    def abort(self, keys: list[str]) -> None:
        raise NotImplementedError

    def name_weights(self, version: str) -> None:
        self.version = version

    def reload(self, directory: Path, version: str) -> None:
        self.version = version
        self._do("reload")
        if ("reload", version) in self.fails:
            raise EngineError(f"reloading {version}: no such luck")

    def reset_prefix_cache(self) -> bool:
        self._do("reset")
        return ("reset", self.version) not in self.fails

    def prompt_logprobs(self, token_ids: tuple[int, ...]) -> list[float]:
        self._do("canary")
        return [float("nan")] * 2 if ("canary", self.version) in self.fails else list(LOGPROBS)

    def _do(self, step: str) -> None:
        self.steps.append(f"{step} {self.version}")


class Bench:
    """A sampler's weights over a volume of its own."""

    def __init__(self, root: Path, *fails: tuple[str, str]) -> None:
        self.root, self.steps, self.ended = root, list[str](), list[str]()
        engine = ScriptedEngine(set(fails), self.steps)
        self.weights = SamplerWeights(root, lambda _: engine, self._end)

    def _end(self, why: str) -> None:
        self.ended.append(why)
        threading.Event().wait()  # like the end of the process: it never returns

    def load(self, ref: WeightsRef) -> SamplerState:
        """Order weights and wait for the result."""
        self.weights.order(WeightsOrder(ref.version, ref.digest, pause_timeout_seconds=0.2))
        return self.settled()

    def settled(self) -> SamplerState:
        wait_until(lambda: self.weights.state().state is not LoadState.LOADING)
        return self.weights.state()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 10 s"
        time.sleep(0.005)


def published(root: Path, version: str, **config: object) -> WeightsRef:
    """A weight set with one tensor and no use for an engine."""

    def write_files(directory: Path) -> None:
        header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        content = struct.pack("<Q", len(header)) + header + hashlib.sha256(version.encode()).digest()[:4]
        (directory / "model.safetensors").write_bytes(content)
        (directory / "config.json").write_text(json.dumps({"hidden_size": 1, **config}))

    def describe(directory: Path) -> weights.Manifest:
        entries, tensors = weights.file_entries(directory), weights.tensors_digest(directory)
        canary = weights.Canary((1, 2, 3), LOGPROBS, 0.01)
        return weights.Manifest(version, "", "float32", entries, tensors, "", 0, canary, "test")

    return WeightsRef(version, weights.publish(root, version, "test", write_files, describe))


@pytest.fixture
def a(tmp_path: Path) -> WeightsRef:
    return published(tmp_path, "a")


@pytest.fixture
def b(tmp_path: Path) -> WeightsRef:
    return published(tmp_path, "b")


def test_the_first_order_builds_the_engine_and_runs_the_canary(tmp_path: Path, a: WeightsRef) -> None:
    bench = Bench(tmp_path)
    state = bench.load(a)
    assert (state.state, state.weights, state.reloads, state.canary_difference) == (LoadState.READY, a, 0, 0.0)
    assert bench.steps == ["canary a"]


def test_a_pod_that_was_made_for_a_set_is_ready_once_it_runs_it_and_says_why_it_does_not(
    tmp_path: Path, a: WeightsRef
) -> None:
    made_for = weights_to_load({env.WEIGHTS: wire.dumps(a)})
    assert made_for == a
    assert weights_to_load({}) is None, "it waits for an order"
    bench, failing = Bench(tmp_path), Bench(tmp_path, ("canary", "a"))
    with pytest.raises(Refused, match="the weights are not loaded yet") as refused:
        bench.weights.check_ready()
    assert refused.value.status == 503
    bench.load(made_for)
    bench.weights.check_ready()
    failing.load(made_for)
    with pytest.raises(Refused, match="canary log-probabilities differ by inf"):
        failing.weights.check_ready()


def test_weights_that_a_pod_is_made_for_and_that_nobody_can_read_end_it_with_a_sentence() -> None:
    with pytest.raises(BadSettings, match="REWRITER_WEIGHTS"):
        weights_to_load({env.WEIGHTS: '{"version": "r0001-p01"}'})


def test_a_reload_resets_the_prefix_cache_before_the_canary(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    state = bench.load(b)
    assert (state.state, state.weights, state.reloads) == (LoadState.READY, b, 1)
    assert bench.steps == ["canary a", "reload b", "reset b", "canary b"]


def test_an_order_for_what_is_loaded_does_nothing(tmp_path: Path, a: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    assert bench.weights.order(WeightsOrder(a.version, a.digest)).state is LoadState.READY
    assert bench.steps == ["canary a"]


@pytest.mark.parametrize("step", ["reload", "reset", "canary"])
def test_a_failed_reload_brings_the_old_weights_back_before_anything_else(
    tmp_path: Path, a: WeightsRef, b: WeightsRef, step: str
) -> None:
    bench = Bench(tmp_path, (step, "b"))
    bench.load(a)
    state = bench.load(b)
    assert (state.state, state.weights) == (LoadState.FAILED, a)
    assert "b" in state.message
    assert bench.steps[-4] == f"{step} b"
    assert bench.steps[-3:] == ["reload a", "reset a", "canary a"]
    bench.weights.check_loaded(a)


@pytest.mark.parametrize("step", ["reload", "reset", "canary"])
def test_the_process_ends_when_the_old_weights_cannot_be_brought_back(
    tmp_path: Path, a: WeightsRef, b: WeightsRef, step: str
) -> None:
    bench = Bench(tmp_path, ("reload", "b"))
    bench.load(a)
    bench_fails(bench, (step, "a"))
    bench.weights.order(WeightsOrder(b.version, b.digest))
    wait_until(lambda: bool(bench.ended))
    assert "could not be brought back" in bench.ended[0]
    with pytest.raises(Refused):
        bench.weights.check_loaded(a)


def bench_fails(bench: Bench, *fails: tuple[str, str]) -> None:
    bench.weights._thread.call(lambda engine: engine.fails.update(fails))


def test_a_damaged_set_is_refused_without_touching_the_engine(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    file = tmp_path / "weights/b/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    state = bench.load(b)
    assert (state.state, state.weights) == (LoadState.FAILED, a)
    assert "sha256 differs" in state.message
    assert bench.steps == ["canary a"]


def test_another_architecture_is_refused_without_touching_the_engine(tmp_path: Path, a: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    state = bench.load(published(tmp_path, "wide", hidden_size=2))
    assert state.message == "wide: config.json hidden_size is 2, the engine has 1"
    assert bench.steps == ["canary a"]


def test_a_version_that_leaves_the_volume_is_refused(tmp_path: Path) -> None:
    state = Bench(tmp_path).load(WeightsRef("../../../etc", "0" * 64))
    assert state.state is LoadState.FAILED
    assert "leaves the volume root" in state.message


def test_a_refused_set_can_be_ordered_again_once_it_is_mended(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    file = tmp_path / "weights/b/model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:10])
    assert bench.load(b).state is LoadState.FAILED
    file.write_bytes(whole)
    state = bench.load(b)
    assert (state.state, state.weights, state.message) == (LoadState.READY, b, "")


def test_work_for_other_weights_is_refused_with_both_versions(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(Refused, match="for weights a, this sampler has nothing"):
        bench.weights.check_loaded(a)
    bench.load(a)
    with pytest.raises(Refused, match="for weights b, this sampler has a") as refusal:
        bench.weights.check_loaded(b)
    assert refusal.value.status == 412


def test_the_same_version_with_another_digest_is_other_weights(tmp_path: Path, a: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    with pytest.raises(Refused):
        bench.weights.check_loaded(WeightsRef("a", "0" * 64))


def test_a_reload_tells_running_work_to_stop_and_waits_for_it(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    with bench.weights.drawing(a):
        bench.weights.order(WeightsOrder(b.version, b.digest, pause_timeout_seconds=0.3))
        bench.weights.check_may_draw()  # not at once: work gets its time
        wait_until(lambda: not may_draw(bench))
        assert bench.steps == ["canary a"]
    assert bench.settled().weights == b
    assert may_draw(bench)


def test_a_reload_gives_up_when_work_does_not_stop(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    with bench.weights.drawing(a):
        state = bench.load(b)
    assert (state.state, state.weights) == (LoadState.FAILED, a)
    assert "did not stop within 0.4 s" in state.message
    assert may_draw(bench)


def test_a_second_order_while_loading_is_refused(tmp_path: Path, a: WeightsRef, b: WeightsRef) -> None:
    bench = Bench(tmp_path)
    bench.load(a)
    with bench.weights.drawing(a):
        bench.weights.order(WeightsOrder(b.version, b.digest, pause_timeout_seconds=1.0))
        with pytest.raises(Refused, match="b is being loaded") as refusal:
            bench.weights.order(WeightsOrder(a.version, a.digest))
        assert refusal.value.status == 409
    assert bench.settled().weights == b


def may_draw(bench: Bench) -> bool:
    try:
        bench.weights.check_may_draw()
    except WorkFailed:
        return False
    return True
