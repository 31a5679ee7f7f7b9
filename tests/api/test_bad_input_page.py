"""docs/bad-input.md says where each row is caught; this holds it to the rows and tests that there are."""

import re
from pathlib import Path

from tests.integration.bad_input_rows import REFUSED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bad-input.md").read_text()
ROWS = {int(number): where for number, where in re.findall(r"^\| (\d+) \|[^|]*\| (\w+) \|", PAGE, re.MULTILINE)}
IN_TEXT = {1, 23, 61, 64}
"""Rows of test_what_is_typed_wrongly_is_refused_by_name."""


def test_every_row_of_the_catalogue_is_on_the_page() -> None:
    assert sorted(ROWS) == list(range(1, 65))
    assert set(ROWS.values()) == {"admission", "condition", "elsewhere", "none"}


def test_a_row_that_says_admission_has_a_case() -> None:
    refused = {row.row for row in REFUSED} | IN_TEXT
    assert {number for number, where in ROWS.items() if where == "admission"} <= refused


def test_a_row_that_has_no_case_says_so() -> None:
    assert not {row.row for row in REFUSED} & {
        number for number, where in ROWS.items() if where in ("elsewhere", "none")
    }


def test_every_test_that_the_page_names_is_there() -> None:
    there = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in there] == []
