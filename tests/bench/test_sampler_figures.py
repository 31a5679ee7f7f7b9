"""What the sampler's bench makes of its rounds."""

from dataclasses import replace

import pytest

from e2e.bench.base_model import BenchModel
from e2e.bench.sampler.drawing import SHOP, Setting, rows_of, timed
from e2e.bench.sampler.figures import Round, report
from rewriter_contract import wire
from rewriter_contract.messages import GenerationConfig

ROUND = Round(seconds=2.0, cpu_seconds=4.0, tokens=100, digest="a")


def test_ratios_are_of_rounds_in_pairs_and_above_one_when_the_product_is_faster() -> None:
    slow, slower = replace(ROUND, seconds=4.0), replace(ROUND, seconds=40.0, cpu_seconds=8.0)
    made = report({"model": "tiny"}, 2, [ROUND, slow, slow], [slow, slow, slower])
    assert (made["tokens_per_s_ratio"], made["tokens_per_cpu_s_ratio"]) == (2.0, 1.0)
    assert made["product"]["seconds"] == [2.0, 4.0, 4.0], "raw seconds are kept"
    assert made["setting"] == {"model": "tiny", "rounds": 3}


def test_it_shows_whether_both_sides_drew_the_same() -> None:
    made = report({}, 2, [ROUND, ROUND], [ROUND, replace(ROUND, digest="b")])
    assert made["equal_tokens_share"] == 0.5


def test_rounds_without_their_pair_are_an_error() -> None:
    with pytest.raises(ValueError):
        report({}, 2, [ROUND], [])
    with pytest.raises(ValueError, match="no round"):
        report({}, 2, [], [])


def test_a_round_counts_the_tokens_of_all_completions() -> None:
    one = timed(lambda: [(1, 2), (3,)])
    assert one.tokens == 3 and one.seconds > 0
    assert one.digest == timed(lambda: [(1, 2), (3,)]).digest != timed(lambda: [(1,), (2, 3)]).digest


def test_prompts_are_always_the_same_queries_of_the_shop() -> None:
    assert rows_of(30) == rows_of(30) and len({row.id for row in rows_of(30)}) == 30
    with pytest.raises(ValueError, match=f"100000 queries are wanted, {SHOP}"):
        rows_of(100_000)


def test_a_setting_goes_to_the_sides_as_json() -> None:
    setting = Setting(BenchModel(tiny=True), 8, GenerationConfig(n=8, temperature=0.9))
    assert wire.loads(Setting, wire.dumps(setting), "--setting") == setting
