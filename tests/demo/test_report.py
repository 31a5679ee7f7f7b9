"""The report shows what was recorded: one page that needs nothing else, and the same numbers as JSON."""

import json
from pathlib import Path
from xml.etree import ElementTree

from e2e.demo.charts import Line, chart
from e2e.demo.report import client_shares, write_report
from tests.demo.played_builder import promoted, rejected, request, rolled_back


def test_the_page_needs_no_other_file_and_no_script(tmp_path: Path) -> None:
    page = write_report([promoted(), rejected(), rolled_back()], {"model": "tiny"}, tmp_path).read_text()
    assert "<script" not in page
    assert "src=" not in page and "href=" not in page
    assert page.count("<svg") >= 3


def test_the_summary_has_the_numbers_of_each_act(tmp_path: Path) -> None:
    write_report([promoted()], {"model": "tiny"}, tmp_path)
    act = json.loads((tmp_path / "summary.json").read_text())["acts"][0]
    assert act["failedRequests"] == 0
    assert act["observedShares"]["finerank"] == {"25": 24.0, "100": 99.5}
    assert act["answersByRevision"]["recall"] == {"r0001": 1}


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    played = promoted()
    played.record["message"] = "<img src=x>"
    assert "<img" not in write_report([played], {}, tmp_path).read_text()


def test_the_clients_share_is_counted_in_windows() -> None:
    played = promoted()
    played.requests = [
        request(revision=revision, at=at) for revision, at in (("r0000", 1.0), ("r0001", 2.0), ("r0001", 11.0))
    ]
    assert client_shares(played, "finerank", "r0001") == [(5.0, 50.0), (15.0, 100.0)]


def test_a_chart_is_well_formed_and_marks_every_point() -> None:
    drawn = chart([Line("set", [(0, 0), (10, 25)], steps=True), Line("<seen>", [(5, 24.0)], dots=True)], "s", "%")
    root = ElementTree.fromstring(drawn)
    assert len(root.findall(".//circle")) == 1
    assert "&lt;seen&gt;" in drawn


def test_a_chart_of_nothing_says_so() -> None:
    assert chart([Line("none", [])], "x", "y") == "<p>Nothing was recorded.</p>"


def test_ticks_are_round_numbers_and_phases_whole_ones() -> None:
    drawn = chart([Line("reward", [(1, -0.3457), (3, -0.2189)])], "phase", "log R", whole_x=True)
    texts = [text.text for text in ElementTree.fromstring(drawn).findall(".//text")]
    assert {"1", "2", "3", "-0.35", "-0.3", "-0.25"} <= set(texts)
    assert not {"1.5", "2.5"} & set(texts)


def test_a_line_of_one_point_has_one_tick() -> None:
    drawn = chart([Line("reward", [(1, -0.3)])], "phase", "log R", whole_x=True)
    assert [text.text for text in ElementTree.fromstring(drawn).findall(".//text")].count("1") == 1
