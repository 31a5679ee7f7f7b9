"""Builds the container images and publishes them to a registry: for the local cluster, the demo, the e2e tests and CI.

    python -m e2e.cluster.images build [NAME ...] [--variant cpu|cuda]
    python -m e2e.cluster.images publish --registry HOST:PORT [NAME ...]

A tag is a digest of what the image is made of, so both are idempotent and fast: what exists is not built again, what
the registry has is not pushed again. There is no `latest`.
"""

import argparse
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.file_lock import exclusive
from e2e.cluster.image_build.definitions import IMAGES, Image, Variant
from e2e.cluster.image_build.inputs import content_tag, snapshot
from e2e.cluster.image_build.tools import Build, Tool, choose_tool
from e2e.cluster.network import NODE_REGISTRY
from e2e.cluster.paths import REPOSITORY, cache_root
from e2e.cluster.report import print_line

LOCAL_PREFIX = "localhost/rewriter"
REGISTRY_PATH = "rewriter"
LOGS = REPOSITORY / "build" / "logs"
MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def build(names: Sequence[str] = tuple(IMAGES), variant: str = Variant.CPU) -> dict[str, str]:
    """Builds what is not built yet; returns each image's reference in the builder's own store.

    One image at a time, whichever processes ask: two that miss the same layer would both make it.
    """
    tool = choose_tool()
    references = {}
    for name in names:
        with exclusive(cache_root() / "images.lock"):
            references[name] = _build_one(tool, _image(name, Variant(variant)), Variant(variant))
    return references


def publish(registry: str, references: Mapping[str, str], node_registry: str = NODE_REGISTRY) -> dict[str, str]:
    """Pushes to `registry` (HOST:PORT, plain HTTP) what it lacks; returns the references that pods use.

    `node_registry` is the same registry's address as the nodes see it.
    """
    tool = choose_tool()
    return {
        name: _publish_one(tool, registry, name, reference, node_registry) for name, reference in references.items()
    }


def _image(name: str, variant: Variant) -> Image:
    image = IMAGES.get(name)
    if image is None:
        raise ClusterError(f"there is no image {name!r}: choose of {', '.join(IMAGES)}")
    if variant not in image.bases:
        raise ClusterError(f"the {name} image has no variant {variant.value!r}, only {', '.join(image.bases)}")
    return image


def _build_one(tool: Tool, image: Image, variant: Variant) -> str:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rewriter-image-") as scratch:
        context = Path(scratch)
        snapshot(image, REPOSITORY, context)
        reference = f"{LOCAL_PREFIX}/{image.name}:{content_tag(image, variant, context)}"
        if tool.has(reference):
            print_line(f"image {image.name}", "is there", time.monotonic() - began)
            return reference
        log = _fresh_log(f"image-{image.name}-{variant}")
        base = image.bases[variant]
        tool.prepare_base(base, log)
        tool.build(Build(context, image.dockerfile, reference, {"BASE": base, "VARIANT": variant}), log)
    print_line(f"image {image.name}", "built", time.monotonic() - began)
    return reference


def _publish_one(tool: Tool, registry: str, name: str, reference: str, node_registry: str) -> str:
    began = time.monotonic()
    tag = reference.rpartition(":")[2]
    path = f"{REGISTRY_PATH}/{name}"
    if registry_has(registry, path, tag):
        print_line(f"image {name}", "is published", time.monotonic() - began)
    else:
        tool.push(reference, f"{registry}/{path}:{tag}", _fresh_log(f"push-{name}"))
        print_line(f"image {name}", "published", time.monotonic() - began)
    return f"{node_registry}/{path}:{tag}"


def registry_has(registry: str, path: str, tag: str) -> bool:
    """Whether the registry has this manifest."""
    url = f"http://{registry}/v2/{path}/manifests/{tag}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFEST_TYPES})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise ClusterError(f"the registry {registry} answered {error.code} to {url}") from error
    except OSError as error:
        raise ClusterError(f"the registry {registry} does not answer ({error}): is the cluster up?") from error


def _fresh_log(name: str) -> Path:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    log.write_bytes(b"")
    return log


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster.images", description="Build and publish the images.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("build", "publish"):
        sub = commands.add_parser(command)
        sub.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; all without any")
        sub.add_argument("--variant", choices=[variant.value for variant in Variant], default=Variant.CPU.value)
    commands.choices["publish"].add_argument("--registry", required=True, metavar="HOST:PORT")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    try:
        references = build(arguments.names or tuple(IMAGES), arguments.variant)
        if arguments.command == "publish":
            references = publish(arguments.registry, references)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    for name, reference in references.items():
        print(f"{name} {reference}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
