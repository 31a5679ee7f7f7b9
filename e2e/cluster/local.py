"""CLUSTER=local: starts, finds and ends clusters on this machine, each in namespaces of its own."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from e2e.cluster import progress
from e2e.cluster.build import Programs, ensure_parts
from e2e.cluster.cgroups import remove as remove_cgroup
from e2e.cluster.cluster import Cluster
from e2e.cluster.configs import PAUSE_IMAGE, cgroup_name
from e2e.cluster.detach import start_detached
from e2e.cluster.errors import ClusterError
from e2e.cluster.file_lock import exclusive
from e2e.cluster.host import prepare_host
from e2e.cluster.image_archive import write_docker_archive
from e2e.cluster.network import NODE_REGISTRY
from e2e.cluster.parts import CONTROL_PLANE_PARTS, PARTS
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import ensure_pki
from e2e.cluster.plan import Plan
from e2e.cluster.probe import is_ready
from e2e.cluster.programs import (
    ControlPlanePorts,
    Program,
    control_plane_programs,
    dns_programs,
    gateway_programs,
    node_programs,
)
from e2e.cluster.state import ClusterState, read_state

OPTIONAL = frozenset({"gateway", "dns"})
# Parts that only an optional feature needs.
PARTS_OF_FEATURE = {"gateway": {"gateway", "envoy"}, "dns": {"dns"}}

Tell = Callable[[str, str, float], None]


def up(name: str, tell: Tell, without: frozenset[str] = frozenset(), keep_data: bool = False) -> Cluster:
    """Returns the running cluster of this name, started if need be; ready when this returns."""
    if unknown := without - OPTIONAL:
        raise ClusterError(f"--without {','.join(sorted(unknown))}: only {', '.join(sorted(OPTIONAL))} can be left out")
    paths = ClusterPaths.of(name)
    paths.root.mkdir(parents=True, exist_ok=True)
    with exclusive(paths.lock):
        state = read_state(paths.state)
        if state and state.alive() and healthy(state):
            return _as_cluster(paths, ensure_parts(CONTROL_PLANE_PARTS, tell), state)
        cni_programs = prepare_host()
        programs = ensure_parts(wanted_parts(without), tell)
        end(paths)
        _prepare(paths, programs, without, keep_data)
        _start(paths, cni_programs)
        follow_start(paths, state, tell)
        started = read_state(paths.state)
        if started is None:
            raise ClusterError(f"cluster {name!r} left no state in {paths.state}: see {paths.logs}/supervisor.log")
        return _as_cluster(paths, programs, started)


def down(name: str) -> None:
    """Ends the cluster and waits for its last process; does nothing when there is none."""
    paths = ClusterPaths.of(name)
    if paths.root.is_dir():
        with exclusive(paths.lock):
            end(paths)


def wanted_parts(without: Iterable[str] = ()) -> set[str]:
    left_out = {part for feature in without for part in PARTS_OF_FEATURE[feature]}
    return {part.name for part in PARTS} - left_out


def enter_command(state: ClusterState) -> tuple[str, ...]:
    """A command prefix that runs what follows in the namespaces of a running cluster."""
    namespaces = f"/proc/{state.namespaces_of}/ns"
    kinds = (f"--net={namespaces}/net", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children")
    return ("nsenter", *kinds, "--")


def _as_cluster(paths: ClusterPaths, programs: Programs, state: ClusterState) -> Cluster:
    return Cluster(
        name=paths.name,
        kubeconfig=paths.kubeconfig,
        kubectl_program=programs.path("kubectl"),
        stop=lambda: down(paths.name),
        gateway=f"http://127.0.0.1:{state.gateway_port}",
        registry=f"127.0.0.1:{state.registry_port}",
        node_registry=NODE_REGISTRY,
        volume_dir=paths.volume,
        enter=enter_command(state),
    )


def healthy(state: ClusterState) -> bool:
    return is_ready(f"https://127.0.0.1:{state.api_port}/readyz")


def _prepare(paths: ClusterPaths, programs: Programs, without: frozenset[str], keep_data: bool) -> None:
    for fresh in (paths.config, paths.kubelet, paths.logs, *(() if keep_data else (paths.etcd,))):
        shutil.rmtree(fresh, ignore_errors=True)
    for directory in (paths.config, paths.kubelet, paths.logs, paths.etcd, paths.registry, paths.containerd):
        directory.mkdir(parents=True, exist_ok=True)
    paths.etcd.chmod(0o700)
    paths.volume.mkdir(exist_ok=True)
    # Pods run as unprivileged users of no group in common; the volume stands for an NFS export that all may write.
    paths.volume.chmod(0o1777)
    paths.progress.unlink(missing_ok=True)
    pki = ensure_pki(paths.pki, paths.name)
    write_docker_archive(programs.path("pause"), PAUSE_IMAGE, paths.config / "pause.tar")
    wanted: list[Program] = control_plane_programs(programs, paths, pki, ControlPlanePorts())
    wanted += node_programs(programs, paths)
    wanted += [] if "dns" in without else dns_programs(programs, paths)
    wanted += [] if "gateway" in without else gateway_programs(programs, paths)
    Plan(tuple(wanted), paths.logs, paths.progress).write(paths.config / "plan.json")


def _start(paths: ClusterPaths, cni_programs: Path) -> None:
    start_detached(("e2e.cluster.supervisor", paths.name, str(cni_programs)), paths.logs / "supervisor.log")


def follow_start(paths: ClusterPaths, before: ClusterState | None, tell: Tell) -> None:
    """Passes on each part's progress; returns when the cluster is up, raises with the end of the log when it is not."""
    patience_seconds = 200.0
    offset, deadline = 0, time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        events, offset = progress.read(paths.progress, offset)
        for event in events:
            match event.what:
                case progress.What.UP:
                    return
                case progress.What.FAILED:
                    raise ClusterError(_start_failure(paths, event.part, event.text))
                case _:
                    tell(event.part, f"{event.what} {event.text}".strip(), event.seconds)
        state = read_state(paths.state)
        if state is not None and state != before and not state.alive():
            raise ClusterError(_start_failure(paths, "supervisor", "was killed"))
        time.sleep(0.03)
    raise ClusterError(_start_failure(paths, "supervisor", f"said nothing for {patience_seconds:.0f} s"))


def _start_failure(paths: ClusterPaths, part: str, text: str) -> str:
    log = paths.logs / f"{part}.log"
    lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
    tail = "\n".join(f"    {line}" for line in lines)
    return f"cluster {paths.name!r} did not start: {part} {text}; its log {log} ends with:\n{tail}"


def end(paths: ClusterPaths) -> None:
    state = read_state(paths.state)
    if state is not None and state.alive():
        os.kill(state.supervisor, signal.SIGTERM)
        if not _gone(state, 20.0):
            os.kill(state.supervisor, signal.SIGKILL)
            if not _gone(state, 5.0):
                raise ClusterError(f"the supervisor of cluster {paths.name!r}, pid {state.supervisor}, does not end")
    # A supervisor that was killed could not do this itself.
    remove_cgroup(cgroup_name(paths.name))


def _gone(state: ClusterState, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while state.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not state.alive()
