"""Draws the state diagram of docs/architecture.md from the table: `python -m e2e.draw_states` (`make docs`)."""

import re

from e2e.cluster.paths import REPOSITORY
from rewriter_operator.core.states import mermaid

PAGE = REPOSITORY / "docs" / "architecture.md"


def drawn(text: str) -> str:
    """The page with the diagram that the table gives."""
    block = f"```mermaid\n{mermaid()}```"
    return re.sub(r"```mermaid\n.*?```", lambda _: block, text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
