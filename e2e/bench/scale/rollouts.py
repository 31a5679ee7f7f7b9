"""The Argo Rollouts controller: its program, the CRDs and rights that its makers ship, and Istio's kinds."""

from pathlib import Path
from typing import Final

import yaml

from e2e.bench.scale.ground import Ground
from e2e.cluster.build import Programs, ensure_parts, module_source
from e2e.cluster.local import Tell
from e2e.cluster.parts import NEWER_GO, GoPart

MODULE: Final = "github.com/argoproj/argo-rollouts"
NAME: Final = "argo-rollouts"
PROGRAM: Final = "rollouts-controller"
# Compiled as its makers do, optimised: it is measured.
PART: Final = GoPart(
    "rollouts",
    (f"{MODULE}/cmd/{PROGRAM}",),
    crd_files={MODULE: ("manifests/crds/*-crd.yaml",)},
    crds=(
        "analysisruns.argoproj.io",
        "analysistemplates.argoproj.io",
        "clusteranalysistemplates.argoproj.io",
        "experiments.argoproj.io",
        "rollouts.argoproj.io",
    ),
    modules=Path(__file__).parent / "go",
    compiler=NEWER_GO,  # it asks for Go 1.26.10
)
_ISTIO: Final = Path(__file__).with_name("istio.yaml")


def build(tell: Tell) -> Programs:
    """The program and its CRDs, from the cache or built."""
    return ensure_parts({PART.name}, tell, (PART,))


def install(ground: Ground, programs: Programs, namespace: str) -> None:
    """CRDs, and a service account that may in its namespace what the makers' ClusterRole allows."""
    plane = ground.plane
    for crds in (programs.crds(PART.name), _ISTIO):
        plane.kubectl("apply", "--server-side", "-f", str(crds))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    plane.kubectl("apply", "-f", str(module_source(PART, MODULE) / "manifests/role/argo-rollouts-clusterrole.yaml"))
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": NAME},
        "roleRef": role,
        "subjects": [account],
    }
    ours = ({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}}, binding)
    plane.kubectl("-n", namespace, "apply", "-f", "-", input=yaml.safe_dump_all(ours))
