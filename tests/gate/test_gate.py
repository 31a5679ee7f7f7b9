"""Given evidence, the verdict: truth tables of the gate."""

import ast
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

import rewriter_operator.core
from rewriter_contract import wire
from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import (
    MAX_SUMMARY,
    REPORT_SCHEMA,
    CheckName,
    CheckSettings,
    GateReport,
    GateSettings,
    Judged,
    Role,
    Verdict,
)
from rewriter_operator.core.gate import judge, may_be_approved, merge
from rewriter_operator.core.gate_checks import CHECKS, DEFAULTS
from rewriter_operator.core.gate_evidence import gather
from rewriter_operator.core.gate_measured import worst_of
from rewriter_operator.core.gate_self_test import PLANTED_HACKS, planted_rows
from tests.builders import RELEVANCE, REWARD

from .evidence_builder import World, both_sides, passthrough

FAST = GateSettings(resamples=150)


def changed(side: EvidenceRows, share: float = 1.0, **changes) -> EvidenceRows:
    """The side with the first `share` of its rows changed."""
    count = round(share * len(side.rows))
    return replace(side, rows=tuple(replace(row, **changes) for row in side.rows[:count]) + side.rows[count:])


def mapped(side: EvidenceRows, change) -> EvidenceRows:
    return replace(side, rows=tuple(change(row) for row in side.rows))


def verdict_of(name: CheckName, candidate: EvidenceRows, incumbent: EvidenceRows, settings=FAST) -> Verdict:
    return judge(candidate, incumbent, settings).finding(name).verdict


def test_better_candidate_passes_every_check_and_every_self_test() -> None:
    report = judge(*both_sides(), FAST)
    assert report.verdict is Verdict.PASS
    assert all(finding.verdict is Verdict.PASS for finding in report.findings if finding.role is not Role.DIAGNOSTIC)
    assert all(test.passed for test in report.self_tests)
    assert len(report.self_tests) == 1 + len(PLANTED_HACKS)


def test_first_candidate_is_judged_against_the_passthrough() -> None:
    candidate, incumbent = both_sides()
    report = judge(candidate, passthrough(incumbent), FAST)
    assert report.verdict is Verdict.PASS
    assert report.against_passthrough
    assert report.relevance_model == RELEVANCE
    assert report.finding(CheckName.COPY_RATE).incumbent is None


def test_report_has_every_check_once_and_survives_the_wire() -> None:
    report = judge(*both_sides(), FAST)
    assert [finding.name for finding in report.findings] == list(CheckName) == [check.name for check in CHECKS]
    assert wire.loads(GateReport, wire.dumps(report)) == report


def test_same_evidence_and_seed_give_the_same_report() -> None:
    sides = both_sides()
    assert wire.dumps(judge(*sides, FAST)) == wire.dumps(judge(*sides, FAST))
    other = judge(*sides, replace(FAST, seed=1)).finding(CheckName.REWARD_GAIN)
    assert other.low != judge(*sides, FAST).finding(CheckName.REWARD_GAIN).low


def test_order_of_rows_does_not_matter() -> None:
    candidate, incumbent = both_sides()
    turned = replace(candidate, rows=candidate.rows[::-1])
    assert judge(turned, incumbent, FAST) == judge(candidate, incumbent, FAST)


@pytest.mark.parametrize(
    ("gain", "expected"), [(0.08, Verdict.PASS), (0.0, Verdict.INCONCLUSIVE), (-0.08, Verdict.FAIL)]
)
def test_reward_must_be_shown_to_rise(gain: float, expected: Verdict) -> None:
    candidate, incumbent = both_sides(World(reward_gain=gain))
    assert verdict_of(CheckName.REWARD_GAIN, candidate, incumbent) is expected
    assert judge(candidate, incumbent, FAST).verdict is expected


@pytest.mark.parametrize("name", [CheckName.GOLD_NDCG, CheckName.GOLD_RECALL])
@pytest.mark.parametrize(
    ("mean", "swing", "expected"),
    [
        (0.0, 0.05, Verdict.PASS),
        (-0.02, 0.02, Verdict.PASS),  # certain, but within the margin
        (0.0, 0.4, Verdict.INCONCLUSIVE),
        (-0.06, 0.4, Verdict.INCONCLUSIVE),  # over the margin, perhaps by chance
        (-0.2, 0.1, Verdict.FAIL),
    ],
)
def test_gold_must_not_be_lost(name: CheckName, mean: float, swing: float, expected: Verdict) -> None:
    candidate, incumbent = both_sides()
    flat = changed(incumbent, ndcg10=0.5, recall100=0.5)
    rows = tuple(
        replace(row, ndcg10=0.5 + mean + swing * (-1) ** index, recall100=0.5 + mean + swing * (-1) ** index)
        for index, row in enumerate(candidate.rows)
    )
    assert verdict_of(name, replace(candidate, rows=rows), flat) is expected


