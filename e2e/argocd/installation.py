"""Argo CD's objects on a control plane: its makers' install.yaml with our component, put together as users do it.

Its programs run as processes beside the control plane, which has no node for them: their workloads are left out.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.argocd.program import manifests
from e2e.cluster import ControlPlane
from e2e.cluster.established import until_established
from e2e.cluster.paths import REPOSITORY

NAMESPACE: Final = "argocd"
COMPONENT: Final = REPOSITORY / "manifests" / "argocd"
PROCESSES_INSTEAD: Final = frozenset({"Deployment", "StatefulSet", "Service", "NetworkPolicy"})


def install(plane: ControlPlane, directory: Path) -> None:
    """Apply everything but the workloads, into `argocd`; `directory` gets the kustomization (docs/argocd.md)."""
    objects = [item for item in rendered(plane, directory) if item["kind"] not in PROCESSES_INSTEAD]
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(objects))
    until_established(plane, "crd", "--all")


def rendered(plane: ControlPlane, directory: Path) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of install.yaml and the component."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(manifests() / "install.yaml", directory / "install.yaml")
    (directory / "install.yaml").chmod(0o644)
    component = os.path.relpath(COMPONENT, directory.resolve())
    kustomization = {"resources": ["install.yaml"], "components": [component]}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return [item for item in yaml.safe_load_all(plane.kubectl("kustomize", str(directory))) if item]
