"""kwok as the kubelet of pods that only need a status: its program, its nodes, its process."""

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from e2e.bench.scale.ground import Ground
from e2e.bench.scale.subject import Subject
from e2e.cluster.build import ensure_parts, module_source
from e2e.cluster.local import Tell
from e2e.cluster.parts import GoPart

NODES: Final = tuple(f"kwok-{number}" for number in range(10))
ANNOTATION: Final = "kwok.x-k8s.io/node"
MODULE: Final = "sigs.k8s.io/kwok"
PART: Final = GoPart("kwok", (f"{MODULE}/cmd/kwok",), modules=Path(__file__).parent / "go")
# Without the heartbeat its nodes turn NotReady after 40 s, and nothing on them is ever available.
STAGES: Final = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat/node-heartbeat.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-delete.yaml",
)


def build(tell: Tell) -> Path:
    """The program, from the cache or built."""
    return ensure_parts({PART.name}, tell, (PART,)).path("kwok")


async def start(stack: AsyncExitStack, ground: Ground, program: Path) -> None:
    """Make the nodes, and run kwok over them until the stack ends."""
    for name in NODES:
        metadata = {"name": name, "annotations": {ANNOTATION: "fake"}}
        await ground.client.create("Node", "", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    source = module_source(PART, MODULE) / "kustomize/stage"  # files of the module, not inside the program
    config = ground.directory / "kwok.yaml"
    config.write_text("\n---\n".join((source / stage).read_text() for stage in STAGES))
    command = (
        str(program),
        f"--kubeconfig={ground.plane.kubeconfig}",
        f"--config={config}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        "--server-address=",
    )
    process = Subject(command, {**os.environ, "HOME": str(ground.directory)}, ground.directory / "kwok.log")
    process.start()
    stack.callback(process.stop)
