"""Where words go: colours and live pictures on a terminal, plain lines in a pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from rewriter_operator.cli.tree import Branch, lines

GAP: Final = 3


def show_json(document: Any) -> None:
    """One document for scripts."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def show_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as kubectl prints them; the last one is as wide as it is."""
    table = [tuple(heading), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) + GAP for column in range(len(heading) - 1)]
    for row in table:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1])


def show_tree(branch: Branch) -> None:
    """The tree once."""
    if sys.stdout.isatty():
        Console().print(_rich(branch))
    else:
        print("\n".join(lines(branch)))


def show_live(branches: Iterable[Branch]) -> None:
    """A tree that changes in place; in a pipe, its first line whenever that is another one."""
    if sys.stdout.isatty():
        with Live(auto_refresh=False) as live:
            for branch in branches:
                live.update(_rich(branch), refresh=True)
        return
    before = ""
    for branch in branches:
        if branch.text != before:
            before = branch.text
            print(before, flush=True)


def _rich(branch: Branch, onto: Tree | None = None) -> Tree:
    label = Text(branch.text, style=branch.tone)
    here = Tree(label) if onto is None else onto.add(label)
    for item in branch.below:
        _rich(item, here)
    return here
