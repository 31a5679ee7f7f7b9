"""The gate's report as one HTML page: no script, no external asset, safe to open from any mail or bucket. Pure.

Queries and rewrites come from users and from a model: every text is escaped, and the page's own policy forbids
scripts and requests, so that a rewrite that is markup stays a string.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from rewriter_contract.messages import PASSTHROUGH, EvidenceRow
from rewriter_contract.reports import Finding, GateReport, Judged, Role, SelfTest, SliceReport, Spread, Verdict
from rewriter_sampler.report_plots import Point, interval, scatter, span, steps_plot, waterfall
from rewriter_sampler.report_results import LEGEND, results
from rewriter_sampler.report_style import STYLE

SHOWN: Final = 8
"""Rows of each table of examples."""
COLUMNS: Final = (
    ("Check", "text"),
    ("Verdict", "text"),
    ("Candidate", "number"),
    ("Incumbent", "number"),
    ("Difference", "number"),
    ("Bounds", "text"),
    ("Limit", "number"),
    ("Queries", "number"),
)
SLICE_COLUMNS: Final = (
    ("Slice", "text"),
    ("Queries", "number"),
    ("log R", "number"),
    ("Bounds", "text"),
    ("nDCG@10", "number"),
    ("Bounds", "text"),
)
TRAINED: Final = (
    ("loss", "loss"),
    ("margin", "margin of the implicit rewards"),
    ("accuracy", "share of pairs in the right order"),
    ("reward_chosen", "implicit reward of the chosen"),
)
"""Of metrics.jsonl."""
EXAMPLE_COLUMNS: Final = (
    ("Query", "text"),
    ("Incumbent", "text"),
    ("Candidate", "text"),
    ("log R", "number"),
    ("nDCG@10", "number"),
)


@dataclass(frozen=True)
class Answered:
    """One query and what both sides made of it."""

    query: str
    candidate: EvidenceRow
    incumbent: EvidenceRow
    labels: Mapping[str, float] = field(default_factory=dict)
    """Document id -> grade; empty where they are not at hand."""

    @property
    def reward(self) -> float | None:
        """Difference of log R."""
        return _minus(self.candidate.reward, self.incumbent.reward)

    @property
    def gold(self) -> float | None:
        """Difference of nDCG@10."""
        return _minus(self.candidate.ndcg10, self.incumbent.ndcg10)


def page(
    cycle: int,
    report: GateReport,
    answered: Sequence[Answered],
    phases: Sequence[Sequence[Mapping[str, float]]] = (),
    snippets: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The whole page. Without `answered` it says that the rows are gone, and shows the rest.

    `phases`: the rows of each phase's metrics.jsonl, in their order. `snippets`: what is said of a document, by id.
    """
    verdict = report.verdict.lower()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Gate of cycle {cycle}: {report.verdict}</title><style>{STYLE}</style></head><body><main>
