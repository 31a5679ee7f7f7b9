"""The curves as one HTML page without scripts: one chart for each collection and figure, a line for each way."""

from html import escape
from typing import Any, Final

from e2e.demo.charts import Line, chart
from e2e.demo.report import STYLE

FIGURES: Final = {
    "log_r": "log R of greedy rewrites, held-out queries",
    "ndcg10": "nDCG@10 of the real search (gold)",
    "length_ratio": "words of a rewrite over words of its query",
}


def page(made: dict[str, Any]) -> str:
    """All charts; lines are means over the seeds, a table below has the range."""
    body = "".join(_collection(name, found["ways"]) for name, found in made["collections"].items())
    head = f'<meta charset="utf-8"><title>Learning curves</title><style>{STYLE}</style>'
    title = f"<h1>Learning curves</h1><p>{escape(made['setting'])}</p>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{title}{body}</body></html>\n'


def _collection(name: str, ways: dict[str, list[dict[str, float]]]) -> str:
    charts = "".join(
        chart([Line(way, [(p["step"], p[field]) for p in points]) for way, points in ways.items()], "step", label)
        for field, label in FIGURES.items()
    )
    rows = "".join(
        f"<tr><td>{escape(way)}</td><td>{p['step']:g}</td><td>{p['syncs']:g}</td>"
        f"{_range(p, 'log_r')}{_range(p, 'ndcg10')}<td>{p['copies']:.0%}</td></tr>"
        for way, points in ways.items()
        for p in points
    )
    head = "<tr><th>way</th><th>step</th><th>syncs</th><th>log R</th><th>nDCG@10</th><th>copies</th></tr>"
    return f"<h2>{escape(name)}</h2>{charts}<table>{head}{rows}</table>"


def _range(point: dict[str, float], field: str) -> str:
    return f"<td>{point[field]:+.3f} ({point[f'{field}_least']:+.3f} to {point[f'{field}_greatest']:+.3f})</td>"
