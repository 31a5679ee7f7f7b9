"""Proves on a running cluster what the demo relies on: registry, pods, DNS, the volume, logs, and a weighted route.

Makes everything in a namespace of its own and removes it again.
"""

import hashlib
import http.client
import json
import secrets
import time
from collections import Counter
from urllib.parse import urlsplit

from e2e.cluster.build import ensure_parts
from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.image_archive import image_config, layer_with
from e2e.cluster.local import Tell
from e2e.cluster.paths import PACKAGE

REQUESTS = 400
REPOSITORY_NAME = "rewriter/probe"
# 10 % of 400 requests is 40 with a standard deviation of 6: outside of this, the split is wrong, not unlucky.
CANDIDATE_RANGE = range(16, 66)


def check(cluster: Cluster, tell: Tell) -> None:
    """Raises ClusterError at the first thing that does not work."""
    started = time.monotonic()

    def passed(what: str) -> None:
        tell("smoke", what, time.monotonic() - started)

    tag = secrets.token_hex(4)
    _push_probe(cluster, tag, tell)
    passed("image pushed")
    namespace = f"smoke-{tag}"
    manifest = (PACKAGE / "manifests" / "smoke.yaml").read_text()
    image = f"{cluster.node_registry}/{REPOSITORY_NAME}:{tag}"
    values = {"NAMESPACE": namespace, "IMAGE": image, "VOLUME_DIR": str(cluster.volume_dir)}
    for key, value in values.items():
        manifest = manifest.replace(key, value)
    try:
        cluster.kubectl("apply", "-f", "-", input=manifest)
        cluster.kubectl("-n", namespace, "rollout", "status", "deployment", "--timeout=60s")
        passed("pods run")
        cluster.kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/client")
        answer = cluster.kubectl("-n", namespace, "logs", "client")
        if answer != "incumbent":
            raise ClusterError(f"a pod asked the Service by its DNS name and got {answer!r}, not 'incumbent'")
        passed("service by DNS")
        passed(f"split {_split(cluster, namespace)}")
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        cluster.kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--wait=false")


def _split(cluster: Cluster, host: str) -> str:
    """The answers of REQUESTS requests to a route of 90/10, by backend; none may fail."""
    wait = 'jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].status}=True'
    cluster.kubectl("-n", host, "wait", f"--for={wait}", "httproute/split", "--timeout=30s")
    _await_route(cluster, host)
    answers = Counter(_get(cluster, host) for _ in range(REQUESTS))
    if set(answers) != {"incumbent", "candidate"} or answers["candidate"] not in CANDIDATE_RANGE:
        raise ClusterError(f"a 90/10 route answered {dict(answers)} of {REQUESTS} requests")
    return f"{answers['incumbent']}/{answers['candidate']}"


def _await_route(cluster: Cluster, host: str) -> None:
    """Accepted means that Contour took the route; Envoy hears of it a moment later."""
    deadline = time.monotonic() + 10
    while _get(cluster, host) not in ("incumbent", "candidate"):
        if time.monotonic() > deadline:
            raise ClusterError(f"{cluster.gateway} does not answer for host {host!r} 10 s after its route was accepted")
        time.sleep(0.1)


def _get(cluster: Cluster, host: str) -> str:
    address = urlsplit(cluster.gateway)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host})
        response = connection.getresponse()
        text = response.read().decode()
    except OSError as error:
        return f"error {error}"
    finally:
        connection.close()
    return text if response.status == 200 else f"status {response.status}"


def _push_probe(cluster: Cluster, tag: str, tell: Tell) -> None:
    """The registry's own protocol, so that the check needs no image builder."""
    layer = layer_with(ensure_parts({"node"}, tell).path("probe"))
    config = image_config(layer, ["/probe"])
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **_upload(cluster.registry, config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **_upload(cluster.registry, layer)}],
    }
    connection = http.client.HTTPConnection(cluster.registry, timeout=30)
    headers = {"Content-Type": str(manifest["mediaType"])}
    connection.request("PUT", f"/v2/{REPOSITORY_NAME}/manifests/{tag}", json.dumps(manifest), headers)
    _expect(connection, 201)


def _upload(registry: str, blob: bytes) -> dict[str, object]:
    """Uploads a blob; returns how a manifest refers to it."""
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    connection = http.client.HTTPConnection(registry, timeout=30)
    connection.request("POST", f"/v2/{REPOSITORY_NAME}/blobs/uploads/")
    location = urlsplit(_expect(connection, 202))
    headers = {"Content-Type": "application/octet-stream"}
    connection.request("PUT", f"{location.path}?{location.query}&digest={digest}", blob, headers)
    _expect(connection, 201)
    return {"digest": digest, "size": len(blob)}


def _expect(connection: http.client.HTTPConnection, status: int) -> str:
    """Reads the answer away; returns its Location."""
    response = connection.getresponse()
    body = response.read()
    if response.status != status:
        raise ClusterError(f"the registry answered {response.status} instead of {status}: {body[:200]!r}")
    return response.headers.get("Location", "")
