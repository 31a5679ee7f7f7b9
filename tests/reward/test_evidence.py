"""Evidence and report against real services on loopback and a real directory."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewriter_contract import wire
from rewriter_contract.agent import Progress, WorkFailed, WorkTable
from rewriter_contract.messages import (
    DataRow,
    EvidenceOrder,
    GenerationConfig,
    Selection,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_contract.reports import CheckName, CheckSettings, GateSettings, Judged
from rewriter_contract.shards import ShardError
from rewriter_contract.text_checks import is_clean
from rewriter_contract.volume import evidence_file
from rewriter_contract.wire import WireError
from rewriter_operator.core.gate import judge
from rewriter_sampler import evidence, report
from rewriter_sampler.corpus import SNIPPET_CHARS, read_snippets
from rewriter_sampler.drawing import Completion
from rewriter_sampler.gold import Gold
from rewriter_sampler.relevance import RelevanceFailed
from rewriter_sampler.report_results import results
from rewriter_sampler.reward import Score

from .reward_builder import CORPUS, RunningService, config, honest, row, service

PERSIAN = "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # spelt with a zero-width non-joiner
QUERIES = [row(id=f"q{i}", query=f"blue shoes {i}", labels={"d1": 2.0}, slice="head") for i in range(40)]


def search(body: Any) -> Any:
    """Ranks the liked document first for every rewrite that says `running`."""
    return {
        "results": [
            ["d1", "d2"] if any("running" in text for text in each["rewrites"]) else ["d2", "d1"]
            for each in body["requests"]
        ]
    }


def progress() -> Progress:
    table = WorkTable()
    table._reports["key"] = WorkReport(state=WorkState.RUNNING)
    return Progress(table, "key")


def volume(root: Path) -> EvidenceOrder:
    """Writes data files below `root`; the order of the candidate side over them."""
    data = "".join(wire.dumps(each) + "\n" for each in QUERIES).encode()
    (root / "gate.jsonl").write_bytes(data)
    (root / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "{key}", "text": "{text}"}}\n' for key, text in CORPUS.items())
    )
    return EvidenceOrder(
        weights=WeightsRef("r0007-p02", "digest"),
        requests_file="gate.jsonl",
        requests_sha256=hashlib.sha256(data).hexdigest(),
        corpus_file="corpus.jsonl",
        selection=Selection(seed=0),
        generation=GenerationConfig(n=1, temperature=0.0),
        reward=config(),
        search_url="",
        out=evidence_file(7, "candidate", 0),
    )


def said(text: str) -> Completion:
    return Completion(text, token_ids=(1, 2), finished=True, mean_logprob=-0.5)


def rewrite(rows: list[DataRow], _: GenerationConfig) -> list[list[Completion]]:
    return [[said(f"{each.query} running")] for each in rows]


def aimed(order: EvidenceOrder, relevance: RunningService, gold: RunningService) -> EvidenceOrder:
    return replace(order, reward=replace(order.reward, relevance_url=relevance.url), search_url=gold.url)


def test_evidence_measures_both_sides_and_the_gate_reads_it(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        order = aimed(order, relevance, gold)
        done = evidence.run(order, tmp_path, rewrite, progress(), "pod")
        other = replace(order, weights=None, out=evidence_file(7, "incumbent", 0))
        evidence.run(other, tmp_path, rewrite, progress(), "pod")
    ours, theirs = evidence.read_rows(tmp_path, order.out), evidence.read_rows(tmp_path, other.out)
    assert done.state is WorkState.DONE and done.shard is not None
    assert (done.shard.rows, done.shard.sha256) == (40, ours.sha256)
    assert ours.relevance_model == "overlap@1" and theirs.relevance_model == ""
    assert {(entry.reward, entry.rewrites, entry.length_ratio) for entry in theirs.rows} == {(0.0, (), None)}
    assert {entry.ndcg10 for entry in ours.rows} == {1.0}
    assert all((entry.reward or 0) > 0 and (entry.length_ratio or 0) == pytest.approx(4 / 3) for entry in ours.rows)
    one_word = {CheckName.ADDED_WORD: CheckSettings(disabled=True)}  # all that this rewriter can do
    verdict = judge(ours, theirs, GateSettings(resamples=100, checks=one_word))
    assert verdict.verdict == "Pass", verdict.reason
    report.write(tmp_path, 7, wire.dumps(verdict).encode(), "pod")
    page = (tmp_path / "cycles/0007/gate/report.html").read_text()
    assert "blue shoes 0 running" in page and "blue shoes 0</td>" in page
    assert (tmp_path / "cycles/0007/gate/report.json").read_bytes() == wire.dumps(verdict).encode()


def test_finished_evidence_is_kept_and_another_order_replaces_it(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        order = aimed(order, relevance, gold)
        first = evidence.run(order, tmp_path, rewrite, progress(), "pod")
        calls = len(relevance.bodies)
        assert evidence.run(order, tmp_path, rewrite, progress(), "pod") == first
        assert len(relevance.bodies) == calls
        evidence.run(replace(order, weights=WeightsRef("r0007-p03", "x")), tmp_path, rewrite, progress(), "pod")
        assert len(relevance.bodies) > calls


def test_damaged_evidence_is_gathered_again(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        order = aimed(order, relevance, gold)
        first = evidence.run(order, tmp_path, rewrite, progress(), "pod")
        shard = tmp_path / order.out
        shard.write_bytes(shard.read_bytes().replace(b"blue", b"blae", 1))
        assert evidence.run(order, tmp_path, rewrite, progress(), "pod") == first
    assert len(evidence.read_rows(tmp_path, order.out).rows) == 40


def test_evidence_without_rewards_fails_instead_of_being_judged(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with (
        service(lambda body: {"model": "m@1", "scores": []}) as relevance,
        service(search) as gold,
        pytest.raises(WorkFailed, match="40 of 40 queries"),
    ):
        evidence.run(aimed(order, relevance, gold), tmp_path, rewrite, progress(), "pod")
    with pytest.raises(ShardError, match="order it again"):
        evidence.read_rows(tmp_path, order.out)


def of_model(order: EvidenceOrder, model: str | None) -> EvidenceOrder:
    return replace(order, reward=replace(order.reward, relevance_model=model))


def test_evidence_by_another_model_than_the_cycles_is_never_written(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with (
        service(honest) as relevance,
        service(search) as gold,
        pytest.raises(RelevanceFailed, match=r"overlap@1 answers.*minilm@abc.*start a new cycle"),
    ):
        evidence.run(of_model(aimed(order, relevance, gold), "minilm@abc"), tmp_path, rewrite, progress(), "pod")
    assert not list((tmp_path / "cycles").rglob("*.jsonl*"))


def test_each_row_says_which_reward_scored_it_where_the_cycles_pods_know_the_field(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        before = aimed(order, relevance, gold)
        evidence.run(before, tmp_path, rewrite, progress(), "pod")
        assert "rewardRevision" not in (tmp_path / order.out).read_text()
        evidence.run(of_model(before, "overlap@1"), tmp_path, rewrite, progress(), "pod")
    assert {entry.reward_revision for entry in evidence.read_rows(tmp_path, order.out).rows} == {"reward-1"}


def test_the_page_says_who_was_judged_on_what(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        evidence.run(aimed(order, relevance, gold), tmp_path, rewrite, progress(), "pod")
    ours = evidence.read_rows(tmp_path, order.out)
    judged = Judged(7, "reward-1", "overlap@1", "f" * 64, order.weights, None, {"gate": "b" * 64})
    report.write(tmp_path, 7, wire.dumps(judge(ours, ours, GateSettings(resamples=50), judged)).encode(), "pod")
    page = (tmp_path / "cycles/0007/gate/report.html").read_text()
    for shown in ("f" * 64, "r0007-p02 digest", "passthrough", "Data file gate", "b" * 64):
        assert f"<code>{shown}</code>" in page or f"<dt>{shown}</dt>" in page


def test_a_shard_of_an_order_that_named_no_model_is_not_taken_for_one_that_does(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        before = aimed(order, relevance, gold)
        evidence.run(before, tmp_path, rewrite, progress(), "pod")
        about = evidence.about_path(tmp_path / order.out).read_text()
        assert '"relevanceModel":null' not in about and about.count("relevanceModel") == 1, "as it was before the field"
        calls = len(relevance.bodies)
        evidence.run(before, tmp_path, rewrite, progress(), "pod")
        assert len(relevance.bodies) == calls
        evidence.run(of_model(before, "overlap@1"), tmp_path, rewrite, progress(), "pod")
        assert len(relevance.bodies) > calls


@pytest.mark.parametrize(
    ("query", "text", "clean"),
    [
        ("tv", "flat tv", True),
        ("tv", "", False),
        ("tv", "...", False),
        ("tv", "flat\ntv", False),
        ("tv", "flat\u200btv", False),
        (PERSIAN, f"{PERSIAN} tv", True),
        ("tv", "Query: flat tv", False),
        ("tv", "flat tv <|im_end|>", False),
        ("tv", "assistant manager jobs", True),
    ],
)
def test_format_is_what_a_user_could_have_typed(query: str, text: str, clean: bool) -> None:
    assert is_clean(query, text) is clean


def test_measures_of_several_rewrites() -> None:
    found = evidence.measure(row(), ["Blue Shoes", "boots boots boots blue"], [Score(0.0), Score(0.5)], Gold(0.1, 0.2))
    assert (found.reward, found.copy, found.repetition, found.length_ratio) == (0.25, False, 0.75, 1.5)
    assert evidence.measure(row(), ["blue  shoes"], [Score(0.0)], Gold(None, None)).copy
    assert evidence.measure(row(), ["a", "b"], [Score(0.1), Score(None, "Timeout")], Gold(None, None)).reward is None


def with_results(order: EvidenceOrder) -> EvidenceOrder:
    """As the gate orders it where the incumbent is a model."""
    return replace(order, first_results=3, query_alone=True)


def test_rows_keep_the_first_results_of_their_side_and_of_the_query_alone(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        order = aimed(order, relevance, gold)
        evidence.run(with_results(order), tmp_path, rewrite, progress(), "pod")
        asked = [each for body in gold.bodies for each in body["requests"]]
    rows = evidence.read_rows(tmp_path, order.out).rows
    assert {(row.results, row.alone_results) for row in rows} == {(("d1", "d2"), ("d2", "d1"))}
    assert {(row.ndcg10, round(row.alone_ndcg10 or 0, 4)) for row in rows} == {(1.0, 0.6309)}
    assert len(asked) == 2 * len(QUERIES) and len(gold.bodies) == 6, "both of 40 queries, 16 a call"


def test_an_order_that_asks_for_no_results_leaves_rows_and_calls_as_they_were(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        order = aimed(order, relevance, gold)
        evidence.run(order, tmp_path, rewrite, progress(), "pod")
        assert sum(len(body["requests"]) for body in gold.bodies) == len(QUERIES)
    written = (tmp_path / order.out).read_text() + evidence.about_path(tmp_path / order.out).read_text()
    assert not any(word in written for word in ("esults", "alone", "Alone"))


def test_a_ranking_that_cannot_be_trusted_is_not_shown_and_odd_ids_are_text_that_can_be_written(tmp_path: Path) -> None:
    def odd(body: Any) -> Any:
        rankings = [["d1", "d1"] if "0" in each["query"] else ["\ud800", "x" * 1000] for each in body["requests"]]
        return {"results": rankings}

    order = volume(tmp_path)
    with service(honest) as relevance, service(odd) as gold:
        order = with_results(aimed(order, relevance, gold))
        evidence.run(order, tmp_path, rewrite, progress(), "pod")
    rows = {row.query: row for row in evidence.read_rows(tmp_path, order.out).rows}
    assert rows["blue shoes 0"].results is None and rows["blue shoes 0"].alone_results is None
    assert rows["blue shoes 1"].results == ("?", "x" * 256)


def judged_page(root: Path, order: EvidenceOrder, incumbent: Any, cycle: int = 7) -> str:
    """Gathers both sides, judges and writes the report; the page."""
    with service(honest) as relevance, service(search) as gold:
        ours = replace(with_results(aimed(order, relevance, gold)), query_alone=True if incumbent else None)
        evidence.run(ours, root, rewrite, progress(), "pod")
        theirs = replace(ours, query_alone=None, out=evidence_file(cycle, "incumbent", 0))
        theirs = theirs if incumbent else replace(theirs, weights=None)
        evidence.run(theirs, root, incumbent or rewrite, progress(), "pod")
    sides = [evidence.read_rows(root, evidence_file(cycle, side, 0)) for side in ("candidate", "incumbent")]
    report.write(root, cycle, wire.dumps(judge(sides[0], sides[1], GateSettings(resamples=50))).encode(), "pod")
    return (root / f"cycles/{cycle:04d}/gate/report.html").read_text()


LIKED = '<li class="liked" title="d1: grade 2">\u2713 blue running shoes</li>'
OTHER = '<li title="d2">garden hose</li>'


def test_the_page_shows_what_was_found_with_each_sides_rewrites_and_alone(tmp_path: Path) -> None:
    page = judged_page(tmp_path, volume(tmp_path), lambda rows, _: [[said(f"{each.query} boots")] for each in rows])
    best = page.split("Gold gained most")[1].split("<tr>")[2]
    query, incumbent, candidate = best.split("</td>")[:3]
    assert query.endswith(f'nDCG@10 0.631</div><ol class="results">{OTHER}{LIKED}</ol>')
    assert "boots" in incumbent and incumbent.endswith(f'nDCG@10 0.631</div><ol class="results">{OTHER}{LIKED}</ol>')
    assert "running" in candidate and candidate.endswith(f'nDCG@10 1.000</div><ol class="results">{LIKED}{OTHER}</ol>')


def test_beside_the_passthrough_its_own_results_are_those_of_the_query_alone(tmp_path: Path) -> None:
    page = judged_page(tmp_path, volume(tmp_path), None)
    best = page.split("Gold gained most")[1].split("<tr>")[2]
    assert best.count('<ol class="results">') == 2
    assert "no rewrite" in best.split("</td>")[1] and OTHER + LIKED in best.split("</td>")[1]


def test_a_document_that_the_corpus_lacks_is_shown_by_its_id_and_one_of_markup_as_text(tmp_path: Path) -> None:
    lines = ['{"_id": "d1", "title": "<b>x</b>", "text": "' + "long " * 40 + '"}', "no document", '{"_id": 3}']
    (tmp_path / "corpus.jsonl").write_text("\n".join([*lines, '{"_id": "d\\u0032", "text": "escaped"}', ""]))
    snippets = read_snippets(tmp_path / "corpus.jsonl", ["d1", "d2", "d9"], 5.0)
    assert snippets["d2"] == "escaped" and "d9" not in snippets and len(snippets["d1"]) <= SNIPPET_CHARS
    assert (
        read_snippets(tmp_path / "corpus.jsonl", ["d1"], -1.0) == read_snippets(tmp_path / "absent", ["d1"], 1.0) == {}
    )
    shown = results(("d1", "<i>"), None, {"d1": 1.0}, snippets)
    assert "&lt;b&gt;x&lt;/b&gt;. long" in shown and '<li title="&lt;i&gt;">&lt;i&gt;</li>' in shown
    assert results(None, 0.5, {}, {}) == "" and "nothing was found" in results((), 0.0, {}, {})


def test_report_escapes_what_models_and_users_say(tmp_path: Path) -> None:
    order = volume(tmp_path)
    evil = '<img src=x onerror="alert(1)">'
    with service(honest) as relevance, service(search) as gold:
        order = aimed(order, relevance, gold)
        for side in ("candidate", "incumbent"):
            one = replace(order, out=evidence_file(8, side, 0))
            texts = evil + (" running" if side == "candidate" else "")
            evidence.run(one, tmp_path, lambda rows, _, texts=texts: [[said(texts)] for _ in rows], progress(), "pod")
    sides = [evidence.read_rows(tmp_path, evidence_file(8, side, 0)) for side in ("candidate", "incumbent")]
    verdict = judge(sides[0], sides[1], GateSettings(resamples=50))
    report.write(tmp_path, 8, wire.dumps(replace(verdict, reason=f"{evil} {verdict.reason}")).encode(), "pod")
    page = (tmp_path / "cycles/0008/gate/report.html").read_text()
    assert evil not in page and "&lt;img src=x" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_report_says_when_the_judged_evidence_is_gone(tmp_path: Path) -> None:
    order = volume(tmp_path)
    with service(honest) as relevance, service(search) as gold:
        evidence.run(aimed(order, relevance, gold), tmp_path, rewrite, progress(), "pod")
    ours = evidence.read_rows(tmp_path, order.out)
    verdict = replace(judge(ours, ours, GateSettings(resamples=50)), candidate_sha256="another")
    report.write(tmp_path, 7, wire.dumps(verdict).encode(), "pod")
    assert "no longer on the volume" in (tmp_path / "cycles/0007/gate/report.html").read_text()


def test_body_that_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="verdict"):
        report.write(tmp_path, 7, b'{"verdict": "Great"}', "pod")
    assert not list(tmp_path.iterdir())
