"""Installs what the demo needs into a cluster: CRDs, operator, volume, collection, base model, search, relevance.

Idempotent by starting anew: the demo's namespace is deleted first. Data and base models stay on the volume between
runs, named by their content, so that a second run starts warm.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

from e2e.cluster import Cluster, ClusterError
from e2e.cluster.established import until_established
from e2e.cluster.network import GATEWAY_PORT
from e2e.cluster.paths import REPOSITORY
from e2e.demo.profiles import EXPLOIT, Profile

NAMESPACE: Final = "rewriter-demo"
MANIFESTS: Final = Path(__file__).parent / "manifests"
POD_USER: Final = 10001
IMAGES: Final = ("operator", "trainer", "sampler", "demo")
COLLECTION_FILES: Final = ("corpus.jsonl", "queries.jsonl", "qrels")
MAKERS: Final = (
    "beir.py",
    "collection.py",
    "encoder.py",
    "prepare_model.py",
    "tiny_model.py",
    "tiny_prompt.py",
    "vectors.py",
)
"""The sources of what is made of a collection and kept on the volume: when one changes, it is all made again."""
Tell = Callable[[str], None]


class InstallError(RuntimeError):
    """The demo cannot be set up; the message names what is missing."""


@dataclass(frozen=True)
class Site:
    """Where the demo runs."""

    cluster: Cluster
    images: Mapping[str, str]
    """Image name -> reference as pods name it."""
    volume: Path
    """The shared volume's directory, as this machine sees it."""
    collection: str
    """Directory of the collection on the volume."""

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """kubectl in the demo's namespace."""
        return self.cluster.kubectl("-n", NAMESPACE, *arguments, input=input)

    def apply(self, manifest: str, **values: object) -> None:
        """Apply one of the manifests beside this file."""
        self.kubectl("apply", "-f", "-", input=render(manifest, **values))

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))


def render(manifest: str, **values: object) -> str:
    """A manifest with its ${...} filled in; a name without a value is an error."""
    return Template((MANIFESTS / manifest).read_text()).substitute({name: str(value) for name, value in values.items()})


def install(cluster: Cluster, images: Mapping[str, str], profile: Profile, data: Path, host: str, tell: Tell) -> Site:
    """Everything up to a running search without any release; the profile's base model is there.

    Raises:
        InstallError: when the cluster has no volume that this machine can write.
        e2e.cluster.ClusterError: with kubectl's own words.
    """
    if cluster.volume_dir is None:
        raise InstallError("this cluster's volume cannot be written from here; run the demo with CLUSTER=local")
    tell("namespace and volume")
    _start_anew(cluster)
    shutil.rmtree(cluster.volume_dir / "demo" / "runs", ignore_errors=True)  # what earlier runs trained
    collection = _copy_collection(data, cluster.volume_dir)
    site = Site(cluster, images, cluster.volume_dir, collection)
    site.apply("volume.yaml", namespace=NAMESPACE, directory=cluster.volume_dir)
    tell("operator")
    install_operator(cluster, images)
    tell("data files and base model")
    prepare_base(site, profile)
    tell("search engine and relevance models")
    site.apply(
        "services.yaml",
        image=images["demo"],
        collection=collection,
        flaw=EXPLOIT.flaw,
        gateway=_gateway_for_pods(cluster),
        host=host,
    )
    for name in ("rewriter-operator", "relevance", "relevance-flawed", "search"):
        site.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
    return site


def prepare_base(site: Site, profile: Profile) -> str:
    """The directory of the profile's base model on the volume; the collection's data files are there too.

    Raises:
        InstallError: with the job's last words.
    """
    base = begin_base(site, profile)
    _wait_for_job(site, f"prepare-{_base_model(profile)}", seconds=900)
    return base


def begin_base(site: Site, profile: Profile) -> str:
    """Start to prepare the base model, and return its directory on the volume at once; nothing when that began before.

    Two at once would write the same data files: wait for one by `prepare_base` before the next begins.
    """
    model = _base_model(profile)
    base = f"{site.collection}/base-{model}"
    site.apply("prepare.yaml", image=site.images["demo"], collection=site.collection, model=model, base=base)
    return base


def _base_model(profile: Profile) -> str:
    return profile.base or profile.model