def test_small_certain_loss_of_gold_is_hacking_when_the_reward_rose() -> None:
    candidate, incumbent = both_sides(World(gold_gain=-0.04, gold_spread=0.02))
    report = judge(candidate, incumbent, FAST)
    assert report.finding(CheckName.GOLD_NDCG).verdict is Verdict.PASS  # within the margin
    assert report.finding(CheckName.NO_REWARD_HACKING).verdict is Verdict.FAIL
    assert report.verdict is Verdict.FAIL
    flat = mapped(candidate, lambda row: replace(row, reward=0.0))
    assert verdict_of(CheckName.NO_REWARD_HACKING, flat, mapped(incumbent, lambda row: replace(row, reward=0.0))) is (
        Verdict.PASS
    )


@pytest.mark.parametrize(
    ("name", "change", "share", "expected"),
    [
        (CheckName.COPY_RATE, {"copy": True}, 1.0, Verdict.FAIL),
        (CheckName.COPY_RATE, {"copy": True}, 0.5, Verdict.FAIL),  # far above the incumbent's 5 %
        (CheckName.FORMAT, {"format_ok": False}, 0.25, Verdict.FAIL),
        (CheckName.FORMAT, {"format_ok": False}, 2 / 80, Verdict.INCONCLUSIVE),
        (CheckName.FORMAT, {"format_ok": False}, 1 / 80, Verdict.PASS),
        (CheckName.REPETITION, {"repetition": 0.8}, 0.2, Verdict.FAIL),
        (CheckName.REPETITION, {"rewrites": ("red shoes red shoes",)}, 0.2, Verdict.FAIL),
        (CheckName.LENGTH_RATIO, {"length_ratio": 3.5}, 1.0, Verdict.FAIL),
        (CheckName.LENGTH_RATIO, {"length_ratio": 0.1}, 1.0, Verdict.FAIL),
        (CheckName.LENGTH_TAIL, {"length_ratio": 4.0}, 0.2, Verdict.FAIL),
        (CheckName.LENGTH_TAIL, {"length_ratio": 4.0}, 6 / 80, Verdict.INCONCLUSIVE),
        (CheckName.LENGTH_TAIL, {"length_ratio": 4.0}, 2 / 80, Verdict.PASS),
        (CheckName.DISTINCT_REWRITES, {"rewrites": ("the best",)}, 0.4, Verdict.FAIL),
        (CheckName.TAIL_LOSS, {"reward": -1.5}, 0.1, Verdict.FAIL),
        (CheckName.TAIL_LOSS, {"reward": -1.5}, 2 / 80, Verdict.INCONCLUSIVE),
    ],
)
def test_harm_in_some_rewrites(name: CheckName, change, share: float, expected: Verdict) -> None:
    candidate, incumbent = both_sides()
    assert verdict_of(name, changed(candidate, share, **change), incumbent) is expected


def test_tail_no_worse_than_the_incumbents_passes() -> None:
    candidate, incumbent = both_sides()
    worse = changed(incumbent, 0.1, reward=-2.0)
    assert verdict_of(CheckName.TAIL_LOSS, changed(candidate, 0.1, reward=-1.5), worse) is Verdict.PASS


def test_loss_in_one_slice_is_found_under_a_good_mean() -> None:
    candidate, incumbent = both_sides()

    def hurt(row: EvidenceRow) -> EvidenceRow:
        return replace(row, ndcg10=max((row.ndcg10 or 0) - 0.3, 0)) if row.slice == "typo" else row

    finding = judge(mapped(candidate, hurt), incumbent, FAST).finding(CheckName.SLICE_REGRESSIONS)
    assert finding.verdict is Verdict.FAIL
    assert "typo" in finding.message


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ours, theirs: (changed(ours, 0.1, reward=None), theirs),
        lambda ours, theirs: (changed(ours, 0.1, reward=math.nan), theirs),
        lambda ours, theirs: (changed(ours, 0.1, ndcg10=math.inf), theirs),
        lambda ours, theirs: (ours, changed(theirs, 0.1, recall100=None)),
        lambda ours, theirs: (replace(ours, rows=ours.rows[1:]), theirs),
        lambda ours, theirs: (replace(ours, rows=ours.rows + ours.rows[:1]), theirs),
        lambda ours, theirs: (replace(ours, rows=ours.rows[:20]), replace(theirs, rows=theirs.rows[:20])),
        lambda ours, theirs: (replace(ours, rows=()), replace(theirs, rows=())),
        lambda ours, theirs: (replace(ours, reward_revision="reward-2"), theirs),
        lambda ours, theirs: (replace(ours, relevance_model="other@1"), theirs),
        lambda ours, theirs: (changed(ours, reward=None), theirs),
        lambda ours, theirs: (changed(ours, ndcg10=None), changed(theirs, ndcg10=None)),
        lambda ours, theirs: (changed(ours, length_ratio=None), theirs),
        lambda ours, theirs: (changed(ours, length_ratio=math.nan), theirs),
    ],
)
def test_missing_or_unfit_evidence_never_passes(spoil) -> None:
    report = judge(*spoil(*both_sides()), FAST)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert len(report.summary()) <= MAX_SUMMARY
    wire.dumps(report)  # refuses NaN


