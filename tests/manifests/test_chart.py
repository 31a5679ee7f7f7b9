"""The Helm chart says what manifests/base says. Rendering needs `helm` (docs/install.md says how to get it)."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "manifests" / "helm" / "rewriter-operator"
BASE = ROOT / "manifests" / "base"
HELM = os.environ.get("HELM") or shutil.which("helm")

needs_helm = pytest.mark.skipif(HELM is None, reason="needs helm on PATH, or its path in HELM")


def documents(text: str) -> dict[str, dict[str, Any]]:
    found = [item for item in yaml.safe_load_all(text) if item]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def base() -> dict[str, dict[str, Any]]:
    """What kustomize makes of it: its one transformation is a label."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert [set(item) for item in kustomization["labels"]] == [{"pairs", "includeSelectors"}]
    found = documents("\n---\n".join((BASE / name).read_text() for name in kustomization["resources"]))
    for item in found.values():
        item["metadata"].setdefault("labels", {}).update(kustomization["labels"][0]["pairs"])
    return found


def rendered(*settings: str) -> dict[str, dict[str, Any]]:
    assert HELM is not None
    command = [HELM, "template", "operator", str(CHART), "--namespace=search", "--kube-version=1.35.0"]
    flags = [word for setting in settings for word in ("--set-json", setting)]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    return documents(done.stdout)


def test_the_charts_role_is_the_bases_role() -> None:
    """Without helm: a verb that is added to one is missing in the other."""
    text = (CHART / "templates" / "role.yaml").read_text()
    plain = re.sub(r"^.*\{\{.*\n", "", text, flags=re.MULTILINE)
    chart, expected = documents(plain), documents((BASE / "role.yaml").read_text())
    assert chart["Role/rewriter-operator"]["rules"] == expected["Role/rewriter-operator"]["rules"]
    assert chart.keys() == expected.keys()


def test_the_charts_crds_are_the_generated_ones() -> None:
    for name in ("rewriter.dev_rewriterreleases.yaml", "rewriter.dev_rewriterrevisions.yaml"):
        assert (CHART / "crds" / name).resolve() == ROOT / "crds" / name
    assert len(list((CHART / "crds").iterdir())) == 2


@needs_helm
def test_with_its_defaults_it_renders_the_base() -> None:
    found = rendered()
    for item in found.values():
        assert item["metadata"].pop("namespace") == "search"
    assert found == base()


@needs_helm
def test_every_value_reaches_its_place() -> None:
    found = rendered(
        "replicas=2",
        'images={"operator":"r/o:1","trainer":"r/t:1","sampler":"r/s:1","pullSecrets":[{"name":"a"},{"name":"b"}],'
        '"pullPolicy":"Always"}',
        'workers="4"',
        "lease.seconds=30",
        "podDisruptionBudget.enabled=true",
        'networkPolicy={"enabled":true,"metricsFrom":[{"namespaceSelector":{}}]}',
        'podMonitor={"enabled":true,"labels":{"release":"prometheus"}}',
        'nodeSelector={"zone":"a"}',
        'tolerations=[{"operator":"Exists"}]',
        'topologySpreadConstraints=[{"maxSkew":1}]',
        'affinity={"nodeAffinity":{}}',
        'priorityClassName="high"',
        'resources={"limits":{"memory":"1Gi"}}',
    )
    deployment = found["Deployment/rewriter-operator"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    environment = {item["name"]: item.get("value") for item in container["env"]}
    assert deployment["replicas"] == 2
    assert (container["image"], container["imagePullPolicy"]) == ("r/o:1", "Always")
    assert (
        environment
        | {
            "TRAINER_IMAGE": "r/t:1",
            "SAMPLER_IMAGE": "r/s:1",
            "PULL_POLICY": "Always",
            "PULL_SECRETS": "a,b",
            "WORKERS": "4",
            "LEASE_SECONDS": "30",
        }
        == environment
    )
    assert pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"zone": "a"}, [{"operator": "Exists"}])
    assert (pod["topologySpreadConstraints"], pod["affinity"]) == ([{"maxSkew": 1}], {"nodeAffinity": {}})
    assert (pod["priorityClassName"], container["resources"]["limits"]) == ("high", {"memory": "1Gi"})
    assert found["PodDisruptionBudget/rewriter-operator"]["spec"]["minAvailable"] == 1
    assert found["NetworkPolicy/rewriter-operator"]["spec"]["ingress"][1]["from"] == [{"namespaceSelector": {}}]
    assert found["PodMonitor/rewriter-operator"]["metadata"]["labels"]["release"] == "prometheus"


@needs_helm
def test_a_budget_over_one_replica_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps its node from being drained"):
        rendered("podDisruptionBudget.enabled=true")
