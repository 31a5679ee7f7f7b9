"""Argo CD's one program, built from its Go module, and the manifests that its makers ship with it."""

import shutil
from pathlib import Path
from typing import Final

from e2e.cluster.build import ensure_parts, module_source
from e2e.cluster.local import Tell
from e2e.cluster.parts import NEWER_GO, QUICK_TO_BUILD, GoPart

MODULE: Final = "github.com/argoproj/argo-cd/v3"
VERSION: Final = "3.6.1"
PART: Final = GoPart(
    "argocd",
    (f"{MODULE}/cmd",),
    ldflags=f"-s -w -X {MODULE}/common.version={VERSION}",
    gcflags=QUICK_TO_BUILD,
    modules=Path(__file__).parent / "go",
    compiler=NEWER_GO,
)


def build(tell: Tell) -> Path:
    """The program, from the cache or built in some minutes; the name that it is started by says which role it plays."""
    return ensure_parts({PART.name}, tell, (PART,)).path("cmd")


def manifests() -> Path:
    """The directory of its makers' manifests."""
    return module_source(PART, MODULE) / "manifests"


def install_scripts(directory: Path) -> None:
    """What repo-server calls by name, as its makers' image has it beside the program."""
    script = directory / "git-verify-wrapper.sh"
    shutil.copyfile(module_source(PART, MODULE) / "hack" / script.name, script)
    script.chmod(0o755)
