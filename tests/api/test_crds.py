"""The CRDs are what the models say, in the form that the API server accepts, and everything in them has a bound."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from rewriter_operator.api import crd
from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from tests.builders import make_spec, spec_body

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    f"{item['spec']['names']['kind']}.{part}": item["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
        part
    ]
    for item in (crd.release_crd(), crd.revision_crd())
    for part in ("spec", "status")
}
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for word, suffix in (("items", "[]"), ("additionalProperties", "[*]")):
        if word in schema:
            yield from nodes(schema[word], path + suffix)


SPEC_NODES = [node for name in SCHEMAS if name.endswith(".spec") for node in nodes(SCHEMAS[name], name)]
ALL_NODES = [node for name in SCHEMAS for node in nodes(SCHEMAS[name], name)]


@pytest.mark.parametrize("name", crd.render())
def test_the_file_is_what_the_generator_writes(name: str) -> None:
    assert (ROOT / "crds" / name).read_text() == crd.render()[name], "run `make crds`"


def test_nothing_that_is_no_structural_schema_is_left() -> None:
    for path, node in ALL_NODES:
        assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "const", "$defs"} & node.keys(), path
        assert isinstance(node["type"], str), path


def test_every_list_and_map_of_a_release_is_bounded() -> None:
    unbounded = [
        path
        for path, node in SPEC_NODES
        if (node["type"] == "array" and "maxItems" not in node)
        or ("additionalProperties" in node and "maxProperties" not in node)
    ]
    assert unbounded == []


def test_every_string_of_a_spec_is_bounded() -> None:
    loose = [
        path for path, node in SPEC_NODES if node["type"] == "string" and "maxLength" not in node and "enum" not in node
    ]
    assert [path for path in loose if path.startswith("RewriterRelease.")] == []


def test_every_number_of_a_spec_is_bounded() -> None:
    loose = [
        path
        for path, node in nodes(SCHEMAS["RewriterRelease.spec"], "spec")
        if node["type"] in ("integer", "number") and not ("minimum" in node and ("maximum" in node or is_capped(node)))
    ]
    assert loose == []


def is_capped(node: dict[str, Any]) -> bool:
    """Whether a rule sets the upper bound, as it does where the bound is no whole number."""
    return any(rule["rule"].startswith("self <= ") for rule in node.get("x-kubernetes-validations", []))


def test_an_upper_bound_that_is_no_whole_number_is_said_as_it_is() -> None:
    """The API server rounds `maximum` in its refusal: "should be less than or equal to 0" for 0.2."""
    rounded = [path for path, node in SPEC_NODES if node.get("maximum", 0) % 1 or node.get("minimum", 0) % 1]
    assert rounded == []


def test_every_list_of_the_status_is_bounded() -> None:
    loose = [
        path
        for path, node in nodes(SCHEMAS["RewriterRelease.status"], "status")
        if node["type"] == "array" and "maxItems" not in node
    ]
    assert loose == []


def test_every_field_of_a_spec_is_explained() -> None:
    """An object explains itself, or is of a type that does; a map of a quantity or a label needs no words."""
    silent = [
        path
        for path, node in nodes(SCHEMAS["RewriterRelease.spec"], "spec")
        if node["type"] == "object" and "description" not in node and "additionalProperties" not in node
    ]
    assert silent == []


def test_every_pattern_is_anchored() -> None:
    for path, node in ALL_NODES:
        if "pattern" in node:
            assert node["pattern"].startswith("^") and node["pattern"].endswith("$"), path
            re.compile(node["pattern"])


def test_the_state_is_one_of_the_table() -> None:
    assert SCHEMAS["RewriterRelease.status"]["properties"]["state"]["enum"] == [state.value for state in State]


def test_every_rule_says_what_to_do() -> None:
    for schema in SCHEMAS.values():
        for path, node in nodes(schema, ""):
            for rule in node.get("x-kubernetes-validations", []):
                assert len(rule["message"]) >= len("must be at most 0.2"), path


def test_the_sentence_of_every_rule_is_one_quoted_text() -> None:
    """The API server takes no CRD at all whose sentence ends at an apostrophe."""
    told = [
        rule["messageExpression"]
        for schema in SCHEMAS.values()
        for _, node in nodes(schema, "")
        for rule in node.get("x-kubernetes-validations", [])
        if "messageExpression" in rule
    ]
    assert len(told) > 20
    odd = [text for text in told if not re.fullmatch(r"'(?:[^'\\]|\\.)*'\.format\(\[.*\]\)", text, re.DOTALL)]
    assert odd == []


def test_columns_show_state_cycle_and_what_serves_first() -> None:
    columns = crd.release_crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns][:4] == ["State", "Cycle", "Serves", "Candidate share"]
    assert all(column["jsonPath"].startswith(".") for column in columns)


def test_a_minimal_spec_takes_every_default() -> None:
    spec = make_spec()
    assert spec.bootstrap == "Passthrough"
    assert spec.training.mpo.beta == 0.1
    assert spec.rollout.limits.max_error_rate == 0.01
    assert RewriterReleaseSpec.model_validate(spec.to_api()) == spec, "what is written reads back the same"


def test_an_empty_status_is_a_release_that_is_new() -> None:
    assert RewriterReleaseStatus().state is State.BOOTSTRAPPING
    assert RewriterReleaseStatus.model_validate({}) == RewriterReleaseStatus()


@pytest.mark.parametrize("text, value", [("30s", 30), ("15m", 900), ("12h", 43200), ("1s", 1)])
def test_a_duration_is_a_number_and_a_unit(text: str, value: int) -> None:
    assert seconds(make_spec(**{"rollout.bake": text}).rollout.bake) == value


@pytest.mark.parametrize("text", ["0s", "1d", "90", "1h30m", "-5m", "1.5h", "123456s", "", "5 m", "1m\n"])
def test_any_other_duration_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        make_spec(**{"rollout.bake": text})


@pytest.mark.parametrize(
    "path", ["/abs/model", "../model", "base/../../x", "base//x", "base/", "", ".hidden", "base/.git", "a b"]
)
def test_a_path_that_could_leave_the_volume_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        make_spec(**{"model.path": path})


def test_a_field_of_a_newer_version_is_ignored_and_not_fatal() -> None:
    assert RewriterReleaseSpec.model_validate(spec_body(novelty={"a": 1})) == make_spec()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_every_sample_is_valid_and_misspells_nothing(sample: Path) -> None:
    for document in yaml.safe_load_all(sample.read_text()):
        if document and document.get("kind") == "RewriterRelease":
            spec = RewriterReleaseSpec.model_validate(document["spec"])
            assert unknown_keys(document["spec"], spec.to_api(), "spec") == []


def unknown_keys(given: Any, read: Any, path: str) -> list[str]:
    """Paths in `given` that the model did not take."""
    if isinstance(given, dict) and isinstance(read, dict):
        missing = [f"{path}.{key}" for key in given if key not in read]
        return missing + [
            found for key in given if key in read for found in unknown_keys(given[key], read[key], f"{path}.{key}")
        ]
    if isinstance(given, list) and isinstance(read, list):
        pairs = zip(given, read, strict=True)
        return [found for index, (a, b) in enumerate(pairs) for found in unknown_keys(a, b, f"{path}[{index}]")]
    return []


def test_a_type_without_a_structural_form_is_refused_and_not_dropped() -> None:
    class Odd(BaseModel):
        either: int | str

    with pytest.raises(crd.NotStructural, match=r"Odd\.either"):
        crd.structural(Odd)