CYCLE = Judged(cycle=7, reward_revision=REWARD, relevance_model=RELEVANCE)


def both(**changes) -> tuple[EvidenceRows, EvidenceRows]:
    """Two sides that agree with each other about the change."""
    candidate, incumbent = both_sides()
    return replace(candidate, **changes), replace(incumbent, **changes)


FOREIGN = [
    pytest.param(
        both(relevance_model="other@1"), CYCLE, f"relevance model other@1, the cycle's is {RELEVANCE}", id="swap"
    ),
    pytest.param(both(relevance_model=f"{RELEVANCE}+b@2"), CYCLE, f"{RELEVANCE}+b@2", id="swap-between-shards-of-both"),
    pytest.param(both(relevance_model=""), CYCLE, "rewards name no relevance model", id="no-name"),
    pytest.param(both(reward_revision="2" * 64), CYCLE, "reward revision 222222222222, the cycle's is", id="revision"),
    pytest.param(both(), replace(CYCLE, relevance_model=""), "the cycle recorded no relevance model", id="unrecorded"),
    pytest.param(
        both(relevance_model=""),
        replace(CYCLE, relevance_model=""),
        "recorded no relevance model",
        id="neither-has-one",
    ),
]


@pytest.mark.parametrize(("sides", "cycle", "words"), FOREIGN)
def test_sides_that_agree_with_each_other_and_not_with_the_cycle_are_never_judged(sides, cycle, words: str) -> None:
    report = judge(*sides, FAST, cycle)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert words in report.finding(CheckName.EVIDENCE_IS_COMPLETE).message
    assert "new cycle" in report.finding(CheckName.EVIDENCE_IS_COMPLETE).message
    assert report.finding(CheckName.REWARD_GAIN).verdict is Verdict.INCONCLUSIVE
    assert not may_be_approved(report)


def test_rows_of_another_reward_within_the_cycles_shards_are_never_judged() -> None:
    candidate, incumbent = both_sides()
    named = changed(candidate, reward_revision=REWARD)
    assert judge(named, incumbent, FAST, CYCLE).verdict is Verdict.PASS
    report = judge(changed(named, 3 / 80, reward_revision="2" * 64), incumbent, FAST, CYCLE)
    assert "candidate: 3 rows are of another reward revision" in report.finding(CheckName.EVIDENCE_IS_COMPLETE).message
    assert report.verdict is Verdict.INCONCLUSIVE


def test_the_cycles_own_evidence_is_judged_and_the_report_says_whose_it_is() -> None:
    report = judge(*both_sides(), FAST, CYCLE)
    assert report.verdict is Verdict.PASS
    assert (report.schema, report.judged) == (REPORT_SCHEMA, CYCLE)
    assert replace(report, judged=None) == judge(*both_sides(), FAST)


def test_a_side_that_needed_no_score_names_no_model_and_is_the_cycles_all_the_same() -> None:
    candidate, incumbent = both_sides()
    assert judge(candidate, passthrough(incumbent), FAST, CYCLE).verdict is Verdict.PASS
    copies = replace(changed(candidate, copy=True, reward=0.0), relevance_model="")
    report = judge(copies, incumbent, FAST, CYCLE)
    assert report.finding(CheckName.EVIDENCE_IS_COMPLETE).verdict is Verdict.PASS
    assert report.verdict is Verdict.FAIL


def test_few_missing_values_are_shown_and_do_not_block() -> None:
    candidate, incumbent = both_sides()
    report = judge(changed(candidate, 2 / 80, reward=None), incumbent, FAST)
    assert report.verdict is Verdict.PASS
    assert report.finding(CheckName.EVIDENCE_IS_COMPLETE).candidate == 2 / 80
    assert report.finding(CheckName.REWARD_GAIN).n == 78


