"""Fetches the gate's page from a pod that mounts the volume, for `kubectl rewriter report --html`.

By `kubectl exec ... cat`, with the rights, the context and the kubeconfig of whoever runs it: the operator has no
volume, and the pods' control calls know no user. It must never write half a page.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rewriter_operator.cli.asking import Refusal
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names
from rewriter_operator.workloads.pods import VOLUME_MOUNT

SECONDS: Final = 120
END: Final = b"</html>"
ABSENT: Final = "No such file or directory"
"""What cat says of a file that is not there (`LC_ALL` of the images is unset)."""

PREFERRED: Final = (Role.SERVING, Role.SAMPLER, Role.TRAINER)
"""A serving pod has the least to lose by a reader beside it, and stays longest."""


@dataclass(frozen=True)
class Kubectl:
    """The program as the user would call it."""

    options: tuple[str, ...] = ()
    """`--context`, `--kubeconfig`, `-n`."""
    program: str = "kubectl"


def readers(pods: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(pod, container) of the running pods that mount the volume, the best one first."""
    found = []
    for pod in pods:
        role = pod["metadata"].get("labels", {}).get(names.LABEL_ROLE, "")
        going = "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") != "Running"
        if going or role not in PREFERRED:
            continue
        for container in pod["spec"]["containers"]:
            if any(mount["mountPath"] == VOLUME_MOUNT for mount in container.get("volumeMounts", ())):
                found.append((PREFERRED.index(Role(role)), pod["metadata"]["name"], container["name"]))
    return [(name, container) for _, name, container in sorted(found)]


def fetch(kubectl: Kubectl, places: Sequence[tuple[str, str]], path: str) -> bytes:
    """The whole page, from the first of the pods that gives it. `path` is relative to the release's directory.

    Raises:
        Refusal: when the page is not there (any more), or no pod gives it, with what each one said.
    """
    said = []
    for pod, container in places:
        found = _cat(kubectl, pod, container, f"{VOLUME_MOUNT}/{path}")
        if found.returncode == 0 and found.stdout.rstrip().endswith(END):
            return found.stdout
        words = " ".join(found.stderr.decode(errors="replace").split())
        if ABSENT in words:
            raise Refusal(
                f"report: {path} is not on the volume: spec.retention.reports cycles keep theirs, and an edited volume "
                "may have lost it; the findings are in the RewriterRevision (the same command without --html)"
            )
        said.append(f"{pod}: {words or f'{len(found.stdout)} bytes, cut off'}")
    raise Refusal(f"report: no pod gave {path}: {'; '.join(said)}"[:2000])


def _cat(kubectl: Kubectl, pod: str, container: str, path: str) -> "subprocess.CompletedProcess[bytes]":
    command = [kubectl.program, "exec", *kubectl.options, pod, "-c", container, "--", "cat", path]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except FileNotFoundError as error:
        raise Refusal(f"report: --html needs {kubectl.program} on PATH; install it, or mount the claim") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, b"", f"no answer within {SECONDS} s".encode())
