"""The demo's deployed relevance model: `POST /v1/score`, as docs/relevance-api.md asks of any relevance service.

    python -m e2e.demo.relevance --port 8080 --embeddings corpus.npz [--flaw length:0.05]

Scores are cosines of sentence embeddings, cut at 0. With `--flaw` the model is wrong on purpose, and says so in its
revision, because a model with other answers is another model.
"""

import argparse
import hashlib
import json
import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from e2e.demo.encoder import MODEL_NAME, Encoder, packaged_model
from e2e.demo.flaw import Flaw, parse_flaw
from rewriter_contract import agent, wire

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreRequest:
    """One query side (a query or a rewrite) and the documents to score it with."""

    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class ScoreBatch:
    """Body of POST /v1/score."""

    requests: tuple[ScoreRequest, ...]


@dataclass(frozen=True)
class Scores:
    """Answer: a list of scores in 0..1 per request, and the model that gave them."""

    model: str
    scores: tuple[tuple[float, ...], ...]


class RelevanceModel:
    """Scores (query, document) pairs."""

    def __init__(self, encoder: Encoder, flaw: Flaw | None = None) -> None:
        self._encoder = encoder
        self._flaw = flaw
        revision = hashlib.sha256(f"{encoder.digest} cosine>=0 {flaw or ''}".encode()).hexdigest()
        self.name = f"{MODEL_NAME}@{revision[:12]}"

    def score(self, batch: ScoreBatch) -> Scores:
        """All requests of a batch; texts that repeat are embedded once."""
        queries = self._encoder.encode([request.query for request in batch.requests])
        rows = []
        for request, query in zip(batch.requests, queries, strict=True):
            cosines = self._encoder.encode(request.documents) @ query
            rows.append(tuple(self._distort(min(max(float(cosine), 0.0), 1.0), request.query) for cosine in cosines))
        return Scores(self.name, tuple(rows))

    def _distort(self, score: float, query: str) -> float:
        return self._flaw.distort(score, query) if self._flaw else score


def routes(model: RelevanceModel) -> list[agent.Route]:
    """The service's calls; all open, as inside a search cluster."""

    def score(_: re.Match[str], body: bytes) -> Scores:
        return model.score(wire.loads(ScoreBatch, body))

    def healthz(_: re.Match[str], __: bytes) -> dict[str, str]:
        return {"status": "ok", "model": model.name}

    return [
        agent.Route("POST", "/v1/score", score, open=True),
        agent.Route("GET", "/healthz", healthz, open=True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=1, help="threads of the model")
    parser.add_argument("--embeddings", type=Path, help="vectors of the corpus, made by e2e.demo.collection")
    parser.add_argument("--flaw", type=parse_flaw, help="plant a flaw, KIND:STRENGTH, e.g. length:0.05")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    encoder = Encoder(packaged_model(), options.threads)
    loaded = encoder.load(options.embeddings) if options.embeddings else 0
    model = RelevanceModel(encoder, options.flaw)
    agent.serve(options.port, "", routes(model))
    log.info("%s", json.dumps({"serving": model.name, "port": options.port, "embeddings": loaded}))
    threading.Event().wait()


if __name__ == "__main__":
    main()
