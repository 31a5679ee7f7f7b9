"""What a query insists on: numbers, units, negations, names, scripts; each kept or lost in a rewrite."""

from dataclasses import replace
from typing import Final

import pytest

from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import CheckName, CheckSettings, Finding, GateSettings, Role, Verdict
from rewriter_contract.text_checks import is_negative, main_script, mixes_scripts
from rewriter_operator.core.gate_checks import CHECKS
from rewriter_operator.core.gate_evidence import gather
from rewriter_operator.core.gate_variety import added_words

from .evidence_builder import both_sides, passthrough

FAST = GateSettings(resamples=100)


def find(name: CheckName, query: str, *, ours: str, theirs: str, settings: GateSettings = FAST) -> Finding:
    """The check's finding when every query is `query`."""
    candidate, incumbent = both_sides()
    sides = [
        replace(side, rows=tuple(replace(row, query=query, rewrites=(text,)) for row in side.rows))
        for side, text in ((candidate, ours), (incumbent, theirs))
    ]
    check = next(check for check in CHECKS if check.name is name)
    return check.find(gather(sides[0], sides[1], settings))


@pytest.mark.parametrize(
    ("name", "query", "keeps", "loses"),
    [
        (CheckName.NUMBERS_KEPT, "powerbank 20000", "power bank 20000", "powerbank 200"),
        (CheckName.UNITS_KEPT, "dumbbells 5kg", "dumbbell set 5 kg", "dumbbells 5"),
        (CheckName.UNITS_KEPT, "bottle 500 ml", "500ml bottle", "bottle 500 l"),
        (CheckName.NEGATIONS_KEPT, "jacket without down", "jacket no down", "jacket down"),
        (CheckName.NEGATIONS_KEPT, "tea that doesn't keep me awake", "caffeine-free tea", "tea awake"),
        (CheckName.NAMES_KEPT, "sony wh1000xm4 pads", "wh1000xm4 ear pads", "sony ear pads"),
        (CheckName.NAMES_KEPT, "boots by Brimhold", "brimhold boots", "winter boots"),
        (
            CheckName.SCRIPT_KEPT,
            "\u0447\u0430\u0439",
            "\u0437\u0435\u043b\u0435\u043d\u044b\u0439 \u0447\u0430\u0439",
            "tea",
        ),
        (CheckName.LOOK_ALIKE_LETTERS, "paypal card", "paypal card", "p\u0430yp\u0430l card"),
        (CheckName.UNRELATED_REWRITES, "running shoes", "shoes for runners", "garden hose"),
        (CheckName.ADDED_WORD, "red shoes", "red shoes", "red shoes bestseller"),
    ],
)
def test_what_the_query_insists_on_is_kept_or_lost(name: CheckName, query: str, keeps: str, loses: str) -> None:
    assert find(name, query, ours=keeps, theirs=keeps).verdict is Verdict.PASS
    assert find(name, query, ours=loses, theirs=keeps).verdict is Verdict.FAIL


def test_the_target_of_a_query_is_a_name_in_lower_case() -> None:
    candidate, incumbent = both_sides()

    def saying(side: EvidenceRows, text: str) -> EvidenceRows:
        rows = [replace(row, query="ovelle pan", target="ovelle", rewrites=(text,)) for row in side.rows[:40]]
        return replace(side, rows=(*rows, *side.rows[40:]))

    check = next(check for check in CHECKS if check.name is CheckName.NAMES_KEPT)
    keeps = check.find(gather(saying(candidate, "pan of Ovelle"), saying(incumbent, "ovelle pan"), FAST))
    loses = check.find(gather(saying(candidate, "frying pan"), saying(incumbent, "ovelle pan"), FAST))
    assert (keeps.verdict, keeps.candidate, keeps.n) == (Verdict.PASS, 0.0, 40)
    assert (loses.verdict, loses.candidate, loses.incumbent) == (Verdict.FAIL, 1.0, 0.0)


SAY_NOTHING: Final = (CheckName.NUMBERS_KEPT, CheckName.UNITS_KEPT, CheckName.NEGATIONS_KEPT, CheckName.NAMES_KEPT)


@pytest.mark.parametrize("name", SAY_NOTHING)
def test_queries_that_want_nothing_give_nothing_to_judge(name: CheckName) -> None:
    finding = find(name, "red shoes", ours="blue boots", theirs="red shoes")
    assert finding.verdict is Verdict.NOT_APPLICABLE
    assert finding.message.startswith("nothing to judge: rewrites that lose a")


@pytest.mark.parametrize("asked", [CheckSettings(enforced=True), CheckSettings(max=0.1)], ids=["enforced", "named"])
@pytest.mark.parametrize("name", SAY_NOTHING)
def test_check_that_the_user_asked_for_is_never_met_by_queries_that_lack_it(
    name: CheckName, asked: CheckSettings
) -> None:
    settings = replace(FAST, checks={name: asked})
    finding = find(name, "red shoes", ours="red shoes", theirs="red shoes", settings=settings)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.message.startswith("no data: ")
    assert finding.message.endswith(f"into spec.data.gate, or take {name} out of spec.gate.checks")


@pytest.mark.parametrize(
    "name", [CheckName.NUMBERS_KEPT, CheckName.SCRIPT_KEPT, CheckName.ADDED_WORD, CheckName.UNRELATED_REWRITES]
)
def test_evidence_without_its_queries_is_not_concluded_from(name: CheckName) -> None:
    assert find(name, "", ours="red shoes", theirs="red shoes").verdict is Verdict.INCONCLUSIVE


def test_enforced_diagnostic_decides_and_a_plain_one_does_not() -> None:
    enforced = GateSettings(resamples=100, checks={CheckName.NUMBERS_KEPT: CheckSettings(enforced=True)})
    lost = {"ours": "tyre", "theirs": "tyre 26"}
    assert find(CheckName.NUMBERS_KEPT, "tyre 26", **lost).role is Role.DIAGNOSTIC
    assert find(CheckName.NUMBERS_KEPT, "tyre 26", **lost, settings=enforced).role is Role.GUARDRAIL
    both = GateSettings(checks={CheckName.NUMBERS_KEPT: CheckSettings(enforced=True, disabled=True)})
    assert find(CheckName.NUMBERS_KEPT, "tyre 26", **lost, settings=both).role is Role.DIAGNOSTIC


def test_scripts_are_told_by_their_letters() -> None:
    assert [main_script(text) for text in ("tea 500", "\u0447\u0430\u0439", "\u7dd1\u8336", "500")] == [
        "LATIN",
        "CYRILLIC",
        "HAN",
        None,
    ]
    assert not mixes_scripts("caf\u00e9 \u0447\u0430\u0439"), "two words, each of one script"
    assert mixes_scripts("\u0441afe")


def test_wireless_is_negative_and_a_knot_is_not() -> None:
    assert is_negative("wireless mouse") and is_negative("sugar free gum")
    assert not is_negative("knot board")


def test_added_words_are_those_that_the_query_lacks() -> None:
    row = EvidenceRow("q", "", ("best red shoes",), 0.0, 0.5, 0.5, 1.5, False, 0.0, True, query="red shoes")
    assert added_words(row) == {"best"}


def test_first_candidate_is_only_held_to_absolute_limits() -> None:
    candidate, incumbent = both_sides()
    evidence = gather(candidate, passthrough(incumbent), FAST)
    found = {check.name: check.find(evidence) for check in CHECKS}
    assert found[CheckName.LOOK_ALIKE_LETTERS].verdict is Verdict.PASS
    assert found[CheckName.CHANGED_REWRITES].verdict is Verdict.INCONCLUSIVE
