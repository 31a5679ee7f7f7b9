"""The one process of a local cluster in the host's namespaces: starts init in its own, relays ports, cleans up.

Its death, even by SIGKILL, ends the cluster: the kernel then kills init, and with init everything in its namespaces.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from e2e.cluster import cgroups, relay
from e2e.cluster.configs import HostPorts, cgroup_name, write_configs
from e2e.cluster.detach import detached
from e2e.cluster.linux import die_with_parent, enter_network_of
from e2e.cluster.network import API_PORT, GATEWAY_PORT, REGISTRY_PORT
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import Pki
from e2e.cluster.state import ClusterState, read_state, start_time, write_state

UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def main(name: str, cni_programs: str) -> None:
    paths = ClusterPaths.of(name)
    previous = read_state(paths.state)
    listeners = {
        "api": relay.listen(previous.api_port if previous else 0),
        "gateway": relay.listen(previous.gateway_port if previous else 0),
        "registry": relay.listen(previous.registry_port if previous else 0),
    }
    ports = HostPorts(**{what: listener.getsockname()[1] for what, listener in listeners.items()})
    write_configs(paths, Pki(paths.pki), Path(cni_programs), ports)
    cgroups.remove(cgroup_name(name))
    cgroups.create(cgroup_name(name))
    reading, writing = os.pipe()
    init = subprocess.Popen(
        [*UNSHARE, sys.executable, "-m", "e2e.cluster.isolated_init", str(paths.config / "plan.json"), str(reading)],
        pass_fds=(reading,),
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    os.close(reading)
    _await_namespace(init)
    enter_network_of(init.pid)
    state = ClusterState(os.getpid(), start_time(os.getpid()) or 0, init.pid, ports.api, ports.gateway, ports.registry)
    write_state(paths.state, state)
    targets = {
        listeners["api"]: API_PORT,
        listeners["gateway"]: GATEWAY_PORT,
        listeners["registry"]: REGISTRY_PORT,
    }
    try:
        asyncio.run(_until_end(init, targets))
    finally:
        # Init ends when this pipe does, and `unshare` only after every process in there is gone.
        os.close(writing)
        try:
            init.wait(timeout=15)
        except subprocess.TimeoutExpired:
            init.kill()
            init.wait()
        cgroups.remove(cgroup_name(name))


def _await_namespace(init: subprocess.Popen[bytes]) -> None:
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and init.poll() is None:
        if os.readlink(f"/proc/{init.pid}/ns/net") != own:
            return
        time.sleep(0.005)
    raise RuntimeError("`unshare` ended, or made no namespaces within 10 s: see this log's lines above")


async def _until_end(init: subprocess.Popen[bytes], targets: dict[socket.socket, int]) -> None:
    """Returns at SIGTERM or when init is gone."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    relays = asyncio.ensure_future(relay.serve(targets))
    while not stopped.is_set() and init.poll() is None:
        try:
            await asyncio.wait_for(stopped.wait(), timeout=0.2)
        except TimeoutError:
            continue
    relays.cancel()


if __name__ == "__main__":
    detached(ClusterPaths.of(sys.argv[1]).progress, "supervisor", lambda: main(*sys.argv[1:]))
