"""Renders the configuration files of a cluster's programs: pure text; `write_configs` alone touches the disk."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.network import API_PORT, CLUSTER_DOMAIN, NODE_IP, POD_CIDR, REGISTRY_PORT
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import Pki, identities

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "rewriter.dev/pause:1"
CNI_PROGRAMS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")


def kubeconfig(server: str, pki: Pki, identity: str) -> str:
    """A self-contained kubeconfig: certificates inline, so that it can be copied or mounted anywhere."""

    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    user = {
        "client-certificate-data": inline(pki.certificate(identity)),
        "client-key-data": inline(pki.key(identity)),
    }
    return _yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "local", "cluster": {"server": server, "certificate-authority-data": inline(pki.authority)}}
            ],
            "users": [{"name": identity, "user": user}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": identity}}],
            "current-context": "local",
        }
    )


def containerd_config(paths: ClusterPaths, cni_programs: Path) -> str:
    return f"""\
version = 2
root = "{paths.containerd}"
state = "/run/containerd/state"

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # The node may run where lowering an oom_score_adj is refused; without this no container starts there.
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_programs}"
    conf_dir = "{paths.config}/cni"
"""


def cni_config() -> str:
    """Point-to-point links instead of a bridge.

    All traffic between pods then passes the node's routing, so replies through a Service are translated back even where
    the kernel lacks br_netfilter.
    """
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni",
        "ranges": [[{"subnet": POD_CIDR}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "mtu": 1500, "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}, indent=1)


def kubelet_config(paths: ClusterPaths, pki: Pki) -> str:
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.authority)},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            # Each cluster has a control group of its own: a kubelet deletes pod groups it does not know.
            "cgroupRoot": f"/{cgroup_name(paths.name)}",
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "clusterDNS": [NODE_IP],
            "clusterDomain": CLUSTER_DOMAIN,
            "resolvConf": str(paths.config / "resolv.conf"),
            "podLogsDir": str(paths.logs / "pods"),
            "volumePluginDir": str(paths.kubelet / "volume-plugins"),
            "serializeImagePulls": False,
            # The disk is shared with whatever else the machine does: the node must not evict pods or delete images
            # because of somebody else's files.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"},
        }
    )


def kube_proxy_config(paths: ClusterPaths) -> str:
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": POD_CIDR,
            "hostnameOverride": paths.name,
            "clientConnection": {"kubeconfig": str(paths.config / "kube-proxy.kubeconfig")},
            # A network namespace other than the machine's first cannot set the connection table's size.
            "conntrack": {"maxPerCore": 0, "min": 0},
            "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }
    )


def corefile(paths: ClusterPaths) -> str:
    """Cluster names from the API server; any other name does not exist here, and says so at once."""
    return f""".:53 {{
    bind {NODE_IP}
    errors
    health 127.0.0.1:8082
    ready 127.0.0.1:8181
    cache 5
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {paths.config}/admin.kubeconfig
        pods insecure
        ttl 5
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def contour_config() -> str:
    return _yaml(
        {
            "gateway": {"gatewayRef": {"namespace": "gateway-system", "name": "rewriter"}},
            # A pod that is gone must show as an error at once. How long an answer may take, each route says itself.
            "timeouts": {"connect-timeout": "2s"},
            "accesslog-format": "json",
        }
    )


def registry_config(paths: ClusterPaths) -> str:
    return _yaml(
        {
            "version": "0.1",
            "log": {"accesslog": {"disabled": True}, "level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(paths.registry)}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"},
        }
    )


def cgroup_name(cluster: str) -> str:
    return f"rewriter-e2e-{cluster}"


@dataclass(frozen=True)
class HostPorts:
    """What the relays listen on."""

    api: int
    gateway: int
    registry: int


def write_configs(paths: ClusterPaths, pki: Pki, cni_programs: Path, ports: HostPorts) -> None:
    """All files that the programs of a local cluster read, and the kubeconfigs."""
    inside = f"https://127.0.0.1:{API_PORT}"
    files = {
        "containerd.toml": containerd_config(paths, cni_programs),
        "cni/10-pods.conflist": cni_config(),
        "kubelet.yaml": kubelet_config(paths, pki),
        "kube-proxy.yaml": kube_proxy_config(paths),
        "Corefile": corefile(paths),
        "contour.yaml": contour_config(),
        "registry.yml": registry_config(paths),
        # Pods get their resolver from clusterDNS; those with dnsPolicy Default have none, as the node has none.
        "resolv.conf": "",
    }
    for identity in identities(paths.name):
        files[f"{identity.name}.kubeconfig"] = kubeconfig(inside, pki, identity.name)
    for name, text in files.items():
        target = paths.config / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    paths.kubeconfig.write_text(kubeconfig(f"https://127.0.0.1:{ports.api}", pki, "admin"))
    paths.kubeconfig.chmod(0o600)


def _yaml(document: dict[str, Any]) -> str:
    return str(yaml.safe_dump(document, sort_keys=False))
