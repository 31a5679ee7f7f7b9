"""The sampler and serving programs with a real vLLM and tiny models, over HTTP. Slow: two engines are started.

What is held against each other: a sampler that went from A to B in place, and a serving pod that started with B.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import (
    EngineConfig,
    EvidenceOrder,
    FusionTerm,
    GenerationConfig,
    PromptConfig,
    RewardConfig,
    SampleRow,
    SamplesOrder,
    Selection,
    ServingConfig,
    WeightsOrder,
    WeightsRef,
)
from rewriter_contract.shards import read_done, read_shard
from rewriter_contract.volume import evidence_file, samples_file
from tests.sampler.programs import HttpAnswer, Program, running
from tests.sampler.services import answering, broken, letter_overlap, same_ranking

pytestmark = pytest.mark.ml

EXAMPLE = "query: wireless headphones\nrewrite: bluetooth headphones without cable\n"
PROMPT = PromptConfig(template=EXAMPLE * 6 + "query: {query}\nrewrite:")
"""Several blocks of the prefix cache long, so that a stale cache would show."""
ENGINE = EngineConfig(prompt=PROMPT, max_length=512)
GREEDY = GenerationConfig(n=1, temperature=0.0, max_tokens=12)
DRAWN = GenerationConfig(n=4, temperature=0.9, max_tokens=12, seed=11)
QUERIES = 10


class Volume:
    """A release's directory with weight sets, whole and spoiled, and data."""

    def __init__(self, root: Path, models: Path) -> None:
        from tests.sampler import weight_sets

        self.root = root
        source_a = weight_sets.make_model(models / "a", seed=1)
        source_b = weight_sets.make_model(models / "b", seed=2)
        self.a = weight_sets.publish(root, "r0001-p01", source_a)
        self.b = weight_sets.publish(root, "r0001-p02", source_b)
        self.lacking = weight_sets.publish(root, "lacking", source_b, weight_sets.without_tensor)
        self.damaged_before_publishing = weight_sets.publish(root, "damaged", source_b, weight_sets.flip_bits)
        self.flipped = weight_sets.publish(root, "flipped", source_b)
        weight_sets.flip_bits(root / "weights/flipped")
        self.truncated = weight_sets.publish(root, "truncated", source_b)
        weight_sets.truncate(root / "weights/truncated")
        rows = [
            {"id": f"q{i}", "query": f"shoes number {i}", "positives": ["d1"], "negatives": ["d2"], "labels": {"d1": 1}}
            for i in range(QUERIES)
        ]
        self.requests = root / "train.jsonl"
        self.requests.write_text("".join(json.dumps(row) + "\n" for row in rows))
        documents = [{"_id": "d1", "title": "Shoes", "text": "to run in"}, {"_id": "d2", "text": "a hat"}]
        (root / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))

    @property
    def requests_sha256(self) -> str:
        return hashlib.sha256(self.requests.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return Volume(tmp_path_factory.mktemp("volume"), tmp_path_factory.mktemp("models"))


def variables(volume: Volume) -> dict[str, str]:
    return {env.VOLUME_ROOT: str(volume.root), env.ENGINE: wire.dumps(ENGINE)}


@pytest.fixture(scope="module")
def sampler(volume: Volume) -> Iterator[Program]:
    with running("rewriter_sampler.sample_server", variables(volume)) as program:
        program.wait_for("/readyz")
        yield program


@pytest.fixture(scope="module")
def serving_b(volume: Volume, sampler: Program) -> Iterator[Program]:
    serving = ServingConfig(revision="r0001", weights=volume.b, max_tokens=12, request_timeout_seconds=30.0)
    with running("rewriter_sampler.serve", {**variables(volume), env.SERVING: wire.dumps(serving)}) as program:
        program.wait_for("/healthz")
        assert program.call("GET", "/readyz").status == 503, "a pod must not be ready before its weights are"
        early = program.call("POST", "/v1/rewrite", {"query": "too early"})
        assert (early.status, early.json["reason"]) == (503, "NotReady")
        program.wait_for("/readyz")
        yield program


@contextmanager
def made_for(volume: Volume, weights: WeightsRef) -> Iterator[Program]:
    """A sampler whose pod was made for a weight set; nobody orders it to load any."""
    with running("rewriter_sampler.sample_server", {**variables(volume), env.WEIGHTS: wire.dumps(weights)}) as program:
        program.wait_for("/healthz")
        yield program


@pytest.fixture(scope="module")
def relevance() -> Iterator[str]:
    with answering(letter_overlap) as url:
        yield url


def reward(url: str) -> RewardConfig:
    terms = (FusionTerm("recall", a=1.0, b=0.3, gamma=1.0),)
    return RewardConfig(url, terms, negatives_weight=0.5, clip=1.4, revision="reward-1", max_missing=0.02)


def load(sampler: Program, weights: WeightsRef) -> dict[str, Any]:
    """Order weights and wait; returns the state."""
    answer = sampler.call("PUT", "/v1/weights", WeightsOrder(weights.version, weights.digest))
    assert answer.status == 200, answer.text
    return until_settled(sampler, "/v1/state", "Loading")


def until_settled(program: Program, path: str, unsettled: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found: dict[str, Any] = program.call("GET", path).json
        if found["state"] != unsettled:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} stayed {unsettled}:\n{program.output()}")


class Shards:
    """Orders samples shards, each under a number of its own."""

    def __init__(self, sampler: Program, volume: Volume) -> None:
        self.sampler, self.volume, self.number = sampler, volume, 0

    def put(self, weights: WeightsRef, generation: GenerationConfig, url: str, sha256: str = "") -> HttpAnswer:
        self.number += 1
        order = SamplesOrder(
            weights=weights,
            requests_file="train.jsonl",
            requests_sha256=sha256 or self.volume.requests_sha256,
            corpus_file="corpus.jsonl",
            selection=Selection(seed=3),
            generation=generation,
            reward=reward(url),
            out=samples_file(1, 1, self.number),
        )
        return self.sampler.call("PUT", self.path, order)

    @property
    def path(self) -> str:
        return f"/v1/samples/1/1/{self.number}"

    def run(
        self, weights: WeightsRef, generation: GenerationConfig, url: str
    ) -> tuple[dict[str, Any], list[SampleRow]]:
        answer = self.put(weights, generation, url)
        assert answer.status == 200, answer.text
        report = until_settled(self.sampler, self.path, "Running")
        assert report["state"] == "Done", report
        shard = self.volume.root / report["shard"]["path"]
        return report, [wire.from_wire(SampleRow, row) for row in read_shard(shard, report["shard"]["sha256"])]


@pytest.fixture(scope="module")
def shards(sampler: Program, volume: Volume) -> Shards:
    return Shards(sampler, volume)


def texts(rows: list[SampleRow]) -> dict[str, list[str]]:
    return {row.query: [sample.text for sample in row.samples] for row in rows}


def test_a_sampler_starts_empty_and_refuses_work(sampler: Program, volume: Volume, shards: Shards) -> None:
    assert sampler.call("GET", "/v1/state").json["state"] == "Empty"
    answer = shards.put(volume.a, DRAWN, "http://127.0.0.1:1/")
    assert (answer.status, answer.json["reason"]) == (412, "OtherWeights")
    assert sampler.call("GET", "/v1/state", token="another").status == 401


def test_the_first_weights_pass_their_canary(sampler: Program, volume: Volume) -> None:
    state = load(sampler, volume.a)
    assert (state["state"], state["weights"]["version"]) == ("Ready", "r0001-p01")
    assert 0 <= state["canaryDifference"] < 1e-3, "vLLM and transformers must agree on the same files"


def test_a_shard_is_drawn_scored_and_written(volume: Volume, shards: Shards, relevance: str) -> None:
    report, rows = shards.run(volume.a, DRAWN, relevance)
    assert (report["done"], report["total"], report["shard"]["rows"]) == (QUERIES, QUERIES, QUERIES)
    done = read_done(volume.root / report["shard"]["path"])
    assert done is not None
    assert (done.weights, done.reward_revision) == ("r0001-p01", "reward-1")
    assert {row.id for row in rows} == {f"q{i}" for i in range(QUERIES)}
    for row in rows:
        assert row.prompt == PROMPT.template.replace("{query}", row.query)
        assert len(row.samples) == DRAWN.n
        assert all(sample.score is not None and sample.token_ids for sample in row.samples)
    scores = [sample.score for row in rows for sample in row.samples if sample.score is not None]
    assert report["metrics"]["mean_score"] == pytest.approx(sum(scores) / len(scores))
    assert report["metrics"]["missing_share"] == 0
    assert report["metrics"]["tokens_per_s"] > 0


def test_the_same_order_draws_the_same_and_another_seed_does_not(
    volume: Volume, shards: Shards, relevance: str
) -> None:
    _, first = shards.run(volume.a, DRAWN, relevance)
    _, again = shards.run(volume.a, DRAWN, relevance)
    _, other = shards.run(volume.a, GenerationConfig(n=4, temperature=0.9, max_tokens=12, seed=12), relevance)
    assert texts(again) == texts(first)
    assert texts(other) != texts(first)
    assert any(len(set(rewrites)) > 1 for rewrites in texts(first).values())


def test_a_repeated_put_is_the_same_work_and_another_body_is_refused(
    sampler: Program, volume: Volume, shards: Shards, relevance: str
) -> None:
    shards.run(volume.a, GREEDY, relevance)
    shards.number -= 1
    assert shards.put(volume.a, GREEDY, relevance).json["state"] == "Done"
    shards.number -= 1
    assert shards.put(volume.a, DRAWN, relevance).status == 409


def test_a_shard_without_scores_fails_with_the_numbers(sampler: Program, volume: Volume, shards: Shards) -> None:
    with answering(broken) as url:
        shards.put(volume.a, GREEDY, url)
        report = until_settled(sampler, shards.path, "Running")
    assert report["state"] == "Failed"
    assert "of 10 samples have no score" in report["message"]
    assert "> 2.0%); most often: NoScore" in report["message"]
    assert read_done(volume.root / samples_file(1, 1, shards.number)) is None


def test_changed_data_fails_with_a_sentence(sampler: Program, volume: Volume, shards: Shards) -> None:
    shards.put(volume.a, GREEDY, "http://127.0.0.1:1/", sha256="0" * 64)
    report = until_settled(sampler, shards.path, "Running")
    assert (report["state"], "train.jsonl changed during the cycle" in report["message"]) == ("Failed", True)


@pytest.mark.parametrize(
    ("name", "message", "paused"),
    [
        ("lacking", "lacking: lacks 1 of 20 tensors: model.layers.1.mlp.down_proj.weight", False),
        ("flipped", "sha256 differs", False),
        ("truncated", "the manifest says", False),
        ("damaged_before_publishing", "canary log-probabilities differ", True),
    ],
)
def test_a_bad_set_is_refused_and_the_old_one_still_answers(
    sampler: Program, volume: Volume, shards: Shards, relevance: str, name: str, message: str, paused: bool
) -> None:
    _, before = shards.run(volume.a, GREEDY, relevance)
    paused_before = sampler.call("GET", "/v1/state").json["pausedSeconds"]
    state = load(sampler, getattr(volume, name))
    assert (state["state"], state["weights"]["version"]) == ("Failed", "r0001-p01")
    assert message in state["message"]
    assert (state["pausedSeconds"] != paused_before) is paused, "files are refused before generation is paused"
    _, after = shards.run(volume.a, GREEDY, relevance)
    assert texts(after) == texts(before)


def test_a_reload_in_place_equals_a_fresh_start(
    sampler: Program, serving_b: Program, volume: Volume, shards: Shards, relevance: str
) -> None:
    """Also the prefix cache: A has just answered the same prompts."""
    _, of_a = shards.run(volume.a, GREEDY, relevance)
    state = load(sampler, volume.b)
    assert (state["state"], state["weights"]["version"]) == ("Ready", "r0001-p02")
    _, of_b = shards.run(volume.b, GREEDY, relevance)
    fresh = {query: [rewrite_text(serving_b, query)] for query in texts(of_b)}
    assert texts(of_b) == fresh
    assert texts(of_b) != texts(of_a)
    assert shards.put(volume.a, GREEDY, relevance).status == 412


def test_a_sampler_that_was_made_for_a_set_draws_what_a_reloaded_one_draws(
    sampler: Program, volume: Volume, shards: Shards, relevance: str
) -> None:
    load(sampler, volume.b)
    _, reloaded = shards.run(volume.b, GREEDY, relevance)
    with made_for(volume, volume.b) as program:
        assert program.call("GET", "/readyz").status == 503, "a pod must not be ready before its weights are"
        state = until_settled(program, "/v1/state", "Loading")
        assert (state["state"], state["weights"]["version"], state["reloads"]) == ("Ready", "r0001-p02", 0)
        assert state["canaryDifference"] is not None
        assert program.call("GET", "/readyz").status == 200
        own = Shards(program, volume)
        own.number = 500
        _, started = own.run(volume.b, GREEDY, relevance)
        assert texts(started) == texts(reloaded)
        assert own.put(volume.a, GREEDY, relevance).status == 412


def test_a_sampler_that_was_made_for_a_spoiled_set_stays_unready_and_says_why(volume: Volume) -> None:
    with made_for(volume, volume.flipped) as program:
        state = until_settled(program, "/v1/state", "Loading")
        assert (state["state"], state.get("weights")) == ("Failed", None)
        assert "sha256 differs from the manifest" in state["message"]
        assert program.call("GET", "/readyz").status == 503


def greedy_evidence(volume: Volume, relevance: str, search: str) -> EvidenceOrder:
    """Of the candidate B in cycle 2."""
    return EvidenceOrder(
        weights=volume.b,
        requests_file="train.jsonl",
        requests_sha256=volume.requests_sha256,
        corpus_file="corpus.jsonl",
        selection=Selection(seed=3),
        generation=GREEDY,
        reward=reward(relevance),
        search_url=search,
        out=evidence_file(2, "candidate", 0),
    )


def evidence_rows(sampler: Program, path: str, order: EvidenceOrder) -> list[dict[str, Any]]:
    """Give the order, wait for its end, and fetch its rows."""
    assert sampler.call("PUT", path, order).status == 200
    report = until_settled(sampler, path, "Running")
    assert report["state"] == "Done", report
    rows: list[dict[str, Any]] = sampler.call("GET", path + "/rows").json["rows"]
    return rows


def test_evidence_of_both_sides(sampler: Program, volume: Volume, relevance: str) -> None:
    load(sampler, volume.b)
    with answering(same_ranking) as search:
        for side, weights in (("candidate", volume.b), ("incumbent", None)):
            order = replace(
                greedy_evidence(volume, relevance, search),
                weights=weights,
                out=evidence_file(1, side, 0),
                sampled=replace(GREEDY, n=3, temperature=1.0),
                first_results=2,
            )
            rows = evidence_rows(sampler, f"/v1/evidence/1/{side}/0", order)
            assert len(rows) == QUERIES
            assert all(len(row["rewrites"]) == (1 if weights else 0) for row in rows)
            assert all(row["ndcg10"] == 1.0 and row["results"] == ["d1", "d2"] for row in rows)
            drawn = [row["sampled"] for row in rows if "sampled" in row]
            assert len(drawn) == (QUERIES if weights else 0), "the passthrough draws nothing"
            assert all(len(draw["rewrites"]) == 3 and draw["ndcg10"] == 1.0 for draw in drawn)
            assert all(0.0 < draw["nats"] < 20.0 and 0 <= draw["cut"] <= 3 for draw in drawn)


def test_weights_weigh_their_own_draws_as_they_drew_them(sampler: Program, volume: Volume, relevance: str) -> None:
    with answering(same_ranking) as search:
        order = replace(greedy_evidence(volume, relevance, search), sampled=replace(GREEDY, n=3, temperature=0.7))
        sides = {
            "candidate": order,
            "incumbent": replace(order, out=evidence_file(2, "incumbent", 0), weigh=order.out, sampled=None),
        }
        rows = {side: evidence_rows(sampler, f"/v1/evidence/2/{side}/0", of_side) for side, of_side in sides.items()}
    for ours, theirs in zip(rows["candidate"], rows["incumbent"], strict=True):
        assert theirs["weighed"] == pytest.approx(ours["sampled"]["logprobs"], abs=1e-3), "whatever the temperature"


def rewrite_text(serving: Program, query: str) -> str:
    rewrites = serving.call("POST", "/v1/rewrite", {"query": query, "stage": "recall"}).json["rewrites"]
    return str(rewrites[0]["text"]) if rewrites else ""


def test_a_serving_pod_names_what_it_serves(serving_b: Program, volume: Volume) -> None:
    stats = serving_b.call("GET", "/v1/stats").json
    assert (stats["state"], stats["revision"], stats["weights"]["digest"]) == ("Ready", "r0001", volume.b.digest)


def test_several_rewrites_differ(serving_b: Program) -> None:
    answer = serving_b.call("POST", "/v1/rewrite", {"query": "red shoes", "n": 9})
    found = [rewrite["text"] for rewrite in answer.json["rewrites"]]
    assert 1 <= len(found) <= 4, "n is cut at max_rewrites"
    assert len(set(found)) == len(found)
    assert answer.json["revision"] == "r0001"


def test_a_query_longer_than_the_model_is_refused(serving_b: Program) -> None:
    answer = serving_b.call("POST", "/v1/rewrite", {"query": "鞋" * 1000})
    assert (answer.status, answer.json["reason"]) == (400, "QueryTooLong")


def test_concurrent_requests_get_their_own_answers_and_are_counted(serving_b: Program) -> None:
    queries = [f"shoes of size {i}" for i in range(24)]
    alone = [rewrite_text(serving_b, query) for query in queries]
    before = serving_b.call("GET", "/v1/stats").json["stages"]["recall"]["requests"]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: rewrite_text(serving_b, query), queries))
    after = serving_b.call("GET", "/v1/stats").json["stages"]["recall"]["requests"]
    assert together == alone
    assert after - before == len(queries)


def test_sigterm_ends_a_serving_pod_in_order(serving_b: Program) -> None:
    """Last, because the pod is gone afterwards."""
    serving_b.process.send_signal(signal.SIGTERM)
    serving_b.wait_for("/readyz", status=503, seconds=5)
    assert serving_b.call("POST", "/v1/rewrite", {"query": "still here"}).status == 200
    assert serving_b.process.wait(timeout=25) == 0


def test_a_serving_pod_with_damaged_weights_says_why_and_stays_unready(volume: Volume) -> None:
    serving = ServingConfig(revision="r0002", weights=volume.flipped)
    with running("rewriter_sampler.serve", {**variables(volume), env.SERVING: wire.dumps(serving)}) as program:
        program.wait_for("/healthz")
        deadline = time.monotonic() + 30
        while (stats := program.call("GET", "/v1/stats").json)["state"] != "Failed" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (stats["state"], "sha256 differs" in stats["message"]) == ("Failed", True)
        assert program.call("GET", "/readyz").status == 503


def test_the_sampler_ends_at_sigterm(sampler: Program) -> None:
    """Last of all."""
    os.kill(sampler.process.pid, signal.SIGTERM)
    assert sampler.process.wait(timeout=10) == 0
