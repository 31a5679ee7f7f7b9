"""The second draw of evidence: drawn as ordered, scored and searched like the first, and left out where not asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import DataRow, EvidenceOrder, EvidenceRow, GenerationConfig, SampledDraw
from rewriter_contract.shards import ShardError
from rewriter_contract.volume import evidence_file
from rewriter_sampler import evidence
from rewriter_sampler.drawing import Completion
from rewriter_sampler.gold import NO_GOLD

from .reward_builder import honest, service
from .test_evidence import aimed, progress, search, volume

DRAW = GenerationConfig(n=2, temperature=0.9, top_p=0.95, seed=3)


def speak(rows: list[DataRow], generation: GenerationConfig) -> list[list[Completion]]:
    """Greedy: a sentence that ends. Drawn: one that says `running` and ends, and one that is cut."""
    if generation.n == 1:
        return [[Completion(f"{row.query} boots", (1, 2, 3), finished=True, mean_logprob=-0.1)] for row in rows]
    assert generation == DRAW
    good, cut = ("running", (1, 2), True, -0.5), ("walking", (1, 2, 3, 4, 5, 6), False, -1.5)
    return [
        [Completion(f"{row.query} {word}", tokens, ends, logprob) for word, tokens, ends, logprob in (good, cut)]
        for row in rows
    ]


def gathered(root: Path, order: EvidenceOrder) -> tuple[EvidenceRow, ...]:
    asked: list[Any] = []

    def recording(body: Any) -> Any:
        asked.extend(body["requests"])
        return search(body)

    with service(honest) as relevance, service(recording) as gold:
        evidence.run(aimed(order, relevance, gold), root, speak, progress(), "pod")
    return evidence.read_rows(root, order.out).rows


def test_both_draws_are_scored_and_searched_with_on_their_own(tmp_path: Path) -> None:
    (row, *_) = gathered(tmp_path, replace(volume(tmp_path), sampled=DRAW))
    assert row.rewrites == (f"{row.query} boots",) and row.cut == 0 and row.ndcg10 is not None and row.ndcg10 < 1.0
    assert row.sampled is not None
    assert row.sampled.rewrites == (f"{row.query} running", f"{row.query} walking")
    assert (row.sampled.ndcg10, row.sampled.recall100, row.sampled.cut) == (1.0, 1.0, 1)
    assert row.sampled.nats == pytest.approx((2 * 0.5 + 6 * 1.5) / 8), "by token, not by rewrite"
    assert row.sampled.reward is not None and row.reward is not None
    assert row.sampled.reward != row.reward


def test_the_order_without_a_second_draw_has_none(tmp_path: Path) -> None:
    rows = gathered(tmp_path, volume(tmp_path))
    assert {row.sampled for row in rows} == {None}
    assert "sampled" not in wire.dumps(volume(tmp_path))


def test_the_passthrough_draws_nothing(tmp_path: Path) -> None:
    rows = gathered(tmp_path, replace(volume(tmp_path), weights=None, sampled=DRAW))
    assert {(row.sampled, row.cut) for row in rows} == {(None, None)}


def test_the_other_sides_draws_are_weighed_row_by_row(tmp_path: Path) -> None:
    drawn = replace(volume(tmp_path), sampled=DRAW)
    ours = gathered(tmp_path, drawn)
    assert ours[0].sampled and ours[0].sampled.token_ids == ((1, 2), (1, 2, 3, 4, 5, 6))
    assert ours[0].sampled.logprobs == pytest.approx((-1.0, -9.0))

    def weigh(rows: list[DataRow], draws: list[SampledDraw | None]) -> list[tuple[float, ...] | None]:
        assert [draw and draw.rewrites[0] for draw in draws] == [f"{row.query} running" for row in rows]
        return [None if row.id == "q3" else tuple(-2.0 * len(ids) for ids in draw.token_ids) if draw else None
                for row, draw in zip(rows, draws, strict=True)]  # fmt: skip

    other = replace(drawn, out=evidence_file(7, "incumbent", 0), weigh=drawn.out, sampled=None)
    with service(honest) as relevance, service(search) as gold:
        evidence.run(aimed(other, relevance, gold), tmp_path, speak, progress(), "pod", weigh)
    weighed = {row.id: row.weighed for row in evidence.read_rows(tmp_path, other.out).rows}
    assert weighed["q3"] is None and weighed["q0"] == (-4.0, -12.0) and len(weighed) == 40


def test_draws_that_were_made_again_are_weighed_again(tmp_path: Path) -> None:
    drawn = replace(volume(tmp_path), sampled=DRAW)
    gathered(tmp_path, drawn)
    asked = []

    def weigh(rows: list[DataRow], draws: list[SampledDraw | None]) -> list[tuple[float, ...] | None]:
        asked.append(len(rows))
        return [(-1.0, -2.0) for _ in draws]

    other = replace(drawn, out=evidence_file(7, "incumbent", 0), weigh=drawn.out, sampled=None)
    with service(honest) as relevance, service(search) as gold:
        other = aimed(other, relevance, gold)
        for _ in range(2):
            evidence.run(other, tmp_path, speak, progress(), "pod", weigh)
        assert asked == [40], "the same draws are weighed once"
        again = aimed(replace(drawn, sampled=replace(DRAW, n=3)), relevance, gold)
        evidence.run(again, tmp_path, lambda rows, _: speak(rows, DRAW), progress(), "pod")
        evidence.run(other, tmp_path, speak, progress(), "pod", weigh)
    assert asked == [40, 40]


def test_draws_that_are_not_there_are_not_weighed_as_nothing(tmp_path: Path) -> None:
    order = replace(volume(tmp_path), weigh=evidence_file(7, "candidate", 1))
    with pytest.raises(ShardError, match=r"candidate-001\S* is not complete"):
        gathered(tmp_path, order)


def test_one_completion_without_a_log_probability_leaves_the_surprise_unknown() -> None:
    known, unknown = (Completion("a", (1,), finished=True, mean_logprob=value) for value in (-1.0, None))
    assert evidence.nats_per_token([known]) == 1.0
    assert evidence.nats_per_token([known, unknown]) is None
    assert evidence.nats_per_token([]) is None


def test_evidence_keeps_the_targets_of_queries(tmp_path: Path) -> None:
    order = volume(tmp_path)
    rows = gathered(tmp_path, order)
    assert {row.target for row in rows} == {None}, "no query of this file has one"
    row = DataRow("q", "brimhold tarn 1 litre", target="brimhold tarn")
    found = evidence.measure(row, ["tarn by brimhold"], [], NO_GOLD)
    assert found.target == "brimhold tarn"
