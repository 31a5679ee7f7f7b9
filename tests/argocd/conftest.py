"""One real Argo CD for all stories; at the end, everything that it said, as a table and in build/argocd."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from e2e.argocd import installation, program, programs
from e2e.argocd.looks import table
from e2e.cluster import control_plane
from e2e.cluster.paths import REPOSITORY
from e2e.cluster.report import print_line
from tests.argocd.scene import Stage
from tests.faults import cluster_setup

RESULT = REPOSITORY / "build" / "argocd" / "looks.txt"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The control plane, Argo CD's programs, and what they need; a person at a terminal sees every change."""
    built = program.build(print_line)
    directory = tmp_path_factory.mktemp("argocd")
    with ExitStack() as stack:
        plane = control_plane("argocd", until_exit_of=os.getpid())
        stack.callback(plane.down)
        cluster_setup.install(plane)
        installation.install(plane, directory / "install")
        running = programs.start(stack, plane, built, directory)
        stage = Stage(plane, running, directory, _tell if sys.stdout.isatty() else lambda _: None)
        yield stage
    text = table(stage.played)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text + "\n")
    print(f"\n{text}\n{RESULT}", flush=True)


def _tell(text: str) -> None:
    print(text, flush=True)
