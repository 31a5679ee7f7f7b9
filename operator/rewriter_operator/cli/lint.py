"""`kubectl rewriter lint`: what admission would refuse of a file, without a cluster.

The judge is the CRD itself, as this version of the operator has it (schema.py, cel.py). What only the cluster can tell
(a claim that is missing, a name that is taken) is not looked at; docs/bad-input.md says which rows those are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from rewriter_operator.api.crd import release_crd
from rewriter_operator.api.model import API_VERSION
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.cli.asking import Refusal
from rewriter_operator.core.reward import expression_problem

KIND: Final = "RewriterRelease"
EXTRA: Final = "lint needs the CEL interpreter; install it with: pip install 'rewriter-operator[lint]'"

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True)
class Linted:
    """One document of a file."""

    source: str
    """shop.yaml, or shop.yaml#2 for its second document."""
    name: str
    refusals: tuple[str, ...]
    """`spec.rollout.bake: Invalid value: ...`"""


def lint(source: str, text: str) -> list[Linted]:
    """Every RewriterRelease of a file, judged.

    Raises:
        Refusal: when the text is no YAML, or holds no release.
    """
    return [Linted(place, _name(body), tuple(refusals(body))) for place, body in releases(source, text)]


def releases(source: str, text: str) -> list[tuple[str, dict[str, Any]]]:
    """Every RewriterRelease of a file, and where it is; other kinds are left to others.

    Raises:
        Refusal: when the text is no YAML, or holds no release.
    """
    try:
        documents = list(yaml.load_all(text, Loader=_OncePerKey))
    except yaml.YAMLError as error:
        raise Refusal(f"{source}: is no YAML: {' '.join(str(error).split())}") from error
    found = [
        (source if len(documents) == 1 else f"{source}#{number}", body)
        for number, body in enumerate(documents, start=1)
        if isinstance(body, dict) and body.get("kind") == KIND
    ]
    if not found:
        raise Refusal(f"{source}: holds no object of kind {KIND}; give the file that `kubectl apply -f` would get")
    return found


def refusals(body: Mapping[str, Any]) -> list[str]:
    """What the API server would say; then, of what it admits, what the operator says of the expression."""
    try:
        from rewriter_operator.cli.schema import defaulted, findings
    except ModuleNotFoundError as error:
        raise Refusal(EXTRA) from error
    if body.get("apiVersion") != API_VERSION:
        return [f"apiVersion: got {body.get('apiVersion')!r}; must be {API_VERSION}"]
    problem = _name_problem(body)
    if problem:
        return [problem]
    found = [str(finding) for finding in findings(body, _schema())]
    return found or _after_admission(defaulted(body, _schema()))


@cache
def _schema() -> dict[str, Any]:
    """Made once: it takes as long as judging a release."""
    schema: dict[str, Any] = release_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _after_admission(body: Mapping[str, Any]) -> list[str]:
    """What a condition would say of a release that was admitted, as it is stored: a null has its field's default."""
    problem = expression_problem(RewriterReleaseSpec.model_validate(body["spec"]).reward)
    return [problem] if problem else []


def read(path: str, standard_input: str) -> str:
    """Text of a file; `-` is standard input.

    Raises:
        Refusal: when it cannot be read.
    """
    if path == "-":
        return standard_input
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{path}: cannot be read: {error}") from error


class _OncePerKey(yaml.SafeLoader):
    """A key that is given twice is a mistake, as it is for kubectl: plain YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _name(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _name_problem(body: Mapping[str, Any]) -> str:
    """The API server's own check of a name, which no CRD can change."""
    name = _name(body)
    if not name:
        return "metadata.name: Required value: name or generateName is required"
    if not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
        return (
            f"metadata.name: Invalid value: {name!r}: a lowercase RFC 1123 subdomain must consist of lower case "
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        )
    return ""