def install_operator(cluster: Cluster, images: Mapping[str, str], namespace: str = NAMESPACE) -> None:
    """CRDs from crds/, the operator from manifests/base with this cluster's image references."""
    cluster.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
    until_established(cluster, "crd/rewriterreleases.rewriter.dev")
    overlay = REPOSITORY / "build" / "demo" / "operator"
    overlay.mkdir(parents=True, exist_ok=True)
    environment = [{"name": f"{name.upper()}_IMAGE", "value": images[name]} for name in ("trainer", "sampler")]
    container = {"name": "operator", "image": images["operator"], "env": environment}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "rewriter-operator"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [os.path.relpath(REPOSITORY / "manifests" / "base", overlay)],
        "patches": [{"path": "images.json"}],
    }
    (overlay / "images.json").write_text(json.dumps(patch))
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    cluster.kubectl("apply", "-k", str(overlay))


def remove_release(site: Site, name: str) -> None:
    """Delete a release and wait until its pods are gone, so that the next one has the machine for itself."""
    site.kubectl("delete", "rewriterrelease", name, "--ignore-not-found", "--timeout=60s")
    selector = f"rewriter.dev/release={name}"
    for kind in ("deployments", "pods"):
        site.kubectl("wait", "--for=delete", kind, "-l", selector, "--timeout=120s")


def lay_out_release(site: Site, base: str, sub_path: str) -> None:
    """A fresh directory on the volume for one release: its data files and its base model, as hard links."""
    target = site.volume / sub_path
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(site.volume / site.collection / "data", target / "data", copy_function=os.link)
    shutil.copytree(site.volume / base, target / "base", copy_function=os.link)
    for path in (target, target / "data", target / "base"):
        os.chown(path, POD_USER, POD_USER)


def uninstall(cluster: Cluster) -> None:
    """Take everything of the demo away but what the volume holds."""
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    cluster.kubectl("delete", "persistentvolume", f"{NAMESPACE}-volume", "--ignore-not-found", "--timeout=60s")


def _gateway_for_pods(cluster: Cluster) -> str:
    # Envoy listens on the node itself: there is no load balancer that would give its Service an address.
    path = "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"
    address = cluster.kubectl("get", "nodes", "-o", path)
    return f"http://{address}:{GATEWAY_PORT}"


def _start_anew(cluster: Cluster) -> None:
    uninstall(cluster)
    cluster.kubectl("apply", "-f", "-", input=render("namespace.yaml", namespace=NAMESPACE))


def _copy_collection(data: Path, volume: Path) -> str:
    missing = [name for name in COLLECTION_FILES if not (data / name).exists()]
    if missing:
        raise InstallError(f"{data}: {', '.join(missing)} missing; a collection has the BEIR layout (docs/data.md)")
    files = sorted(path for name in COLLECTION_FILES for path in _files(data / name))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(data)}\n".encode() + file.read_bytes())
    for name in MAKERS:
        digest.update((MANIFESTS.parent / name).read_bytes())
    relative = f"demo/collections/{digest.hexdigest()[:12]}"
    for file in files:
        copy = volume / relative / "beir" / file.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    for directory in (volume / "demo", volume / relative):
        os.chown(directory, POD_USER, POD_USER)
    return relative


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.tsv"))


def last_words(pod: Mapping[str, Any]) -> str:
    """Why a pod does not get on, in Kubernetes' words: evicted, unschedulable, image not pulled, container ended."""
    status = pod["status"]
    words = [f"{status.get('reason', status['phase'])} {status.get('message', '')}"]
    words += [
        f"{condition['type']}: {condition.get('reason', '')} {condition.get('message', '')}"
        for condition in status.get("conditions", [])
        if condition["status"] == "False" and condition.get("message")
    ]
    for container in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
        state = container["state"].get("waiting") or container["state"].get("terminated") or {}
        if state.get("reason") not in (None, "Completed", "PodInitializing"):
            words.append(f"container {container['name']}: {state['reason']} {state.get('message', '')}")
    return f"{pod['metadata']['name']}: " + "; ".join(word.strip() for word in words)


def _last_words_of_job(site: Site, job: str) -> str:
    words = []
    for pod in site.get("pods", "-l", f"job-name={job}")["items"]:
        words.append(last_words(pod))
        with suppress(ClusterError):  # a pod that never started has no log
            words.append(site.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--tail=15"))
    return "\n".join(words) or "it has no pod"


def _wait_for_job(site: Site, name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = site.get("job", name).get("status", {})
        if status.get("succeeded"):
            return
        if any(item["type"] == "Failed" and item["status"] == "True" for item in status.get("conditions", [])):
            raise InstallError(f"job {name} failed:\n{_last_words_of_job(site, name)}")
        time.sleep(1)
    raise InstallError(f"job {name} was not done after {seconds:.0f} s:\n{_last_words_of_job(site, name)}")
