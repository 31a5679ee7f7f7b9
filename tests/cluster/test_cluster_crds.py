"""Only the wanted CRDs, without texts, but with fields that are called "description"."""

import json
from pathlib import Path

import pytest

from e2e.cluster.crds import slim_crds

FILE = """
metadata: {name: wanted.example}
spec: {description: a text, properties: {description: {type: string, description: another text}}}
---
metadata: {name: unwanted.example}
"""


def test_texts_go_and_a_field_called_description_stays(tmp_path: Path) -> None:
    (tmp_path / "crds.yaml").write_text(FILE)
    (item,) = json.loads(slim_crds([tmp_path / "crds.yaml"], ["wanted.example"]))["items"]
    assert item["spec"] == {"properties": {"description": {"type": "string"}}}


def test_a_crd_that_no_file_has_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "crds.yaml").write_text(FILE)
    with pytest.raises(KeyError, match="missing"):
        slim_crds([tmp_path / "crds.yaml"], ["missing.example"])
