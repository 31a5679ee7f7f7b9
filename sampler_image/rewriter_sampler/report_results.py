"""What the real search found, as a short list of the gate's page: beside each side's rewrites, and of the query alone.

Pure. Ids and texts are the search's and the corpus', so everything is escaped.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Final

LEGEND: Final = (
    "Below the query, where it was asked alone, and below each side's rewrites: the first documents of the real search "
    "and the ranking's nDCG@10. \u2713: the document has a positive label."
)


def results(
    ranking: Sequence[str] | None, ndcg10: float | None, labels: Mapping[str, float], snippets: Mapping[str, str]
) -> str:
    """The list with its nDCG@10; nothing where there is no ranking, or the evidence is from before rankings were kept.

    A document that has no snippet is shown by its id.
    """
    if ranking is None:
        return ""
    gold = "no label" if ndcg10 is None else f"nDCG@10 {ndcg10:.3f}"
    if not ranking:
        return f'<div class="message">{gold}; nothing was found</div>'
    items = "".join(_item(document, labels, snippets) for document in ranking)
    return f'<div class="message">{gold}</div><ol class="results">{items}</ol>'


def _item(document: str, labels: Mapping[str, float], snippets: Mapping[str, str]) -> str:
    named = html.escape(document, quote=True)
    shown = html.escape(snippets.get(document) or document, quote=True)
    grade = labels.get(document, 0.0)
    if grade <= 0:
        return f'<li title="{named}">{shown}</li>'
    return f'<li class="liked" title="{named}: grade {grade:g}">\u2713 {shown}</li>'
