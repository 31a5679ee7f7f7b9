"""Only etcd, API server and controller manager, as plain processes on free loopback ports: no root, a few seconds.

For integration tests, which share one.
"""

import shutil
import socket

from e2e.cluster.build import Programs, ensure_parts
from e2e.cluster.cluster import ControlPlane
from e2e.cluster.configs import kubeconfig
from e2e.cluster.detach import start_detached
from e2e.cluster.local import Tell, end, follow_start, healthy, locked
from e2e.cluster.parts import CONTROL_PLANE_PARTS
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import ensure_pki, identities
from e2e.cluster.plan import Plan
from e2e.cluster.programs import ControlPlanePorts, control_plane_programs
from e2e.cluster.state import read_state


def paths_of(name: str) -> ClusterPaths:
    """Its own directory: a control plane and a cluster of the same name do not meet."""
    return ClusterPaths.of(f"api-{name}")


def up(name: str, tell: Tell, until_exit_of: int | None = None) -> ControlPlane:
    """Returns the running control plane of this name, started if need be.

    `until_exit_of`: the process (a test run, say) after which it ends by itself, should nobody call `down`.
    """
    paths = paths_of(name)
    programs = ensure_parts(CONTROL_PLANE_PARTS, tell)
    paths.root.mkdir(parents=True, exist_ok=True)
    with locked(paths):
        state = read_state(paths.state)
        if not (state and state.alive() and healthy(state)):
            end(paths)
            _prepare(paths, programs)
            start_detached(
                ("e2e.cluster.api_only_supervisor", name, str(until_exit_of or 0)), paths.logs / "supervisor.log"
            )
            follow_start(paths, state, tell)
    return ControlPlane(name, paths.kubeconfig, programs.path("kubectl"), lambda: down(name))


def down(name: str) -> None:
    """Ends it and waits for its last process; does nothing when there is none."""
    paths = paths_of(name)
    if paths.root.is_dir():
        with locked(paths):
            end(paths)


def _prepare(paths: ClusterPaths, programs: Programs) -> None:
    for fresh in (paths.config, paths.logs, paths.etcd):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
    paths.progress.unlink(missing_ok=True)
    pki = ensure_pki(paths.pki, paths.name)
    ports = _free_ports()
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
    return ControlPlanePorts(etcd, peer, api, manager, bind="127.0.0.1", advertise="127.0.0.1")
