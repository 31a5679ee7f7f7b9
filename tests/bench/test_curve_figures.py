"""Learning curves as numbers: means by way and step, differences paired by seed, a page that says the same."""

from dataclasses import replace

import pytest

from e2e.bench.curves.figures import Curve, Point, difference, report
from e2e.bench.curves.page import page
from e2e.bench.curves.ways import ONLINE, WAYS
from rewriter_contract.messages import EvidenceRow, EvidenceRows


def point(step: int, log_r: float, ndcg10: float = 0.5) -> Point:
    return Point(step, log_r, ndcg10, 0.9, 1.5, 0.1, step // 24)


def curve(way: str, seed: int, last: float) -> Curve:
    return Curve("shop", way, seed, (point(0, -0.2), point(24, last)))


def row(name: str, reward: float | None, ndcg10: float | None, copy: bool = False) -> EvidenceRow:
    return EvidenceRow(name, "", ("x",), reward, ndcg10, 1.0, 2.0, copy, 0.0, True)


def test_a_point_is_the_mean_of_the_queries_that_could_be_measured() -> None:
    rows = (row("a", 0.2, 0.5), row("b", None, 1.0, copy=True))
    found = Point.of(24, EvidenceRows(rows, "", "r", "m"), 1)
    assert (found.log_r, found.ndcg10, found.copies, found.length_ratio, found.syncs) == (0.2, 0.75, 0.5, 2.0, 1)


def test_a_point_without_any_measured_query_is_none() -> None:
    with pytest.raises(ValueError, match="no query could be measured"):
        Point.of(0, EvidenceRows((row("a", None, 0.5),), "", "r", "m"), 0)


def test_ways_are_compared_seed_by_seed() -> None:
    ours = [curve("offline", 0, 0.1), curve("offline", 1, 0.3)]
    theirs = [curve(ONLINE, 1, 0.2), curve(ONLINE, 0, 0.1)]
    found = difference(ours, theirs, "log_r")
    assert found["mean"] == pytest.approx(0.05) and found["standard_error"] == pytest.approx(0.05)
    with pytest.raises(ValueError, match="the same two or more"):
        difference(ours, [curve(ONLINE, 2, 0.2), curve(ONLINE, 0, 0.1)], "log_r")


def test_the_report_has_every_way_and_its_range() -> None:
    curves = [curve(way.name, seed, 0.1 * seed) for way in WAYS for seed in (0, 1, 2)]
    made = report([*curves, *(replace(one, collection="other") for one in curves)])
    assert list(made["collections"]) == ["shop", "other"] and len(made["runs"]) == 24
    last = made["collections"]["shop"]["ways"]["semi-online"][-1]
    assert (last["log_r"], last["log_r_least"], last["log_r_greatest"], last["syncs"]) == (0.1, 0.0, 0.2, 1)
    assert made["collections"]["shop"]["final_less_online"]["offline"]["log_r"] == {"mean": 0.0, "standard_error": 0.0}
    assert ONLINE not in made["collections"]["shop"]["final_less_online"]


def test_the_page_draws_every_way() -> None:
    curves = [curve(way.name, seed, 0.1 * seed) for way in WAYS for seed in (0, 1)]
    html = page({"setting": "<tiny>", **report(curves)})
    assert "&lt;tiny&gt;" in html and html.count("<svg") == 3
    assert all(html.count(way.name) >= 2 for way in WAYS)
    assert "+0.050 (+0.000 to +0.100)" in html
