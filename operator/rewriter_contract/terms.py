"""The terms of a reward: what can be said of a rewrite beside the log ratio, and what it costs.

`spec.reward.penalties` takes nats off a rewrite that breaks what its query insists on; `spec.reward.expression` may
combine all terms in any other way (expression.py). All come from texts and from the row; none asks a service.
"""

from collections.abc import Mapping
from typing import Final

from rewriter_contract.expression import Kind, Value
from rewriter_contract.messages import STAGES, DataRow
from rewriter_contract.text import repetition, side_by_side, words
from rewriter_contract.text_checks import (
    is_clean,
    is_negative,
    main_script,
    measures,
    mixes_scripts,
    names,
    numbers,
)

LOG_R: Final = "logR"
"""The log ratio of all stages, less the penalties."""
TRUTHS: Final = (
    "numbersKept",
    "unitsKept",
    "negationsKept",
    "namesKept",
    "scriptKept",
    "formatOk",
    "targetKept",
)
"""True where the query asks for nothing of the kind."""
NUMBERS: Final = ("words", "queryWords", "lengthRatio", "repetition")
TERMS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys((LOG_R, *STAGES, *NUMBERS), Kind.NUMBER),
    **dict.fromkeys(TRUTHS, Kind.TRUTH),
}
"""Every name that an expression may use. A stage's name is its part of the log ratio, 0.0 where fusion has none."""


def text_terms(row: DataRow, rewrite: str) -> dict[str, Value]:
    """All terms that are not the log ratio, of a rewrite that says something."""
    query, said, asked = row.query, words(rewrite), words(row.query)
    script = main_script(query)
    return {
        "numbersKept": numbers(query) <= numbers(rewrite),
        "unitsKept": measures(query) <= measures(rewrite),
        "negationsKept": not is_negative(query) or is_negative(rewrite),
        "namesKept": names(query) <= {*said} | names(rewrite),
        "scriptKept": script is None or (main_script(rewrite) == script and not mixes_scripts(rewrite)),
        "formatOk": is_clean(query, rewrite),
        "targetKept": side_by_side(said, words(row.target)),
        "words": float(len(said)),
        "queryWords": float(len(asked)),
        "lengthRatio": len(said) / max(len(asked), 1),
        "repetition": repetition(rewrite),
    }
