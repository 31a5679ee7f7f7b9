"""Makes an image of one static program, such as the node's pause image, without any image builder."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def layer_with(program: Path) -> bytes:
    """A layer with one executable file at its root, byte for byte the same each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        member = tarfile.TarInfo(program.name)
        content = program.read_bytes()
        member.size, member.mode = len(content), 0o755
        layer.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def image_config(layer: bytes, entrypoint: list[str]) -> bytes:
    return json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": entrypoint, "User": "65534:65534"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()


def write_docker_archive(program: Path, tag: str, target: Path) -> None:
    """The `docker save` format, which every version of containerd imports under the tag inside."""
    layer = layer_with(program)
    config = image_config(layer, [f"/{program.name}"])
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as archive:
        for name, content in ((config_name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
