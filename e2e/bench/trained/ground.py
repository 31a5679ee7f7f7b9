"""What benches that train the tiny model stand on: a collection, its base model, its search, a relevance model.

Runs inside the trainer image, with the demo's packages beside it.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any, Final

import yaml

from e2e.bench.trained.drawing import Drawer, Drawn
from e2e.demo.collection import convert, embed
from e2e.demo.encoder import Encoder, packaged_model
from e2e.demo.flaw import parse_flaw
from e2e.demo.fusion import Fusion, read_fusion
from e2e.demo.profiles import TINY
from e2e.demo.relevance import RelevanceModel, routes
from e2e.demo.search import FrontEnd, SearchEngine
from e2e.demo.tiny_model import train_tiny
from rewriter_contract import agent, shards, volume
from rewriter_contract.messages import (
    DataRow,
    EvidenceOrder,
    EvidenceRows,
    GenerationConfig,
    PromptConfig,
    RewardConfig,
    Sample,
    SampleRow,
    Selection,
    WeightsRef,
)
from rewriter_contract.selection import read_requests
from rewriter_sampler import evidence
from rewriter_sampler.corpus import read_documents
from rewriter_sampler.reward import Scorer
from rewriter_trainer.check_model import check_model
from rewriter_trainer.import_base import import_base

SHOP: Final = Path(__file__).parents[2] / "data" / "shop"
SERVICES: Final = Path(__file__).parents[2] / "demo" / "manifests" / "services.yaml"
WRITER: Final = "trained"
DTYPE: Final = "float32"
PROMPT: Final = PromptConfig(template=TINY.template)
THREADS: Final = int(os.environ.get("OMP_NUM_THREADS", "2"))
"""The encoder sets them for the whole process; two processes with two each wait for each other on two cores."""
CORPUS: Final = "data/corpus.jsonl"


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    work: Path
    base: WeightsRef
    encoder: Encoder
    search_url: str
    fusion: Fusion
    """Of search and reward."""
    max_tokens: int
    """Of a rewrite."""


def prepare(
    work: Path, collection: Path = SHOP, max_tokens: int = TINY.max_tokens, gamma: float | None = None
) -> Bench:
    """Data, embeddings and base model of a collection, made once; its search is up.

    `gamma` replaces the exponents of the demo's fusion: how much search trusts rewrites.
    """
    data = work / "data"
    if not (data / "corpus.npz").exists():
        convert(collection, data)
        embed(collection, data, THREADS)
    if not (work / "base" / "config.json").exists():
        train_tiny(data, work / "base")
    base = import_base(work, check_model(work, "base"), DTYPE, seed=0, writer=WRITER)
    encoder = Encoder(packaged_model(), THREADS)
    encoder.load(data / "corpus.npz")
    corpus = [json.loads(line) for line in (work / CORPUS).read_text().splitlines()]
    fusion = read_fusion(_fusion_file(work))
    if gamma is not None:
        fusion = Fusion({stage: replace(term, gamma=gamma) for stage, term in fusion.terms.items()})
    engine = SearchEngine(corpus, encoder, fusion)
    server = agent.serve(0, "", FrontEnd(engine, None).routes(), "127.0.0.1")
    return Bench(work, base, encoder, f"http://127.0.0.1:{server.server_address[1]}/v1/search", fusion, max_tokens)


def _fusion_file(work: Path) -> Path:
    """The demo's own constants; other seeds may read the file at this moment, so it is there whole or not."""
    text = re.sub(r"\$\{(\w+)\}", r"\1", SERVICES.read_text())  # placeholders need no value here
    maps = [item for item in yaml.safe_load_all(text) if item and item["kind"] == "ConfigMap"]
    path = work / "fusion.json"
    constants: str = next(item for item in maps if item["metadata"]["name"] == "fusion")["data"]["fusion.json"]
    shards.replace_file(path, constants.encode(), uuid.uuid4().hex)
    return path


@contextmanager
def reward_with(bench: Bench, strength: float) -> Iterator[RewardConfig]:
    """The demo's reward over a relevance model with this flaw."""
    flaw = parse_flaw(f"length:{strength:g}") if strength else None
    server = agent.serve(0, "", routes(RelevanceModel(bench.encoder, flaw)), "127.0.0.1")
    try:
        yield RewardConfig(
            relevance_url=f"http://127.0.0.1:{server.server_address[1]}/v1/score",
            fusion=tuple(bench.fusion.terms.values()),
            negatives_weight=0.5,
            clip=1.386,
            revision=f"trial-{flaw or 'honest'}",
            timeout_seconds=60.0,
        )
    finally:
        server.shutdown()


def sampled_rows(rows: Sequence[DataRow], drawn: Sequence[Sequence[Drawn]], scorer: Scorer) -> list[SampleRow]:
    """What a sampler's shard would hold."""
    texts = [[completion.text for completion in row] for row in drawn]
    scores = scorer.score(list(zip(rows, texts, strict=True)))
    return [
        SampleRow(
            row.id,
            row.query,
            PROMPT.template.replace("{query}", " ".join(row.query.split())),
            tuple(
                Sample(one.text, score.value, score.missing, one.finished, one.token_ids)
                for one, score in zip(completions, of_row, strict=True)
            ),
        )
        for row, completions, of_row in zip(rows, drawn, scores, strict=True)
    ]


def evidence_of(
    bench: Bench,
    reward: RewardConfig,
    seed: int,
    weights: WeightsRef,
    out: str,
    drawer: Drawer,
    sampled: int = 0,
    weigh: str | None = None,
) -> EvidenceRows:
    """A model's evidence on the gate's queries, by the product's own code; `weights` names it.

    `sampled`: how many rewrites are drawn with chance, beside the greedy one. `weigh`: as in EvidenceOrder.
    """
    generation = GenerationConfig(1, 0.0, max_tokens=bench.max_tokens, seed=seed)
    order = EvidenceOrder(
        weights=weights,
        requests_file="data/gate.jsonl",
        requests_sha256=digest_of(bench.work, "gate"),
        corpus_file=CORPUS,
        selection=Selection(seed),
        generation=generation,
        reward=reward,
        search_url=bench.search_url,
        out=out,
        sampled=replace(generation, n=sampled, temperature=TINY.temperature) if sampled else None,
        weigh=weigh,
    )
    volume.resolve(bench.work, order.out).parent.mkdir(parents=True, exist_ok=True)
    silent: Any = SimpleNamespace(update=lambda **_: None)
    evidence.run(order, bench.work, drawer.completions, silent, WRITER, drawer.weigh)
    return evidence.read_rows(bench.work, order.out)


def honest_gain(bench: Bench, candidate: EvidenceRows, incumbent: EvidenceRows) -> float:
    """Mean log R of the candidate's rewrites less the incumbent's, by the relevance model without a flaw."""
    rows = {row.id: row for row in read_requests(bench.work / "data/gate.jsonl", digest_of(bench.work, "gate"))}

    def mean(side: EvidenceRows) -> float:
        answered = [(rows[row.id], list(row.rewrites)) for row in side.rows]
        documents = read_documents(bench.work / CORPUS, [row for row, _ in answered])
        with reward_with(bench, 0.0) as honest:
            scores = Scorer(honest, documents).score(answered)
        return fmean(score.value for of_row in scores for score in of_row if score.value is not None)

    return mean(candidate) - mean(incumbent)


def digest_of(root: Path, name: str) -> str:
    """sha256 of a requests file."""
    return hashlib.sha256((root / f"data/{name}.jsonl").read_bytes()).hexdigest()
