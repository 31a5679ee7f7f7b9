"""The demo's report: one HTML file without scripts or outside files, and the same numbers as JSON.

Everything in it was recorded during the run: statuses, the client's log, the gate's reports. Nothing is computed that
the run did not show.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any, Final

from e2e.demo.acts import Played, observed_share
from e2e.demo.charts import Line, chart
from e2e.demo.traffic import Request
from rewriter_contract.messages import STAGES

WINDOW_SECONDS: Final = 10.0
"""Length of the windows in which the client's own share is counted."""

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
svg { width: 100%; max-width: 46rem }
svg text { font-size: 10px; fill: #444 }
table { border-collapse: collapse; width: 100%; font-size: 13px }
td, th { border: 1px solid #ddd; padding: 4px 7px; text-align: left }
.Pass { background: #e6f4ea } .Fail { background: #fce8e6 } .Inconclusive { background: #fef7e0 }
"""


def write_report(acts: Sequence[Played], facts: dict[str, Any], out: Path) -> Path:
    """Write out/report.html and out/summary.json; returns the page's path."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary(acts, facts), indent=2, ensure_ascii=False) + "\n")
    page = out / "report.html"
    body = "".join(_act(played) for played in acts)
    page.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Rewriter operator: demo</title>'
        f"<style>{STYLE}</style></head><body><h1>Rewriter operator: demo</h1>{_facts(facts)}{body}</body></html>\n"
    )
    return page


def summary(acts: Sequence[Played], facts: dict[str, Any]) -> dict[str, Any]:
    """The run in numbers."""
    return {**facts, "acts": [_act_summary(played) for played in acts]}


def _act_summary(played: Played) -> dict[str, Any]:
    failed = [request for request in played.requests if request.status != 200]
    return {
        "act": played.number,
        "title": played.title,
        "model": played.model,
        "seconds": round(played.finished_at - played.started_at, 1),
        "failure": played.failure,
        "claims": [claim.text for claim in played.claims],
        "record": played.record,
        "phases": played.phases,
        "gate": {"verdict": played.gate.get("verdict"), "reason": played.gate.get("reason")},
        "requests": len(played.requests),
        "failedRequests": len(failed),
        "firstFailures": [asdict(request) for request in failed[:5]],
        "answersByRevision": {name: dict(_answers(played.requests, name)) for name in STAGES},
        "latencyMs": {name: _latency(played.requests, name) for name in STAGES},
        "observedShares": {name: _observed(played, name) for name in STAGES},
    }


def _answers(requests: Sequence[Request], stage: str) -> Counter[str]:
    return Counter(request.revision for request in requests if request.stage == stage)


def _latency(requests: Sequence[Request], stage: str) -> dict[str, float]:
    times = sorted(request.milliseconds for request in requests if request.stage == stage)
    return {name: times[int(len(times) * share)] for name, share in (("p50", 0.5), ("p95", 0.95))} if times else {}


def _observed(played: Played, stage: str) -> dict[str, float | None]:
    shares = sorted({seen.stage(stage).get("share", 0) for seen in played.seen} - {0})
    return {str(share): observed_share(played.seen, stage, share) for share in shares}


def _facts(facts: dict[str, Any]) -> str:
    cells = ((escape(str(name)), escape(str(value))) for name, value in facts.items())
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{value}</td></tr>' for name, value in cells)}</table>"


def _act(played: Played) -> str:
    outcome = played.record.get("outcome", "did not end")
    parts = [f"<h2>Act {played.number}, {escape(played.model)}: {escape(played.title)}</h2>"]
    parts.append(f"<p><b>{escape(outcome)}</b> {escape(played.record.get('message', ''))}</p>")
    if played.failure:
        parts.append(f'<p class="Fail"><b>{escape(played.failure)}</b></p>')
    parts.append("<ul>" + "".join(f"<li>{escape(claim.text)}</li>" for claim in played.claims) + "</ul>")
    parts.append(f"<h3>Reward by phase</h3>{_rewards(played)}")
    parts.append(f"<h3>Share by time</h3>{''.join(_shares(played, name) for name in STAGES)}")
    parts.append(f"<h3>Gate</h3>{_gate(played.gate)}")
    parts.append(f"<h3>Timeline</h3>{_timeline(played)}")
    return "".join(parts)


def _rewards(played: Played) -> str:
    points = [
        (float(phase["number"]), float(phase["metrics"]["mean_score"]))
        for phase in played.phases
        if "mean_score" in phase.get("metrics", {})
    ]
    return chart([Line("mean log R of the samples", points)], "phase", "mean log R of a phase's samples", whole_x=True)


def _shares(played: Played, stage: str) -> str:
    began = played.started_at
    wanted = [(seen.at - began, float(seen.stage(stage).get("share", 0))) for seen in played.seen]
    reported = [
        (seen.at - began, float(seen.stage(stage)["observedShare"]))
        for seen in played.seen
        if seen.stage(stage).get("observedShare") is not None and seen.stage(stage).get("share")
    ]
    candidate = f"r{played.cycle:04d}"
    lines = [
        Line("set", wanted, steps=True),
        Line("observed by the operator", reported, dots=True),
        Line(f"seen by the client in {WINDOW_SECONDS:.0f} s", client_shares(played, stage, candidate), dots=True),
    ]
    return chart(lines, "seconds", f"{stage}: candidate's share in %", (0.0, 100.0))


def client_shares(played: Played, stage: str, candidate: str) -> list[tuple[float, float]]:
    """Per window: percent of the stage's answers that came from the candidate."""
    windows: dict[int, list[bool]] = {}
    for request in played.requests:
        if request.stage == stage:
            window = int((request.at - played.started_at) // WINDOW_SECONDS)
            windows.setdefault(window, []).append(request.revision == candidate)
    percents = {window: 100.0 * sum(hits) / len(hits) for window, hits in sorted(windows.items())}
    return [((window + 0.5) * WINDOW_SECONDS, percent) for window, percent in percents.items()]


def _gate(gate: dict[str, Any]) -> str:
    if not gate:
        return "<p>The cycle did not get to the gate.</p>"
    rows = [
        f'<tr class="{escape(found["verdict"])}"><td>{escape(found["name"])}</td><td>{escape(found["role"])}</td>'
        f"<td>{escape(found['verdict'])}</td><td>{escape(found['message'])}</td></tr>"
        for found in gate["findings"]
    ]
    tests = "".join(
        f'<li class="{"Pass" if test["passed"] else "Fail"}">{escape(test["name"])}: {escape(test["message"])}</li>'
        for test in gate["selfTests"]
    )
    head = f"<p><b>{escape(gate['verdict'])}</b>: {escape(gate['reason'])}</p>"
    table = f"<table><tr><th>check</th><th>role</th><th>verdict</th><th>numbers</th></tr>{''.join(rows)}</table>"
    return f"{head}{table}<p>Self-tests:</p><ul>{tests}</ul>"


def _timeline(played: Played) -> str:
    rows, before = [], ""
    for seen in played.seen:
        phase = seen.cycle.get("phase") or {}
        state = f"{seen.state} {'phase ' + str(phase['number']) + ' ' + phase['step'] if phase else ''}".strip()
        if state != before:
            before = state
            after, message = seen.at - played.started_at, escape(str(seen.status.get("message", "")))
            rows.append(f"<tr><td>{after:.0f} s</td><td>{escape(state)}</td><td>{message}</td></tr>")
    return f"<table><tr><th>after</th><th>state</th><th></th></tr>{''.join(rows)}</table>"
