"""The demo's search engine: three stages that take rewrites beside the query, and never instead of it.

    python -m e2e.demo.search --port 8080 --corpus corpus.jsonl --embeddings corpus.npz --fusion fusion.json \
        [--gateway http://gateway --host rewrite.demo]

recall finds candidates by BM25, for the query and for every rewrite; rawrank keeps the best by embeddings; finerank
orders these by embeddings and BM25. Both rankings multiply the rewrites in (fusion.py). `POST /v1/search` takes
rewrites explicitly (the gate's gold, docs/search-api.md); `POST /v1/search/live` asks the gateway, each stage for
itself, and goes on without rewrites when none comes in time.
"""

import argparse
import json
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bm25s
import numpy as np

from e2e.demo.encoder import Encoder, document_text, packaged_model
from e2e.demo.fusion import Fusion, read_fusion
from e2e.demo.rewrites import Gateway, Rewrites
from e2e.demo.vectors import Vectors
from rewriter_contract import agent, wire
from rewriter_contract.messages import STAGES

RECALLED: Final = 200
"""Candidates that BM25 finds for the query; half as many for each rewrite."""
RAW_KEPT: Final = 150
"""Candidates that rawrank hands to finerank."""
LEXICAL_WEIGHT: Final = 0.5
"""How much BM25 counts beside the embeddings in finerank."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchRequest:
    """A query and the rewrites that every stage takes beside it."""

    query: str
    rewrites: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchBatch:
    """Body of POST /v1/search."""

    requests: tuple[SearchRequest, ...]
    k: int = 100


@dataclass(frozen=True)
class SearchResults:
    """Document ids per request, best first."""

    results: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LiveRequest:
    """Body of POST /v1/search/live."""

    query: str
    k: int = 10


@dataclass(frozen=True)
class Hit:
    """One result as a person reads it."""

    id: str
    title: str


@dataclass(frozen=True)
class LiveResults:
    """What was found, and which rewrites each stage had."""

    hits: tuple[Hit, ...]
    stages: dict[str, Rewrites]


class SearchEngine:
    """Ranks the corpus for a query with rewrites per stage."""

    def __init__(self, corpus: Sequence[Mapping[str, str]], encoder: Encoder, fusion: Fusion) -> None:
        self.titles = {str(row["_id"]): row.get("title", "") for row in corpus}
        self._ids = np.array(list(self.titles))
        texts = [document_text(row.get("title", ""), row.get("text", "")) for row in corpus]
        self._encoder = encoder
        self._fusion = fusion
        self._documents = encoder.encode(texts)
        self._index = bm25s.BM25()
        self._index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def search(self, query: str, rewrites: Mapping[str, Sequence[str]], k: int) -> tuple[str, ...]:
        """The `k` best document ids. `rewrites` by stage; a stage without any uses the query alone."""
        lexical = self._lexical(query)
        candidates = self._recall(lexical, rewrites.get("recall", ()))
        relevance = self._relevances([query])[0]
        raw = relevance * self._fusion.factor("rawrank", self._relevances(rewrites.get("rawrank", ())))
        kept = candidates[np.argsort(-raw[candidates], kind="stable")][: max(RAW_KEPT, k)]
        fine = relevance * (1.0 + LEXICAL_WEIGHT * lexical / max(float(lexical.max()), 1e-6))
        fine = fine * self._fusion.factor("finerank", self._relevances(rewrites.get("finerank", ())))
        ranked = kept[np.argsort(-fine[kept], kind="stable")][:k]
        return tuple(str(found) for found in self._ids[ranked])

    def warm(self, batch: SearchBatch) -> None:
        """Embed all texts of a batch in one go; `search` then finds them in the cache."""
        self._encoder.encode([text for request in batch.requests for text in (request.query, *request.rewrites)])

    def _recall(self, lexical: Vectors, rewrites: Sequence[str]) -> "np.typing.NDArray[np.int64]":
        lists = [np.argsort(-lexical, kind="stable")[:RECALLED]]
        lists += [np.argsort(-self._lexical(rewrite), kind="stable")[: RECALLED // 2] for rewrite in rewrites]
        return np.unique(np.concatenate(lists))

    def _relevances(self, texts: Sequence[str]) -> Vectors:
        cosines: Vectors = self._encoder.encode(texts) @ self._documents.T
        return np.clip(cosines, 0.0, 1.0)

    def _lexical(self, text: str) -> Vectors:
        tokens = bm25s.tokenize(text, stopwords="en", return_ids=False, show_progress=False)[0]
        if not tokens:
            return np.zeros(len(self._ids), np.float32)
        scores: Vectors = self._index.get_scores(tokens)
        return scores


class FrontEnd:
    """The service's calls."""

    def __init__(self, engine: SearchEngine, gateway: Gateway | None) -> None:
        self._engine = engine
        self._gateway = gateway
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="stage")

    def gold(self, _: re.Match[str], body: bytes) -> SearchResults:
        batch = wire.loads(SearchBatch, body)
        self._engine.warm(batch)
        found = [
            self._engine.search(request.query, dict.fromkeys(STAGES, request.rewrites), batch.k)
            for request in batch.requests
        ]
        return SearchResults(tuple(found))

    def live(self, _: re.Match[str], body: bytes) -> LiveResults:
        request = wire.loads(LiveRequest, body)
        stages = self._ask(request.query)
        texts = {stage: rewrites.texts for stage, rewrites in stages.items()}
        found = self._engine.search(request.query, texts, request.k)
        return LiveResults(tuple(Hit(document, self._engine.titles[document]) for document in found), stages)

    def healthz(self, _: re.Match[str], __: bytes) -> dict[str, str]:
        return {"status": "ok"}

    def _ask(self, query: str) -> dict[str, Rewrites]:
        if self._gateway is None:
            return {}
        asked = {stage: self._pool.submit(self._gateway.rewrites, stage, query) for stage in STAGES}
        return {stage: future.result() for stage, future in asked.items()}

    def routes(self) -> list[agent.Route]:
        """All open, as inside a search cluster."""
        return [
            agent.Route("POST", "/v1/search", self.gold, open=True),
            agent.Route("POST", "/v1/search/live", self.live, open=True),
            agent.Route("GET", "/healthz", self.healthz, open=True),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=1, help="threads of the embedding model")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, help="vectors of the corpus, made by e2e.demo.collection")
    parser.add_argument("--fusion", type=Path, required=True)
    parser.add_argument("--gateway", default="", help="URL of the gateway, for live searches")
    parser.add_argument("--host", default="", help="Host header of the rewriter's route")
    parser.add_argument("--timeout", type=float, default=0.5, help="seconds that a stage waits for rewrites")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    encoder = Encoder(packaged_model(), options.threads)
    if options.embeddings:
        encoder.load(options.embeddings)
    corpus = [json.loads(line) for line in options.corpus.read_text().splitlines()]
    engine = SearchEngine(corpus, encoder, read_fusion(options.fusion))
    gateway = Gateway(options.gateway, options.host, options.timeout) if options.gateway else None
    agent.serve(options.port, "", FrontEnd(engine, gateway).routes())
    log.info("%s", json.dumps({"serving": len(corpus), "port": options.port, "gateway": options.gateway}))
    threading.Event().wait()


if __name__ == "__main__":
    main()
