"""Runs a command in a built image as a restricted pod would: uid 10001, read-only root, /tmp and /dev/shm writable.

    python -m e2e.cluster.image_build.sandbox IMAGE [--bind HOST:INSIDE] -- COMMAND ...

For checks on a machine with buildah and no cluster. It isolates mounts and processes, not a hostile program.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence

from e2e.cluster.errors import ClusterError
from e2e.cluster.image_build.tools import Buildah, choose_tool
from e2e.cluster.images import build

USER = "10001:10001"


def entry_script(root: str, environment: Sequence[str], binds: Sequence[str], command: Sequence[str]) -> str:
    """The shell script that, in a new mount and process namespace, makes the file system and enters it."""
    inside = shlex.quote(root)
    lines = [
        "set -e",
        f"mount --bind {inside} {inside}",
        f"mount -o remount,bind,ro {inside}",
        f"mount -t proc proc {inside}/proc",
        f"mount --rbind /sys {inside}/sys",
        f"mount --bind /dev {inside}/dev",
        f"mount -t tmpfs -o mode=1777 tmpfs {inside}/dev/shm",
        f"mount -t tmpfs -o mode=1777 tmpfs {inside}/tmp",
    ]
    for bind in binds:
        host, _, target = bind.partition(":")
        if not target.startswith("/tmp/"):
            raise ClusterError(f"--bind {bind!r}: the place inside must be below /tmp, the rest is read-only")
        lines.append(f"mkdir -p {shlex.quote(root + target)}")
        lines.append(f"mount --bind {shlex.quote(host)} {shlex.quote(root + target)}")
    lines.append(f"exec chroot --userspec={USER} {inside} /usr/bin/env -i {shlex.join([*environment, *command])}")
    return "\n".join(lines)


def run(name: str, command: Sequence[str], binds: Sequence[str] = ()) -> int:
    """Builds the image if need be, runs `command` in it, returns its exit code."""
    tool = choose_tool()
    if not isinstance(tool, Buildah):
        raise ClusterError("the sandbox opens images of buildah: set CONTAINER_TOOL=buildah (Docker has `docker run`)")
    reference = build([name])[name]
    environment = json.loads(tool.output("inspect", "--type=image", reference))["OCIv1"]["config"]["Env"]
    container = tool.output("from", "--pull-never", reference)
    try:
        root = tool.output("mount", container)
        script = entry_script(root, environment, binds, command)
        unshare = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c", script]
        return subprocess.run(unshare).returncode
    finally:
        tool.output("umount", container)
        tool.output("rm", container)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster.image_build.sandbox")
    parser.add_argument("image")
    parser.add_argument("--bind", action="append", default=[], metavar="HOST:INSIDE")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    try:
        return run(arguments.image, arguments.command, arguments.bind)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
