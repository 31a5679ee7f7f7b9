"""`kubectl rewriter lint` refuses what admission refuses, in the same words, and nothing else."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewriter_operator.cli.asking import Refusal
from rewriter_operator.cli.cel import cel_value, holds
from rewriter_operator.cli.command import main
from rewriter_operator.cli.lint import lint, refusals
from tests.builders import spec_body
from tests.examples import THOROUGH
from tests.integration.bad_input_rows import REFUSED, Refused
from tests.integration.test_bad_input import changed

ROOT = Path(__file__).parents[2]
CREATED = [row for row in REFUSED if row.on_create]
LOOKED_AT = CREATED if os.environ.get(THOROUGH) else CREATED[::8]
"""A tenth of a second each; all of them where somebody does not wait."""


def body(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rewriter.dev/v1alpha1",
        "kind": "RewriterRelease",
        "metadata": {"name": "shop"},
        "spec": spec_body(**changes),
    }


@pytest.mark.parametrize("row", LOOKED_AT, ids=lambda row: f"B{row.row}-{row.case[:40]}")
def test_what_admission_refuses_is_refused_with_field_value_and_remedy(row: Refused) -> None:
    told = "\n".join(refusals(changed(row.broken, "shop")))
    for words in row.says:
        assert words in told
    assert refusals(changed(row.fixed, "shop")) == []


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ({"min": 3}, "spec.gate.checks[0].min: Invalid value: .*got 3.*at most 2.0, the default max .*set max, too"),
        (
            {"max": 0.3},
            "spec.gate.checks[0].max: Invalid value: .*got 0.3.*at least 0.4, the default min .*set min, too",
        ),
    ],
    ids=["min", "max"],
)
def test_a_bound_of_the_length_that_no_candidate_can_meet_is_refused(check: dict[str, float], told: str) -> None:
    (refusal,) = refusals(body(**{"gate.checks": [{"name": "LengthRatio", **check}]}))
    assert re.search(told.replace("[", r"\["), refusal)


@pytest.mark.parametrize("check", [{"min": 3, "max": 4}, {"min": 2}, {"max": 0.4}, {"min": 0.1, "max": 0.3}])
def test_bounds_of_the_length_that_can_be_met_are_not_refused(check: dict[str, float]) -> None:
    assert refusals(body(**{"gate.checks": [{"name": "LengthRatio", **check}]})) == []


@pytest.mark.parametrize("mode", ["Surge", "ScaleWithShare", "InPlace"])
def test_each_capacity_is_taken(mode: str) -> None:
    assert refusals(body(**{"serving.replicas": 2, "serving.capacity": {"mode": mode}})) == []


def test_one_pod_cannot_change_in_place() -> None:
    (told,) = refusals(body(**{"serving.replicas": 1, "serving.capacity": {"mode": "InPlace"}}))
    assert "spec.serving.replicas" in told and "got 1; must be at least 2 with capacity.mode InPlace" in told


@pytest.mark.parametrize("mode", ["inPlace", "scaleWithShare", "", 1])
def test_another_capacity_is_refused_with_those_that_there_are(mode: object) -> None:
    told = "\n".join(refusals(body(**{"serving.capacity": {"mode": mode}})))
    assert "spec.serving.capacity.mode" in told
    assert not isinstance(mode, str) or all(known in told for known in ("Surge", "ScaleWithShare", "InPlace"))


@pytest.mark.parametrize("sample", sorted((ROOT / "manifests" / "samples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_sample_passes(sample: Path) -> None:
    assert [item.refusals for item in lint(sample.name, sample.read_text())] == [()]


def test_everything_wrong_is_told_at_once() -> None:
    told = refusals(body(modle={}, historyLimit="five", **{"rollout.bake": "1d", "data.gate": "data/train.jsonl"}))
    assert [text.split(":")[0] for text in told] == [
        'unknown field "spec.modle"',
        "spec.historyLimit",
        "spec.rollout.bake",
    ], "rules of the whole spec wait until its types are right, as at admission"


@pytest.mark.parametrize("field", ["onChange", "suspend", "rollout.bake"])
def test_a_null_takes_its_fields_default_as_in_a_cluster(field: str) -> None:
    assert refusals(body(**{field: None})) == []


def test_an_expression_is_compiled() -> None:
    told = refusals(body(**{"reward.expression": "logR + size(query)"}))
    assert len(told) == 1 and told[0].startswith("spec.reward.expression: 'logR + size(query)': character 8: no term")
    assert refusals(body(**{"reward.expression": "logR - (numbersKept ? 0.0 : 0.5)"})) == []


def test_a_key_that_is_given_twice_is_a_mistake() -> None:
    with pytest.raises(Refusal, match=r"key 'kind' is given twice"):
        lint("shop.yaml", "kind: RewriterRelease\nkind: Other\n")


def test_a_file_without_a_release_is_refused() -> None:
    with pytest.raises(Refusal, match="holds no object of kind RewriterRelease"):
        lint("shop.yaml", "kind: ConfigMap\n")


def test_the_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(yaml.safe_dump(body()))
    bad.write_text("kind: ConfigMap\n---\n" + yaml.safe_dump(body(historyLimit=0)))
    assert main(["lint", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: shop: ok\n"
    assert main(["lint", str(good), str(bad), "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [item["source"] for item in found] == [str(good), f"{bad}#2"]
    assert "greater than or equal to 2" in found[1]["refusals"][0]
    assert main(["lint", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_no_verdict_is_taken_from_an_equal_value_of_another_type() -> None:
    """What was judged once is known; to Python 1, 1.0 and True are the same."""
    values = [cel_value(1, {"type": "integer"}), cel_value(1, {"type": "number"}), cel_value(True, {"type": "boolean"})]
    assert [holds("type(self) == int", value) for value in values] == [True, False, False]
    assert [holds("type(self) == double", value) for value in values] == [False, True, False]
