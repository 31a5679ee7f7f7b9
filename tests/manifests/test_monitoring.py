"""Alerts and dashboard ask for metrics that the operator has, with labels that can occur."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from rewriter_operator import metrics
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Outcome

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "manifests/monitoring/rules.yaml").read_text())["spec"]["groups"][0]["rules"]
PANELS = json.loads((ROOT / "manifests/monitoring/dashboard.json").read_text())["panels"]
ALERTS = {rule["alert"]: rule["expr"] for rule in RULES}
QUERIES = {target["expr"]: target["expr"] for panel in PANELS for target in panel["targets"]}
PAGE = (ROOT / "docs" / "monitoring.md").read_text()


def samples() -> set[str]:
    """Names as Prometheus stores them."""
    found = set()
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (described,) = metric.describe()
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(described.type, ("",))
            found |= {described.name + ending for ending in endings}
    return found


def asked_for(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:rewriter|reconcile|workqueue)_\w+", expression))


@pytest.mark.parametrize("expression", [*ALERTS.values(), *QUERIES])
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    assert asked_for(expression)
    assert asked_for(expression) <= samples()


def test_every_metric_is_on_the_dashboard_and_on_the_page() -> None:
    shown = {re.sub("_(bucket|sum|count)$", "", name) for query in QUERIES for name in asked_for(query)}
    there = {re.sub("_(bucket|sum|count)$", "", name) for name in samples()}
    assert there - shown == set()
    assert [name for name in there if f"`{name}" not in PAGE] == []


def test_states_and_outcomes_in_alerts_are_words_of_the_api() -> None:
    known: dict[str, set[Any]] = {"state": set(State), "outcome": set(Outcome)}
    for expression in ALERTS.values():
        for label, value in re.findall(r'(\w+)="(\w+)"', expression):
            assert value in known[label]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_runbook(rule: dict[str, Any]) -> None:
    page, anchor = rule["annotations"]["runbook"].split("#")
    assert page == "docs/monitoring.md"
    assert anchor in [line.removeprefix("### ").lower() for line in PAGE.splitlines() if line.startswith("### ")]