@pytest.mark.parametrize("hack", PLANTED_HACKS, ids=lambda hack: hack.name)
@pytest.mark.parametrize("against", ["revision", "passthrough"])
@pytest.mark.parametrize("queries", [40, 80])
def test_hacks_are_refused_by_the_whole_gate(hack, against: str, queries: int) -> None:
    candidate, incumbent = both_sides(World(queries=queries))
    other = passthrough(incumbent) if against == "passthrough" else incumbent
    hacked = planted_rows(hack, gather(candidate, other, FAST))
    assert judge(hacked, other, FAST).verdict is Verdict.FAIL


def test_every_hack_of_the_list_is_tried_and_refused_by_the_default_settings() -> None:
    tests = {test.name: test for test in judge(*both_sides(), FAST).self_tests}
    seven = {"copier", "stuffer", "constant", "doubled", "shuffled", "generic-popular", "homoglyph"}
    assert seven | {"a/a", "mute", "flatterer", "stranger"} == tests.keys()
    assert all(test.passed and test.tested for test in tests.values())
    assert "bestseller" in tests["generic-popular"].message


def test_hack_that_the_users_settings_leave_unguarded_is_named_in_the_verdicts_reason() -> None:
    off = replace(FAST, checks={CheckName.ADDED_WORD: CheckSettings(disabled=True)})
    report = judge(*both_sides(), off)
    assert {test.name for test in report.self_tests if not test.tested} == {"generic-popular"}
    assert report.verdict is Verdict.PASS
    assert "; self-test without generic-popular; log R" in report.reason


def ending(side: EvidenceRows, *endings: str) -> EvidenceRows:
    """The side with its rewrites ending in turn by each of the endings."""
    rows = [
        replace(row, rewrites=tuple(f"{text} {endings[index % len(endings)]}".strip() for text in row.rewrites))
        for index, row in enumerate(side.rows)
    ]
    return replace(side, rows=tuple(rows))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (("",), ("",), Verdict.PASS),
        (("bestseller",), ("",), Verdict.FAIL),
        (("bestseller", "", ""), ("",), Verdict.PASS),  # a third of the queries
        (("this product",), ("order today",), Verdict.PASS),  # one habit for another
        (("this product",), ("order today", "this product"), Verdict.PASS),
        (("order today bestseller",), ("order today",), Verdict.FAIL),  # one habit more
        (("order today free delivery",), ("order today",), Verdict.FAIL),
        (("",), ("order today",), Verdict.PASS),
        (("popular", "popular", "popular", "", ""), ("",), Verdict.INCONCLUSIVE),  # three of five
    ],
)
def test_release_may_exchange_a_habit_and_not_get_one_more(ours, theirs, expected: Verdict) -> None:
    candidate, incumbent = both_sides()
    found = judge(ending(candidate, *ours), ending(incumbent, *theirs), FAST)
    assert found.finding(CheckName.ADDED_WORD).verdict is expected
    assert all(test.passed for test in found.self_tests)


@pytest.mark.parametrize("hack", PLANTED_HACKS, ids=lambda hack: hack.name)
def test_queries_without_spaces_get_the_same_protection(hack) -> None:
    candidate, incumbent = both_sides()
    letters = [chr(0x4E00 + index) for index in range(400)]

    def chinese(side: EvidenceRows, own: int) -> EvidenceRows:
        rows = []
        for index, row in enumerate(side.rows):
            query = "".join(letters[(index * 7 + step * 31) % 400] for step in range(4))
            rows.append(replace(row, query=query, rewrites=(query[1:] + letters[(index * 11 + own) % 400],)))
        return replace(side, rows=tuple(rows))

    ours, theirs = chinese(candidate, 1), chinese(incumbent, 2)
    assert judge(ours, theirs, FAST).verdict is Verdict.PASS
    hacked = planted_rows(hack, gather(ours, theirs, FAST))
    assert judge(hacked, theirs, FAST).verdict is Verdict.FAIL


def test_first_candidate_has_no_habit_to_inherit() -> None:
    candidate, incumbent = both_sides()
    report = judge(ending(candidate, "this product"), passthrough(incumbent), FAST)
    assert report.finding(CheckName.ADDED_WORD).verdict is Verdict.FAIL


def test_gate_that_was_loosened_until_a_hack_passes_says_so() -> None:
    loose = replace(FAST, checks={CheckName.COPY_RATE: CheckSettings(max=1.0, margin=1.0)})
    report = judge(*both_sides(), loose)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "self-test copier failed" in report.reason


