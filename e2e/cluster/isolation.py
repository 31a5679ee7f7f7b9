"""Sets up the inside of a cluster's network and mount namespaces, before its first program starts.

Must run only in namespaces of its own: on the machine itself it would cover /run and /var/lib.
"""

import os
import subprocess
from pathlib import Path

from e2e.cluster.network import NODE_IP, SERVICE_CIDR

# Directories in which container tools keep run-time state under fixed names; each cluster sees an empty one.
COVERED = (Path("/run"), Path("/var/lib"), Path("/var/log"))

# The kubelet insists on these values and would write them for the whole machine; here it finds them as it wants them.
KUBELET_WANTS = {
    "kernel/keys/root_maxbytes": "25000000",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
}


def set_up_isolation() -> None:
    if os.getpid() != 1:
        raise RuntimeError("set_up_isolation needs a PID namespace of its own: it would change this machine's mounts")
    for directory in COVERED:
        _do("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(directory))
    # Shared only among the namespaces made below this one, as containers with mount propagation expect it.
    _do("mount", "--make-rshared", "/")
    for name, value in KUBELET_WANTS.items():
        _cover_setting(Path("/proc/sys") / name, value)
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "address", "add", f"{NODE_IP}/32", "dev", "lo")
    # Without any route to Services, processes on the node are refused before kube-proxy translates the address.
    _do("ip", "route", "add", SERVICE_CIDR, "dev", "lo", "src", NODE_IP)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/run/envoy").mkdir()


def _cover_setting(setting: Path, value: str) -> None:
    if not setting.exists() or setting.read_text().strip() == value:
        return
    stand_in = Path("/run/settings") / setting.relative_to("/proc/sys")
    stand_in.parent.mkdir(parents=True, exist_ok=True)
    stand_in.write_text(f"{value}\n")
    _do("mount", "--bind", str(stand_in), str(setting))


def _do(*command: str) -> None:
    subprocess.run(command, check=True)