<section class="card banner {verdict}"><h1>Gate of cycle {cycle}{_chip(report.verdict)}</h1>
<p class="reason">{_text(report.reason)}</p>{_facts(report)}</section>
<h2>Checks</h2>{_checks(report.findings)}
{_slices(report.slices or ())}
{_examples(answered, snippets)}
{_phases(phases)}
<h2>Self-test</h2><p class="soft">The gate on evidence whose answer is known: planted hacks must be refused, and sides
that are exchanged at random must not differ. If one of these fails, the verdict is Inconclusive.</p>
{_self_tests(report.self_tests)}
<h2>Provenance</h2>{_provenance(report)}
</main></body></html>
"""


def _facts(report: GateReport) -> str:
    against = "passthrough (no rewrites)" if report.against_passthrough else "the serving revision"
    bounds = f"{1 - report.settings.alpha:.0%} one-sided, {report.settings.resamples} resamples"
    pairs = (("Queries", str(report.queries)), ("Compared with", against), ("Bounds", bounds))
    return f'<div class="facts">{"".join(f"<span>{name} <b>{_text(value)}</b></span>" for name, value in pairs)}</div>'


def _checks(findings: Sequence[Finding]) -> str:
    return _table(COLUMNS, "".join(_check(finding) for finding in findings))


def _check(finding: Finding) -> str:
    role = f' <span class="soft">{finding.role}</span>'
    decides = finding.role is not Role.DIAGNOSTIC and finding.verdict is not Verdict.NOT_APPLICABLE
    chip = _chip(finding.verdict, muted=not decides)
    numbers = (finding.candidate, finding.incumbent, finding.difference)
    cells = "".join(f'<td class="number">{_number(value)}</td>' for value in numbers)
    return (
        f'<tr><td><b>{finding.name}</b>{role}<div class="message">{_text(finding.message)}</div></td><td>{chip}</td>'
        f'{cells}<td>{interval(finding)}</td><td class="number">{_number(finding.threshold)}</td>'
        f'<td class="number">{finding.n or ""}</td></tr>'
    )


def _slices(slices: Sequence[SliceReport]) -> str:
    if not slices:
        return ""
    rows = "".join(
        f'<tr><td class="text">{_text(found.name)}</td><td class="number">{found.queries}</td>'
        f"{_spread(found.reward)}{_spread(found.ndcg10)}</tr>"
        for found in slices
    )
    return f"<h2>Kinds of queries</h2>{_table(SLICE_COLUMNS, rows)}"


def _spread(found: Spread | None) -> str:
    if found is None:
        return '<td class="number"><span class="soft">-</span></td><td></td>'
    return f"{_moved(found.estimate)}<td>{span(found.low, found.estimate, found.high)}</td>"


def _phases(phases: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """How training went, step by step; phases stand one after the other."""
    steps = [row for rows in phases for row in rows]
    if not steps:
        return ""
    ends = tuple(accumulate(len(rows) for rows in phases))[:-1]
    drawn = "".join(
        f'<div class="card">{steps_plot([row.get(name) for row in steps], ends, label)}</div>'
        for name, label in TRAINED
        if any(name in row for row in steps)
    )
    return f'<h2>Training, step by step</h2><div class="plots">{drawn}</div>'


def shown_documents(answered: Sequence[Answered]) -> set[str]:
    """Ids of the documents that the page's examples show."""
    rows = [row for _, chosen in _rankings(answered) for entry in chosen for row in (entry.candidate, entry.incumbent)]
    return {document for row in rows for document in (*(row.results or ()), *(row.alone_results or ()))}


def _examples(answered: Sequence[Answered], snippets: Mapping[str, str]) -> str:
    if not answered:
        return '<h2>Queries</h2><p class="soft">The evidence that was judged is no longer on the volume.</p>'
    both = [(entry, x, y) for entry in answered if (x := entry.reward) is not None and (y := entry.gold) is not None]
    points = [Point(x, y, f"{entry.query}: log R {x:+.3f}, nDCG@10 {y:+.3f}") for entry, x, y in both]
    rewards = [value for entry in answered if (value := entry.reward) is not None]
    legend = f'<p class="soft">{LEGEND}</p>' if shown_documents(answered) else ""
    return (
        '<h2>Every query</h2><div class="plots">'
        f'<div class="card">{scatter(points, "difference of log R", "difference of nDCG@10")}</div>'
        f'<div class="card">{waterfall(rewards, "difference of log R")}</div></div>{legend}'
        + "".join(_ranked(title, chosen, snippets) for title, chosen in _rankings(answered))
    )


def _rankings(answered: Sequence[Answered]) -> Sequence[tuple[str, Sequence[Answered]]]:
    """The tables of examples: their titles, and their queries."""
    return (
        ("Gold lost most", _moved_most(answered, lambda entry: entry.gold, lost=True)),
        ("Gold gained most", _moved_most(answered, lambda entry: entry.gold, lost=False)),
        ("Reward lost most", _moved_most(answered, lambda entry: entry.reward, lost=True)),
        ("Reward gained most", _moved_most(answered, lambda entry: entry.reward, lost=False)),
    )


def _moved_most(
    answered: Sequence[Answered], key: Callable[[Answered], float | None], lost: bool
) -> Sequence[Answered]:
    """The queries with the largest differences of one sign."""
    moved = [
        (value, entry) for entry in answered if (value := key(entry)) is not None and (value < 0) == lost and value
    ]
    return [entry for _, entry in sorted(moved, key=lambda item: item[0], reverse=not lost)[:SHOWN]]


