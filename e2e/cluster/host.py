"""Checks that this machine can carry a local cluster, and installs the Debian programs that it lacks.

Every refusal is one sentence with its remedy. Installing starts no service of the host.
"""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.configs import CNI_PROGRAMS
from e2e.cluster.debian_packages import install
from e2e.cluster.disk import require_disk_space
from e2e.cluster.errors import ClusterError
from e2e.cluster.init import SEARCH_PATH
from e2e.cluster.isolation import COVERED
from e2e.cluster.paths import REPOSITORY, cache_root

OTHER_WAYS = "or use another cluster: CLUSTER=kind where Docker runs, CLUSTER=existing with KUBECONFIG"
NODE_DISK_BYTES = 3 * 1024**3


@dataclass(frozen=True)
class Need:
    """A program of the host and the Debian package that has it."""

    program: str
    package: str


NEEDS = (
    Need("containerd", "containerd"),
    Need("ctr", "containerd"),
    Need("runc", "runc"),
    Need("iptables", "iptables"),
    Need("conntrack", "conntrack"),
    Need("ip", "iproute2"),
    Need("unshare", "util-linux"),
    Need("nsenter", "util-linux"),
    Need("mount", "mount"),
    Need("openssl", "openssl"),
)
CNI_PACKAGE = "containernetworking-plugins"


def prepare_host() -> Path:
    """Refuses, or installs what is missing; returns the directory of the CNI programs."""
    _require_linux_root()
    _require_cache_outside_of_covered_directories()
    require_disk_space(NODE_DISK_BYTES, "a node")
    if missing := missing_packages():
        install(missing, f"install their like with this machine's package manager, {OTHER_WAYS}")
    _require_kernel_features()
    directory = cni_programs()
    if directory is None:
        raise ClusterError(f"{CNI_PACKAGE} is installed, but its programs are in none of {', '.join(CNI_PROGRAMS)}")
    return directory


def missing_packages() -> list[str]:
    """The Debian packages of all needed programs that this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"
    packages = {need.package for need in NEEDS if shutil.which(need.program, path=path) is None}
    if cni_programs() is None:
        packages.add(CNI_PACKAGE)
    return sorted(packages)


def cni_programs() -> Path | None:
    wanted = ("ptp", "host-local", "portmap", "loopback")
    for candidate in map(Path, CNI_PROGRAMS):
        if all((candidate / program).exists() for program in wanted):
            return candidate
    return None


def _require_linux_root() -> None:
    if platform.system() != "Linux":
        raise ClusterError(f"CLUSTER=local needs Linux, this is {platform.system()}: {OTHER_WAYS[3:]}")
    if os.geteuid() != 0:
        raise ClusterError(f"CLUSTER=local makes namespaces and mounts and needs root: run it with sudo, {OTHER_WAYS}")


def _require_cache_outside_of_covered_directories() -> None:
    for needed in (cache_root(), REPOSITORY):
        for covered in COVERED:
            if needed.is_relative_to(covered):
                raise ClusterError(
                    f"{needed} is below {covered}, which is empty inside of the cluster's namespaces: "
                    "set REWRITER_CACHE (or move the checkout) elsewhere, such as under /home or /srv"
                )


def _require_kernel_features() -> None:
    """Tries each feature in throw-away namespaces, which tells more than any list of modules."""
    if "overlay" not in Path("/proc/filesystems").read_text():
        subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
    features = {
        "namespaces for net, mount and PID": ("unshare", "--net", "--mount", "--pid", "--fork", "true"),
        "virtual Ethernet pairs (veth)": ("unshare", "--net", "ip", "link", "add", "name", "ve0", "type", "veth"),
        "address translation (iptables nat)": ("unshare", "--net", "iptables", "-t", "nat", "-S"),
        "the overlay file system": ("grep", "-q", "overlay", "/proc/filesystems"),
    }
    for feature, command in features.items():
        attempt = subprocess.run(command, capture_output=True, text=True)
        if attempt.returncode != 0:
            said = attempt.stderr.strip() or f"exit {attempt.returncode}"
            raise ClusterError(
                f"this kernel does not give {feature} ({' '.join(command)}: {said}); a container needs to be started "
                f"privileged for it, {OTHER_WAYS}"
            )
