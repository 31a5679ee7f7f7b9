"""Command line: `python -m e2e.cluster {up,down,status,build,kubeconfig,kubectl,exec,logs,smoke}`; see README.md."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping

from e2e.cluster import api_only, ensure, local, smoke
from e2e.cluster.build import ensure_parts
from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.image_build.store_mounts import release_store
from e2e.cluster.image_build.tools import image_store
from e2e.cluster.parts import PARTS
from e2e.cluster.paths import ClusterPaths, existing_clusters
from e2e.cluster.report import print_line
from e2e.cluster.state import ClusterState, read_state


def _up(arguments: argparse.Namespace) -> int:
    without = frozenset(feature for feature in arguments.without.split(",") if feature)
    if arguments.control_plane:
        plane = api_only.up(arguments.name, print_line)
        print(f"export KUBECONFIG={plane.kubeconfig}")
        return 0
    cluster = ensure(arguments.name, without, arguments.keep_data)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f"# gateway   {cluster.gateway}")
    print(f"# registry  {cluster.registry} (pods: {cluster.node_registry})")
    print(f"# volume    {cluster.volume_dir}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    names = existing_clusters() if arguments.all else [arguments.name]
    for name in names:
        if arguments.control_plane and not arguments.all:
            api_only.down(name)
        else:
            local.down(name)
        print_line(name, "is down", 0.0)
    if arguments.all:
        release_store(image_store())
    return 0


def _status(_: argparse.Namespace) -> int:
    for name in existing_clusters():
        state = read_state(ClusterPaths.of(name).state)
        if state is None or not state.alive():
            print(f"{name:<24} down")
        else:
            health = "healthy" if local.healthy(state) else "API server does not answer"
            print(f"{name:<24} up, {health}, supervisor pid {state.supervisor}, API 127.0.0.1:{state.api_port}")
    return 0


def _build(_: argparse.Namespace) -> int:
    ensure_parts([part.name for part in PARTS], print_line)
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> int:
    _running(arguments.name)
    print(ClusterPaths.of(arguments.name).kubeconfig)
    return 0


def _kubectl(arguments: argparse.Namespace) -> int:
    _running(arguments.name)
    program = str(ensure_parts({"kubernetes"}, print_line).path("kubectl"))
    kubeconfig = ClusterPaths.of(arguments.name).kubeconfig
    os.execv(program, [program, f"--kubeconfig={kubeconfig}", *_command(arguments)])


def _exec(arguments: argparse.Namespace) -> int:
    command = [*local.enter_command(_running(arguments.name)), *_command(arguments)]
    os.execvp(command[0], command)


def _logs(arguments: argparse.Namespace) -> int:
    logs = ClusterPaths.of(arguments.name).logs
    log = logs / f"{arguments.part}.log"
    if not log.is_file():
        known = ", ".join(sorted(found.stem for found in logs.glob("*.log"))) or "none"
        raise ClusterError(f"cluster {arguments.name!r} has no log of {arguments.part!r}; it has: {known}")
    sys.stdout.write(log.read_text(errors="replace"))
    return 0


def _smoke(arguments: argparse.Namespace) -> int:
    cluster: Cluster = ensure(arguments.name)
    smoke.check(cluster, print_line)
    return 0


def _running(name: str) -> ClusterState:
    state = read_state(ClusterPaths.of(name).state)
    if state is None or not state.alive():
        raise ClusterError(f"cluster {name!r} is not up: start it with `python -m e2e.cluster up --name {name}`")
    return state


def _command(arguments: argparse.Namespace) -> list[str]:
    command: list[str] = arguments.command
    return command[1:] if command[:1] == ["--"] else command


COMMANDS: Mapping[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "up": (_up, "start the cluster (building what is missing) and wait until it is ready"),
    "down": (_down, "end the cluster; images, volume and built parts stay in the cache"),
    "status": (_status, "every cluster of the cache, and whether it runs"),
    "build": (_build, "build and fetch all parts, start nothing"),
    "kubeconfig": (_kubeconfig, "print the path of the kubeconfig"),
    "kubectl": (_kubectl, "run kubectl against the cluster: kubectl -- get pods -A"),
    "exec": (_exec, "run a command in the cluster's namespaces: exec -- ip route"),
    "logs": (_logs, "print the log of one part, such as kubelet"),
    "smoke": (_smoke, "prove on the running cluster that pods, DNS, the volume and a 90/10 route work"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="verb", required=True)
    for verb, (_, text) in COMMANDS.items():
        command = commands.add_parser(verb, help=text, description=text)
        command.add_argument("--name", default="demo", help="the cluster; several can stand side by side")
        if verb in ("up", "down"):
            command.add_argument("--control-plane", action="store_true", help="only etcd and API server, without root")
        if verb == "up":
            command.add_argument("--without", default="", metavar="gateway,dns", help="leave these out")
            command.add_argument("--keep-data", action="store_true", help="keep the objects of the last run")
        if verb == "down":
            command.add_argument("--all", action="store_true", help="every cluster of the cache")
        if verb == "logs":
            command.add_argument("part")
        if verb in ("kubectl", "exec"):
            command.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return COMMANDS[arguments.verb][0](arguments)
    except ClusterError as error:
        print(f"e2e.cluster: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
