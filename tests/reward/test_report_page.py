"""The gate's page shows what the report and the volume hold: kinds of queries with bounds, training step by step."""

import json
import math
from dataclasses import replace
from pathlib import Path

from rewriter_contract import wire
from rewriter_contract.reports import GateReport, GateSettings
from rewriter_operator.core.gate import judge
from rewriter_sampler import report
from rewriter_sampler.report_plots import span, steps_plot
from tests.gate.evidence_builder import both_sides


def judged() -> GateReport:
    ours, theirs = both_sides()
    rows = [
        tuple(replace(row, slice="a<b>" if index % 2 else "typo") for index, row in enumerate(side.rows))
        for side in (ours, theirs)
    ]
    return judge(replace(ours, rows=rows[0]), replace(theirs, rows=rows[1]), GateSettings(resamples=100))


def written(root: Path, verdict: GateReport) -> str:
    report.write(root, 7, wire.dumps(verdict).encode(), "pod")
    return (root / "cycles/0007/gate/report.html").read_text()


def steps(root: Path, phase: int, *rows: object) -> None:
    file = root / f"cycles/0007/phases/{phase:02d}/metrics.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))


def test_kinds_of_queries_stand_there_with_their_bounds(tmp_path: Path) -> None:
    verdict = judged()
    page = written(tmp_path, verdict)
    assert verdict.slices and [found.name for found in verdict.slices] == ["a<b>", "typo"]
    for found in verdict.slices:
        assert found.queries == 40 and found.reward and found.ndcg10
        assert f"{found.reward.estimate:+.3f}" in page
        assert f'aria-label="{found.reward.low:+.3f} to {found.reward.high:+.3f}"' in page
    assert "a&lt;b&gt;" in page and "a<b>" not in page


def test_a_report_from_before_slices_is_drawn_without_them(tmp_path: Path) -> None:
    assert "Kinds of queries" not in written(tmp_path, replace(judged(), schema=2, slices=None))


def test_training_is_drawn_phase_by_phase(tmp_path: Path) -> None:
    steps(tmp_path, 1, {"step": 1, "loss": 2.0, "margin": 0.0}, {"step": 2, "loss": 1.5, "margin": 0.25})
    steps(tmp_path, 2, {"step": 1, "loss": 1.25, "margin": 0.5}, '{"step": 2, "los')
    page = written(tmp_path, judged())
    assert 'aria-label="loss by step"' in page and 'aria-label="margin of the implicit rewards by step"' in page
    assert 'aria-label="share of pairs in the right order by step"' not in page, "no step has it"
    assert page.count('class="curve"') == 2


def test_no_training_no_drawing(tmp_path: Path) -> None:
    assert "Training, step by step" not in written(tmp_path, judged())


def test_odd_lines_of_metrics_are_left_out(tmp_path: Path) -> None:
    steps(tmp_path, 1, "[1]\n", '{"loss": NaN}\n', '{"loss": "1"}\n', {"loss": 1.0}, "\xff\n")
    page = written(tmp_path, judged())
    assert page.count('class="curve"') == 1 and "nan" not in page.split("Training, step by step")[1].split("</svg>")[0]


def test_a_line_is_broken_where_a_step_lacks_the_value() -> None:
    assert steps_plot([1.0, 2.0, None, math.inf, 3.0], (2,), "loss").count("<polyline") == 2
    assert "<polyline" not in steps_plot([], (), "loss")


def test_bounds_are_drawn_around_zero() -> None:
    assert 'aria-label="-0.100 to +0.200"' in span(-0.1, 0.05, 0.2)
    assert span(0.1, 0.15, 0.2).count("<line") == 3
