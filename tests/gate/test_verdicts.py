"""One table for the checks that are usually diagnostics: when each passes, fails, cannot tell, and has no data."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import CheckName, CheckSettings, GateSettings, Verdict
from rewriter_operator.core.gate_checks import CHECKS
from rewriter_operator.core.gate_evidence import gather

from .evidence_builder import both_sides, passthrough

FAST = GateSettings(resamples=200)
PASS, FAIL, OPEN, NONE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE

Change = Callable[[int, EvidenceRow], EvidenceRow]
Sides = tuple[EvidenceRows, EvidenceRows]


def sides(ours: Change | None = None, theirs: Change | None = None) -> Sides:
    """80 queries; without a change both sides are the same."""
    _, incumbent = both_sides()
    made = []
    for change in (ours, theirs):
        rows = [change(index, row) if change else row for index, row in enumerate(incumbent.rows)]
        made.append(replace(incumbent, rows=tuple(rows)))
    return made[0], made[1]


def having(**columns: Callable[[int], object]) -> Change:
    """Rows with these columns as functions of their number."""

    def change(index: int, row: EvidenceRow) -> EvidenceRow:
        return replace(row, **{name: value(index) for name, value in columns.items()})  # type: ignore[arg-type]

    return change


def reward(difference: Callable[[int], float | None], gold: Callable[[int], float | None] = lambda _: 0.5) -> Sides:
    """Log R of the candidate is the difference, of the incumbent 0; gold of the candidate is given, 0.5 before."""
    before = having(reward=lambda _: 0.0, ndcg10=lambda _: 0.5, slice=lambda index: "even" if index % 2 else "odd")
    now = having(reward=difference, ndcg10=gold, slice=lambda index: "even" if index % 2 else "odd")
    return sides(now, before)


def few(pair: Sides, count: int = 20) -> Sides:
    """Fewer queries than minimumQueries."""
    return replace(pair[0], rows=pair[0].rows[:count]), replace(pair[1], rows=pair[1].rows[:count])


def against_passthrough(pair: Sides) -> Sides:
    return pair[0], passthrough(pair[1])


def targets(lost: int, kept: int) -> Sides:
    """The first `lost` + `kept` queries had their target first before; the others gain it, and do not count."""
    return sides(
        having(target_first=lambda index: index >= lost), having(target_first=lambda index: index < lost + kept)
    )


def texts(ours: Callable[[int], str], theirs: Callable[[int], str] = lambda index: f"own{index} words{index}") -> Sides:
    """One rewrite for each query, as a function of its number."""
    return sides(having(rewrites=lambda index: (ours(index),)), having(rewrites=lambda index: (theirs(index),)))


def copies(ours: int, theirs: int) -> Sides:
    """The first so many are copies."""
    return sides(having(copy=lambda index: index < ours), having(copy=lambda index: index < theirs))


def wave(index: int) -> float:
    return 0.1 * math.sin(index)


ANSWERS = [
    # 6.18 * (sd / 0.06)^2: an sd of 0.05 needs 5 queries, one of 0.4 needs 275
    (CheckName.QUERIES_SUFFICE, "small spread", reward(lambda i: 0.05 * (-1) ** i), PASS, "these 80 show 0.014"),
    (CheckName.QUERIES_SUFFICE, "wide spread", reward(lambda i: 0.4 * (-1) ** i), OPEN, "279 queries show a gain"),
    (CheckName.QUERIES_SUFFICE, "no rewards", reward(lambda _: None), OPEN, "too few comparable rewards"),
    (CheckName.TARGET_KEPT, "one of forty lost", targets(1, 39), PASS, "1 of 40, 2.5% <= 5.0%"),
    (CheckName.TARGET_KEPT, "ten of forty lost", targets(10, 30), FAIL, "10 of 40, 25.0% > 5.0%"),
    (CheckName.TARGET_KEPT, "three of forty lost", targets(3, 37), OPEN, "3 of 40, 7.5% > 5.0%"),
    (CheckName.TARGET_KEPT, "none was first", targets(0, 0), NONE, "nothing to judge"),
    (CheckName.TARGET_KEPT, "not recorded", sides(having(target_first=lambda _: None)), NONE, "nothing to judge"),
    (CheckName.TARGET_KEPT, "few queries", few(targets(1, 19)), OPEN, "too few queries"),
    (CheckName.TOP_REWARD_GOLD, "gold kept", reward(lambda i: i / 100), PASS, "of the 16 queries"),
    (
        CheckName.TOP_REWARD_GOLD,
        "gold gone where praised",
        reward(lambda i: i / 100, lambda i: 0.2 if i >= 64 else 0.5),
        FAIL,
        "rose most -0.300 against -0.030",
    ),
    (
        CheckName.TOP_REWARD_GOLD,
        "gold gone where nobody looks",
        reward(lambda i: i / 100, lambda i: 0.2 if i < 64 else 0.5),
        PASS,
        "+0.000",
    ),
    (
        CheckName.TOP_REWARD_GOLD,
        "perhaps",
        reward(lambda i: i / 100, lambda i: 0.0 if i % 2 else 0.9),
        OPEN,
        "rose most -0.050",
    ),
    (CheckName.TOP_REWARD_GOLD, "few queries", few(reward(wave)), OPEN, "under 10 comparable queries"),
    (CheckName.SLICE_REWARDS, "no loss", reward(wave), PASS, "worst of 2 slices"),
    (CheckName.SLICE_REWARDS, "half of it loses", reward(lambda i: -0.3 if i % 2 else 0.3), FAIL, "even (40 queries)"),
    (CheckName.SLICE_REWARDS, "no slices", sides(having(slice=lambda _: "")), NONE, "nothing to judge"),
    (
        CheckName.SLICE_REWARDS,
        "other reward",
        (replace(sides()[0], reward_revision="reward-2"), sides()[1]),
        OPEN,
        "not comparable",
    ),
    (CheckName.UNIQUE_REWRITES, "each its own", texts(lambda i: f"rewrite {i}"), PASS, "1.00 >= 0.90"),
    (CheckName.UNIQUE_REWRITES, "three in turn", texts(lambda i: f"rewrite {i % 3}"), FAIL, "0.04 < 0.90"),
    (
        CheckName.UNIQUE_REWRITES,
        "half, no worse than before",
        texts(lambda i: f"rewrite {i // 2}", lambda i: f"before {i // 2}"),
        PASS,
        "0.50 >= 0.40",
    ),
    (
        CheckName.UNIQUE_REWRITES,
        "half, first release",
        against_passthrough(texts(lambda i: f"rewrite {i // 2}")),
        PASS,
        "0.50 >= 0.20",
    ),
    (CheckName.UNIQUE_REWRITES, "no rewrites", sides(having(rewrites=lambda _: ())), OPEN, "too few rewrites"),
    (CheckName.VOCABULARY, "as before", texts(lambda i: f"all{i} new{i}"), PASS, "1.00 >= 0.90"),
    (CheckName.VOCABULARY, "four words", texts(lambda i: f"w{i % 2} v{i % 2}"), FAIL, "0.03 < 0.90"),
    (CheckName.VOCABULARY, "no rewrites", sides(having(rewrites=lambda _: ())), OPEN, "too few rewrites"),
    (CheckName.COPIES_LOST, "as many copies", copies(40, 40), PASS, "50.0% of the incumbent"),
    (CheckName.COPIES_LOST, "a few less", copies(30, 40), PASS, "62.5% <= 100.0%"),
    (CheckName.COPIES_LOST, "all of them rewritten", copies(0, 40), FAIL, "+50.0% > +20.0%, McNemar p=0.000"),
    (CheckName.COPIES_LOST, "nothing said", sides(having(rewrites=lambda _: ())), NONE, "nothing to judge"),
    (CheckName.COPIES_LOST, "few queries", few(copies(0, 10)), OPEN, "too few queries"),
    (CheckName.WINS_AND_LOSSES, "as many", reward(lambda i: 0.1 * (-1) ** i), PASS, "40 won, 0 tied, 40 lost"),
    (
        CheckName.WINS_AND_LOSSES,
        "many small harms",
        reward(lambda i: 2.0 if i < 20 else -0.03),
        FAIL,
        "20 won, 0 tied, 60 lost",
    ),
    (CheckName.WINS_AND_LOSSES, "ties", reward(lambda _: -0.02), PASS, "0 won, 80 tied, 0 lost"),
    (CheckName.WINS_AND_LOSSES, "no rewards", reward(lambda _: None), OPEN, "too few comparable rewards"),
    (CheckName.REWARD_AGREES_WITH_GOLD, "together", reward(wave, lambda i: 0.5 + wave(i)), PASS, "+1.00"),
    (CheckName.REWARD_AGREES_WITH_GOLD, "against each other", reward(wave, lambda i: 0.5 - wave(i)), FAIL, "-1.00"),
    (
        CheckName.REWARD_AGREES_WITH_GOLD,
        "a little against",
        reward(wave, lambda i: 0.5 - 0.1 * wave(i) + 0.6 * wave(7 * i + 1)),
        OPEN,
        "-0.1",
    ),
    (CheckName.REWARD_AGREES_WITH_GOLD, "gold that does not move", reward(wave), OPEN, "does not vary"),
    (CheckName.CHANGED_REWRITES, "half", texts(lambda i: f"own{i} words{i}" if i % 2 else f"w{i}"), PASS, "50.0%"),
    (CheckName.CHANGED_REWRITES, "all", texts(lambda i: f"new {i}"), FAIL, "80 of 80, 100.0% > 90.0%"),
    (
        CheckName.CHANGED_REWRITES,
        "nearly all",
        texts(lambda i: f"new {i}" if i > 5 else f"own{i} words{i}"),
        OPEN,
        "> 90.0%",
    ),
    (
        CheckName.CHANGED_REWRITES,
        "first release",
        against_passthrough(texts(lambda i: f"new {i}")),
        OPEN,
        "an incumbent without rewrites",
    ),
]


@pytest.mark.parametrize(
    ("name", "case", "pair", "expected", "said"), ANSWERS, ids=[f"{name}: {case}" for name, case, *_ in ANSWERS]
)
def test_verdict_of_a_check(name: CheckName, case: str, pair: Sides, expected: Verdict, said: str) -> None:
    finding = next(check for check in CHECKS if check.name is name).find(gather(*pair, FAST))
    assert (finding.verdict, said in finding.message) == (expected, True), finding.message


@pytest.mark.parametrize(
    ("name", "pair"),
    [(name, pair) for name, _, pair, expected, _ in ANSWERS if expected is NONE],
    ids=[f"{name}: {case}" for name, case, _, expected, _ in ANSWERS if expected is NONE],
)
def test_without_data_an_enforced_check_does_not_let_pass(name: CheckName, pair: Sides) -> None:
    enforced = replace(FAST, checks={name: CheckSettings(enforced=True)})
    finding = next(check for check in CHECKS if check.name is name).find(gather(*pair, enforced))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.message.startswith("no data: ")