def _ranked(title: str, chosen: Sequence[Answered], snippets: Mapping[str, str]) -> str:
    if not chosen:
        return f'<h2>{title}</h2><p class="soft">No query.</p>'
    return f"<h2>{title}</h2>{_table(EXAMPLE_COLUMNS, ''.join(_example(entry, snippets) for entry in chosen))}"


def _table(columns: Sequence[tuple[str, str]], rows: str) -> str:
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in columns)
    return f'<div class="card wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _example(entry: Answered, snippets: Mapping[str, str]) -> str:
    def found(ranking: Sequence[str] | None, gold: float | None) -> str:
        return results(ranking, gold, entry.labels, snippets)

    ours, theirs = entry.candidate, entry.incumbent
    return (
        f'<tr><td class="text">{_text(entry.query)}{found(ours.alone_results, ours.alone_ndcg10)}</td>'
        f'<td class="text">{_rewrites(theirs)}{found(theirs.results, theirs.ndcg10)}</td>'
        f'<td class="text">{_rewrites(ours)}{found(ours.results, ours.ndcg10)}</td>'
        f"{_moved(entry.reward)}{_moved(entry.gold)}</tr>"
    )


def _rewrites(row: EvidenceRow) -> str:
    if not row.rewrites:
        return '<span class="soft">no rewrite</span>'
    marks = "" if row.format_ok else ' <span class="chip fail">format</span>'
    marks += ' <span class="chip muted">copy</span>' if row.copy else ""
    return "<br>".join(_text(text) or '<span class="soft">(empty)</span>' for text in row.rewrites) + marks


def _moved(value: float | None) -> str:
    kind = "" if not value else " up" if value > 0 else " down"
    return f'<td class="number{kind}">{"" if value is None else f"{value:+.3f}"}</td>'


def _self_tests(tests: Sequence[SelfTest]) -> str:
    rows = "".join(
        f"<tr><td><b>{_text(test.name)}</b></td><td>{_tested(test)}</td><td>{_text(test.message)}</td></tr>"
        for test in tests
    )
    return f'<div class="card wide"><table><tbody>{rows}</tbody></table></div>'


def _tested(test: SelfTest) -> str:
    return _chip(
        "Fail" if not test.passed else "not tested" if test.tested is False else "Pass", muted=test.tested is False
    )


def _provenance(report: GateReport) -> str:
    overrides = "; ".join(
        f"{name} " + ", ".join(f"{key} {value}" for key, value in vars(chosen).items() if value not in (None, False))
        for name, chosen in sorted(report.settings.checks.items())
    )
    entries = (
        ("Candidate evidence", report.candidate_sha256),
        ("Incumbent evidence", report.incumbent_sha256),
        ("Reward revision", report.reward_revision),
        ("Relevance model", report.relevance_model),
        *(_subjects(report.judged) if report.judged else ()),
        ("Seed", str(report.settings.seed)),
        ("Minimum queries", str(report.settings.minimum_queries)),
        ("Limits changed", overrides or "none"),
    )
    rows = "".join(f"<dt>{name}</dt><dd><code>{_text(value)}</code></dd>" for name, value in entries)
    return f'<div class="card"><dl>{rows}</dl></div>'


def _subjects(judged: Judged) -> Sequence[tuple[str, str]]:
    sides = (("Candidate weights", judged.candidate), ("Incumbent weights", judged.incumbent))
    return (
        ("Cycle", str(judged.cycle)),
        ("Fusion constants", judged.fusion_sha256),
        *((name, f"{ref.version} {ref.digest}" if ref else PASSTHROUGH) for name, ref in sides),
        *((f"Data file {role}", digest) for role, digest in sorted(judged.data_digests.items())),
    )


def _chip(verdict: str, muted: bool = False) -> str:
    return f'<span class="chip {"muted" if muted else verdict.lower()}">{verdict}</span>'


def _number(value: float | None) -> str:
    if value is None:
        return '<span class="soft">-</span>'
    return f"{value:.3f}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _minus(candidate: float | None, incumbent: float | None) -> float | None:
    return None if candidate is None or incumbent is None else candidate - incumbent
