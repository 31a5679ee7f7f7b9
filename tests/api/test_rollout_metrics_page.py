"""What docs/rollout-metrics.md shows is admitted, posted and understood as it says."""

import json
import re
from pathlib import Path

import yaml

from rewriter_operator.api.endpoint import ServiceEndpoint
from rewriter_operator.api.metric_access import CA_ANNOTATION, CREDENTIALS_LABEL, URLS_ANNOTATION, MetricService
from rewriter_operator.api.rollout_metrics import RolloutMetric
from rewriter_operator.cli.lint import refusals
from rewriter_operator.cluster.metric_access import sent_to
from rewriter_operator.core.metric_answers import of_web_hook
from rewriter_operator.core.metric_calls import due
from tests.builders import make_spec, stage
from tests.cli.test_lint import body
from tests.core.test_rollout import with_share

PAGE = (Path(__file__).parents[2] / "docs" / "rollout-metrics.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
EXAMPLE, SECURED = (text for kind, text in BLOCKS if kind == "yaml" and "metrics:" in text)
METRICS = yaml.safe_load(EXAMPLE)["spec"]["rollout"]["metrics"]
STAGES = [stage("finerank", {"setShare": 10}, {"setShare": 100})]


def test_the_example_is_admitted() -> None:
    defaults = {"rollout.verification": {}}
    assert refusals(body(**{"rollout.metrics": METRICS, "rollout.stages": STAGES, **defaults})) == []


def test_the_secret_that_the_page_shows_goes_where_the_metric_that_it_shows_asks() -> None:
    asking, service, secret = yaml.safe_load_all(SECURED)
    metrics = asking["spec"]["rollout"]["metrics"]
    assert refusals(body(**{"rollout.metrics": metrics, "rollout.stages": STAGES, "rollout.verification": {}})) == []
    story = with_share(make_spec(**{"rollout.metrics": metrics})).until(lambda it: bool(due(it.world())))
    (call,) = due(story.world())
    metadata = secret["metadata"]
    assert metadata["labels"] == {CREDENTIALS_LABEL: "true"}
    assert metadata["annotations"] == {
        URLS_ANNOTATION: sent_to(call),
        CA_ANNOTATION: metrics[0]["prometheus"]["caBundle"]["configMapKeyRef"]["name"],
    }
    asked = metrics[0]["prometheus"]["authorization"]["bearer"]["secretKeyRef"]
    assert (asked["name"], asked["key"]) == (metadata["name"], *secret["stringData"])
    assert service["metadata"]["name"] == metrics[0]["prometheus"]["serviceName"]


def test_every_field_of_access_has_a_row_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*?) ?\|", PAGE, re.MULTILINE))
    for name, field in MetricService.model_fields.items():
        if name not in ServiceEndpoint.model_fields:
            alias = field.alias or name
            assert alias in rows
            if isinstance(field.default, str):
                assert rows[alias] == field.default


def test_the_hook_is_posted_the_fields_that_the_page_shows() -> None:
    (shown,) = (text.split("\n\n", 1)[1] for _, text in BLOCKS if text.startswith("POST"))
    story = with_share(make_spec(**{"rollout.metrics": METRICS[1:]})).until(lambda it: bool(due(it.world())))
    (call,) = due(story.world())
    assert json.loads(call.body or "").keys() == json.loads(shown).keys()


def test_every_answer_that_the_page_shows_is_understood() -> None:
    (shown,) = (text for kind, text in BLOCKS if kind == "json")
    read = [of_web_hook(200, line.encode(), 0.0) for line in shown.splitlines()]
    assert [(answer.value, answer.passes) for answer in read] == [
        (0.97, None),
        (None, True),
        (None, False),
        (None, None),
    ]


def test_every_field_has_a_row_with_its_default() -> None:
    rows = {name: told.strip() for name, told in re.findall(r"^\| (`\w+`[^|]*?) \|([^|]*)\|", PAGE, re.MULTILINE)}
    words = " ".join(rows)
    for name, field in RolloutMetric.model_fields.items():
        alias = field.alias or name
        assert f"`{alias}`" in words
        if isinstance(field.default, int | str):
            assert rows[f"`{alias}`"] == str(field.default)
