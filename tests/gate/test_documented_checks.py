"""docs/gate.md has a section for every check, and its role and defaults are those of the code."""

import math
import re
from pathlib import Path
from typing import Final

import pytest

from rewriter_contract.reports import CheckName
from rewriter_operator.api.release import CHECKS_THAT_READ, DECIDING, LENGTH_RATIO
from rewriter_operator.core.gate_checks import CHECKS, DEFAULTS, Check
from rewriter_operator.core.gate_measured import Limits

PAGE: Final = Path(__file__).parents[2] / "docs" / "gate.md"
SECTION: Final = re.compile(
    r"^### (\w+)\n- \*\*Role\*\*: (\w+)\. \*\*Default\*\*: (.+)\.\n- \*\*Formula\*\*: .+\n- \*\*Source\*\*: .+\n"
    r"- \*\*Example\*\*: `.+`$",
    re.MULTILINE,
)
SECTIONS: Final = {found[1]: found for found in SECTION.finditer(PAGE.read_text())}


def set_numbers(check: Check) -> dict[str, float]:
    """The check's limits that are not what they are without any limit."""
    plain = vars(Limits())
    return {name: value for name, value in vars(check.limits).items() if value != plain[name] and math.isfinite(value)}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_section_says_the_role_and_defaults_of_the_code(check: Check) -> None:
    section = SECTIONS[check.name]
    assert section[2] == check.role
    said = {name: float(value) for name, value in (entry.split(" ") for entry in section[3].split(", "))}
    assert said == set_numbers(check)


def test_page_explains_no_check_that_does_not_exist() -> None:
    assert SECTIONS.keys() == {check.name for check in CHECKS}


def test_release_takes_exactly_the_numbers_that_checks_have() -> None:
    for check in CHECKS:
        readable = {number for number, readers in CHECKS_THAT_READ.items() if check.name in readers}
        assert set_numbers(check).keys() - {"min"} <= readable, check.name


def test_release_knows_the_bounds_that_a_bound_set_alone_meets() -> None:
    limits = DEFAULTS[CheckName.LENGTH_RATIO]
    assert (limits.min, limits.max) == LENGTH_RATIO
    both = {check.name for check in CHECKS if {"min", "max"} <= set_numbers(check).keys()}
    assert both == {CheckName.LENGTH_RATIO}, "another check with two bounds needs the same rule"


def test_release_knows_which_checks_decide() -> None:
    deciding = {check.name for check in CHECKS if check.role != "Diagnostic"}
    assert deciding == {*DECIDING, "EvidenceIsComplete"}
