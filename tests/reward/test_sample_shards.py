"""A shard that is there is not drawn again, whoever drew it; one that is damaged or another's is."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewriter_contract import wire
from rewriter_contract.agent import Progress, WorkTable
from rewriter_contract.messages import (
    GenerationConfig,
    PromptConfig,
    SamplesOrder,
    Selection,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.shards import read_done
from rewriter_contract.weights import file_sha256
from rewriter_sampler.drawing import Completion, Draw, Drawn
from rewriter_sampler.sample import SamplerPod, about_path, sample_shard

from .reward_builder import CORPUS, config, honest, row, service


class Thread:
    """An engine that says `blue running shoes` to everything, and counts."""

    def __init__(self) -> None:
        self.drawn = 0

    def call(self, work: Any) -> Any:
        return work(self)

    def draw(self, draw: Draw) -> "Future[Drawn]":
        self.drawn += 1
        future: Future[Drawn] = Future()
        one = Completion(text="blue running shoes", token_ids=(1, 2), finished=True, mean_logprob=None)
        future.set_result(Drawn((one,) * draw.n))
        return future

    def in_flight(self) -> int:
        return 0

    def reset_prefix_cache(self) -> None:
        pass

    def bos_text(self) -> str:
        return ""

    def chat_text(self, *_: object) -> str:
        raise AssertionError("the prompt is plain")


class Weights:
    """Loaded, and may draw."""

    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    @contextmanager
    def drawing(self, _: WeightsRef) -> Iterator[Thread]:
        yield self._thread

    def check_may_draw(self) -> None:
        pass


def pod(root: Path, thread: Thread, uid: str) -> SamplerPod:
    weights: Any = Weights(thread)
    return SamplerPod(root, uid, weights, PromptConfig("query: {query}\nrewrite:"))


def order(root: Path, url: str) -> SamplesOrder:
    (root / "train.jsonl").write_text(
        "".join(json.dumps(wire.to_wire(row(id=f"q{number}"))) + "\n" for number in range(20))
    )
    (root / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in CORPUS.items())
    )
    return SamplesOrder(
        weights=WeightsRef("r0001-p01", "d"),
        requests_file="train.jsonl",
        requests_sha256=file_sha256(root / "train.jsonl"),
        corpus_file="corpus.jsonl",
        selection=Selection(1),
        generation=GenerationConfig(n=2, temperature=1.0),
        reward=config(url),
        out="cycles/0001/phases/01/samples/shard-000.jsonl",
    )


def progress() -> Progress:
    table = WorkTable()
    table._reports["key"] = WorkReport(state=WorkState.RUNNING)
    return Progress(table, "key")


def test_what_one_pod_drew_the_next_one_finds(tmp_path: Path) -> None:
    first, second = Thread(), Thread()
    with service(honest) as relevance:
        wanted = order(tmp_path, relevance.url)
        done = sample_shard(pod(tmp_path, first, "a"), wanted, progress())
        calls = len(relevance.bodies)
        again = sample_shard(pod(tmp_path, second, "b"), wanted, progress())
        assert len(relevance.bodies) == calls
    assert (first.drawn, second.drawn) == (20, 0)
    assert again == done and done.shard is not None and done.shard.rows == 20 and done.metrics["mean_score"] > 0


@pytest.mark.parametrize("seed", [8, 9])
def test_another_order_is_drawn(tmp_path: Path, seed: int) -> None:
    thread = Thread()
    with service(honest) as relevance:
        wanted = order(tmp_path, relevance.url)
        sample_shard(pod(tmp_path, thread, "a"), wanted, progress())
        other = replace(wanted, generation=replace(wanted.generation, seed=seed))
        sample_shard(pod(tmp_path, thread, "a"), other, progress())
    assert thread.drawn == 40


@pytest.mark.parametrize("damage", ["bit", "no done", "no about", "odd about", "gone"])
def test_a_shard_that_is_not_whole_is_drawn_again(tmp_path: Path, damage: str) -> None:
    thread = Thread()
    with service(honest) as relevance:
        wanted = order(tmp_path, relevance.url)
        done = sample_shard(pod(tmp_path, thread, "a"), wanted, progress())
        shard = tmp_path / wanted.out
        match damage:
            case "bit":
                content = bytearray(shard.read_bytes())
                content[10] ^= 1
                shard.write_bytes(content)
            case "no done":
                shard.with_name(shard.name + ".done").unlink()
            case "no about":
                about_path(shard).unlink()
            case "odd about":
                about_path(shard).write_text("{")
            case "gone":
                shard.unlink()
        again = sample_shard(pod(tmp_path, thread, "b"), wanted, progress())
    assert thread.drawn == 40
    assert again.shard == done.shard, "the same order gives the same rows"
    announced = read_done(shard)
    assert announced is not None and announced.sha256 == file_sha256(shard)