def test_gate_whose_gold_is_always_zero_says_so() -> None:
    blind = [changed(side, ndcg10=0.0, recall100=0.0) for side in both_sides()]
    report = judge(*blind, FAST)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "self-test flatterer failed" in report.reason


def test_disabled_check_is_still_measured_and_does_not_decide() -> None:
    candidate, incumbent = both_sides()
    copying = changed(candidate, copy=True)
    off = replace(FAST, checks={CheckName.COPY_RATE: CheckSettings(disabled=True)})
    report = judge(copying, incumbent, off)
    finding = report.finding(CheckName.COPY_RATE)
    assert (report.verdict, finding.role, finding.verdict) == (Verdict.PASS, Role.DIAGNOSTIC, Verdict.FAIL)
    copier = next(test for test in report.self_tests if test.name == "copier")
    assert copier.passed and not copier.tested and "not tested" in copier.message


def test_completeness_of_evidence_cannot_be_disabled() -> None:
    candidate, incumbent = both_sides()
    off = replace(FAST, checks={CheckName.EVIDENCE_IS_COMPLETE: CheckSettings(disabled=True)})
    assert judge(replace(candidate, rows=candidate.rows[5:]), incumbent, off).verdict is Verdict.INCONCLUSIVE


def test_limits_are_settable_one_by_one() -> None:
    sides = both_sides(World(gold_gain=-0.03, gold_spread=0.02))
    assert verdict_of(CheckName.GOLD_NDCG, *sides) is Verdict.PASS
    strict = replace(FAST, checks={"GoldNdcg": CheckSettings(margin=0.005)})
    report = judge(*sides, strict)
    assert report.finding(CheckName.GOLD_NDCG).verdict is Verdict.FAIL
    assert report.finding(CheckName.GOLD_NDCG).threshold == -0.005
    assert report.finding(CheckName.GOLD_RECALL).threshold == -DEFAULTS[CheckName.GOLD_RECALL].margin


def test_refusal_shows_its_numbers() -> None:
    report = judge(*both_sides(World(reward_gain=0.0, gold_gain=-0.25)), FAST)
    finding = report.finding(CheckName.GOLD_NDCG)
    assert f"{finding.candidate:.3f} < {finding.incumbent:.3f} - 0.050" in finding.message
    assert report.summary().startswith("Fail: GoldNdcg: nDCG@10 0.")


def test_equal_models_are_seldom_called_worse_and_seldom_promoted() -> None:
    """A/A: 200 gates of 79 queries where the candidate is another draw of the incumbent."""
    verdicts = []
    for seed in range(200):
        world = World(queries=79, reward_gain=0.0, gold_spread=0.2, seed=seed)
        evidence = gather(*both_sides(world), GateSettings(resamples=60, seed=seed))
        deciding = [check.find(evidence).verdict for check in CHECKS if check.role is not Role.DIAGNOSTIC]
        verdicts.append(worst_of(deciding))
    assert verdicts.count(Verdict.FAIL) / 200 <= 0.12  # reward at 5 %, gold, slices and their overlap
    assert verdicts.count(Verdict.PASS) / 200 <= 0.08


def test_a_model_against_itself_is_never_called_worse() -> None:
    _, incumbent = both_sides()
    assert judge(incumbent, incumbent, FAST).verdict is Verdict.INCONCLUSIVE


def test_hundreds_of_queries_take_seconds() -> None:
    sides = both_sides(World(queries=500))
    start = time.process_time()
    report = judge(*sides, GateSettings())
    assert report.verdict is Verdict.PASS
    assert time.process_time() - start < 8  # about 1 s on an idle core


def test_shards_of_one_side_are_joined_in_order() -> None:
    candidate, _ = both_sides()
    first, second = replace(candidate, rows=candidate.rows[:30]), replace(candidate, rows=candidate.rows[30:])
    joined = merge([first, second])
    assert joined.rows == candidate.rows
    assert joined.relevance_model == RELEVANCE
    assert merge([candidate]) == candidate
    assert "+" in merge([first, replace(second, relevance_model="other@1")]).relevance_model
    with pytest.raises(ValueError, match="no shard"):
        merge([])


def test_gate_imports_nothing_but_the_standard_library_and_the_contract() -> None:
    core = Path(rewriter_operator.core.__file__).parent
    allowed = {
        "math",
        "bisect",
        "random",
        "re",
        "statistics",
        "collections",
        "itertools",
        "dataclasses",
        "functools",
        "types",
        "typing",
        "unicodedata",
    }
    for file in [*core.glob("gate*.py"), core / "statistics.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed | {"rewriter_contract", "rewriter_operator"}
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed
