"""Takes the CRDs that are needed out of the files of a module, without their descriptions.

Descriptions are most of their size, and the API server works through all of it at each start: seconds, for nobody.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


def slim_crds(files: Iterable[Path], wanted: Iterable[str]) -> str:
    """One JSON list of the wanted CRDs (by full name). Raises KeyError for a name that no file has."""
    found: dict[str, Any] = {}
    for path in files:
        for document in yaml.load_all(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if document:
                found[document["metadata"]["name"]] = _without_descriptions(document)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [found[name] for name in wanted]})


def _without_descriptions(node: Any) -> Any:
    if isinstance(node, dict):
        # A field that happens to be called "description" has a schema there, not a text.
        return {
            key: _without_descriptions(value)
            for key, value in node.items()
            if not (key == "description" and isinstance(value, str))
        }
    if isinstance(node, list):
        return [_without_descriptions(value) for value in node]
    return node
