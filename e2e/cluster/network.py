"""The fixed addresses inside a cluster's own network namespace.

Every cluster has the same ones: namespaces keep them apart, so only the relays' ports on the host are chosen freely.
"""

# On the loopback device of the namespace: an address that pods, kubelet and API server can all reach, without a bridge.
NODE_IP = "10.255.0.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
# The first address of SERVICE_CIDR: the Service `kubernetes`.
API_SERVICE_IP = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"

API_PORT = 6443
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
GATEWAY_PORT = 8080
REGISTRY_PORT = 5000
XDS_PORT = 8001

# containerd speaks plain HTTP to a registry only when its host is local.
NODE_REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"
