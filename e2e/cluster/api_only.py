"""Only etcd, API server and controller manager, as plain processes on free loopback ports: no root, a few seconds.

For integration tests. One that belongs to a process (a test run) has that process's number in its name, so that runs
side by side never meet; it and its files go with the process, and what a killed run left goes at the next start.
"""

import re
import shutil
import socket
from contextlib import suppress
from dataclasses import replace

from e2e.cluster.build import Programs, ensure_parts
from e2e.cluster.cluster import ControlPlane
from e2e.cluster.configs import kubeconfig
from e2e.cluster.detach import start_detached
from e2e.cluster.file_lock import exclusive
from e2e.cluster.local import Tell, end, follow_start, healthy
from e2e.cluster.parts import CONTROL_PLANE_PARTS
from e2e.cluster.paths import ClusterPaths, existing_clusters
from e2e.cluster.pki import ensure_pki, identities
from e2e.cluster.plan import Plan
from e2e.cluster.programs import ControlPlanePorts, control_plane_programs
from e2e.cluster.state import read_state, start_time

OWNED = re.compile(r"api-.+-of-(?P<owner>[0-9]+)")
"""Directory of a control plane that belongs to a process."""


def paths_of(name: str) -> ClusterPaths:
    """Its own directory: a control plane and a cluster of the same name do not meet."""
    return ClusterPaths.of(f"api-{name}")


def up(
    name: str,
    tell: Tell,
    until_exit_of: int | None = None,
    watch_cache: bool = True,
    endpoints: bool = True,
    as_shipped: bool = False,
) -> ControlPlane:
    """Returns the running control plane of this name, started if need be.

    `watch_cache`, `endpoints`, `as_shipped`: see ControlPlanePorts; when it is started. `until_exit_of`: the process
    that it belongs to. Whoever asks with the same name and process gets the same one.
    """
    if until_exit_of is not None:
        collect_leftovers()
        name = f"{name}-of-{until_exit_of}"
    paths = paths_of(name)
    programs = ensure_parts(CONTROL_PLANE_PARTS, tell)
    paths.root.mkdir(parents=True, exist_ok=True)
    with exclusive(paths.lock):
        state = read_state(paths.state)
        if not (state and state.alive() and healthy(state)):
            end(paths)
            _prepare(
                paths,
                programs,
                replace(_free_ports(), watch_cache=watch_cache, endpoints=endpoints, as_shipped=as_shipped),
            )
            start_detached(
                ("e2e.cluster.api_only_supervisor", name, str(until_exit_of or 0)), paths.logs / "supervisor.log"
            )
            follow_start(paths, state, tell)
    kubectl, cache = programs.path("kubectl"), paths.root / "kubectl-cache"
    return ControlPlane(name, paths.kubeconfig, kubectl, lambda: down(name), kubectl_cache=cache)


def down(name: str) -> None:
    """Ends it and waits for its last process; does nothing when there is none."""
    paths = paths_of(name)
    if paths.root.is_dir():
        _end(paths)


def collect_leftovers() -> None:
    """Ends and removes control planes of processes that were killed together with their supervisor."""
    for directory in existing_clusters():
        found = OWNED.fullmatch(directory)
        if found and start_time(int(found["owner"])) is None:
            with suppress(FileNotFoundError):  # another run collects the same one
                _end(ClusterPaths.of(directory))


def _end(paths: ClusterPaths) -> None:
    """Files of one that belongs to a process go too: no later run has the same name."""
    with exclusive(paths.lock):
        end(paths)
        if OWNED.fullmatch(paths.name):
            shutil.rmtree(paths.root, ignore_errors=True)


def _prepare(paths: ClusterPaths, programs: Programs, ports: ControlPlanePorts) -> None:
    for fresh in (paths.config, paths.logs, paths.etcd):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
    paths.progress.unlink(missing_ok=True)
    pki = ensure_pki(paths.pki, paths.name)
    server = f"https://127.0.0.1:{ports.api}"
    for identity in identities(paths.name):
        (paths.config / f"{identity.name}.kubeconfig").write_text(kubeconfig(server, pki, identity.name))
    paths.kubeconfig.write_text(kubeconfig(server, pki, "admin"))
    paths.kubeconfig.chmod(0o600)
    wanted = tuple(control_plane_programs(programs, paths, pki, ports))
    Plan(wanted, paths.logs, paths.progress).write(paths.config / "plan.json")
    (paths.config / "api-port").write_text(str(ports.api))


def _free_ports() -> ControlPlanePorts:
    """Ports that the kernel just gave out; a race for them ends in a failed start with the log's "address in use"."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c, socket.socket() as d:
        for listener in (a, b, c, d):
            listener.bind(("127.0.0.1", 0))
        etcd, peer, api, manager = (listener.getsockname()[1] for listener in (a, b, c, d))
    # A node here is a test's stand-in: on a busy machine its silence means nothing.
    return ControlPlanePorts(
        etcd, peer, api, manager, bind="127.0.0.1", advertise="127.0.0.1", node_grace_seconds=86_400
    )
