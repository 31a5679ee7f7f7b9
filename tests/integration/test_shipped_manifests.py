"""The overlays build, and the API server takes every object and every sample."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import ROOT, Space

pytestmark = pytest.mark.integration

MANIFESTS = ROOT / "manifests"
OVERLAYS = ("base", "overlays/namespaced", "overlays/gpu", "overlays/ha")


def built(space: Space, directory: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(space.api.kubectl("kustomize", str(directory))) if item]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_taken_as_it_is(space: Space, overlay: str) -> None:
    bodies = built(space, MANIFESTS / overlay)
    assert {"Deployment", "Role", "RoleBinding", "ServiceAccount"} <= {body["kind"] for body in bodies}
    for body in bodies:
        body["metadata"].pop("namespace", None)
        space.create(body, "--dry-run=server")
    (deployment,) = (body for body in bodies if body["kind"] == "Deployment")
    images = json.dumps(deployment)
    assert ("registry.example" in images) == (overlay != "base")


@pytest.mark.parametrize("sample", sorted((MANIFESTS / "samples").glob("*.yaml")), ids=lambda path: path.name)
def test_a_sample_is_taken_as_it_is(space: Space, sample: Path) -> None:
    for body in yaml.safe_load_all(sample.read_text()):
        space.create(body, "--dry-run=server", "--validate=strict")


def test_argo_cds_config_gets_two_keys_more(space: Space, tmp_path: Path) -> None:
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "https://x"}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    component = Path("../" * len(tmp_path.parts)) / (MANIFESTS / "argocd").relative_to("/")
    kustomization = {"resources": ["own.yaml"], "components": [str(component)]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (config,) = built(space, tmp_path)
    assert config["metadata"]["name"] == "argocd-cm"
    assert set(config["data"]) == {
        "url",
        "resource.customizations.health.rewriter.dev_RewriterRelease",
        "resource.customizations.actions.rewriter.dev_RewriterRelease",
    }


def test_the_monitoring_files_build(space: Space) -> None:
    assert [body["kind"] for body in built(space, MANIFESTS / "monitoring")] == [
        "ConfigMap",
        "PodMonitor",
        "PrometheusRule",
    ]
