"""Pages that claim something name the test that shows it; this holds them to tests that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if REFERENCE.search(page.read_text()))


def names_in(module: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, functions)}


def test_the_comparison_is_among_the_pages() -> None:
    assert ROOT / "docs" / "compared.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = REFERENCE.findall(page.read_text())
    absent = [f"{module}::{test}" for module, test in named if test not in names_in(ROOT / module)]
    assert not absent


def test_no_row_of_the_comparison_says_yes_without_a_test() -> None:
    rows = [
        line.split("|") for line in (ROOT / "docs" / "compared.md").read_text().splitlines() if line.count("|") == 8
    ]
    claimed = [row for row in rows[2:] if row[6].strip()[:1] in ("Y", "P")]
    assert len(claimed) >= 20
    assert [row[1].strip() for row in claimed if not REFERENCE.search(row[7])] == []
