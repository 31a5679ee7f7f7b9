"""The two programs that can build these images, buildah and Docker, behind one small interface.

buildah keeps everything (layers, downloads) in our cache directory; nothing of the host's own image store is touched.
Docker uses its daemon's store. `CONTAINER_TOOL=buildah|docker` chooses; otherwise the one that works, buildah first.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e.cluster.debian_packages import install
from e2e.cluster.errors import ClusterError
from e2e.cluster.image_build.debian_base import make_debian_base
from e2e.cluster.image_build.definitions import DEBIAN
from e2e.cluster.image_build.registry_upload import Repository
from e2e.cluster.paths import cache_root

PACKAGES = ("buildah", "mmdebstrap", "containers-storage")
# One of the places where pip looks for settings; nothing else in a Debian image has files there.
PIP_SETTINGS = "/etc/xdg/pip"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# A registry that does not answer (a machine without internet) must not hold up a build for minutes.
PULL_SECONDS = 20


@dataclass(frozen=True)
class Build:
    """One build: `context` is a directory with the files that the Dockerfile copies."""

    context: Path
    dockerfile: str
    reference: str
    arguments: Mapping[str, str]


class Tool(Protocol):
    def has(self, reference: str) -> bool: ...
    def prepare_base(self, base: str, log: Path) -> None: ...
    def build(self, build: Build, log: Path) -> None: ...
    def push(self, reference: str, destination: str, log: Path) -> None: ...


@dataclass(frozen=True)
class Buildah:
    """buildah as root, without any daemon and without a container runtime (chroot isolation)."""

    store: Path

    def has(self, reference: str) -> bool:
        return self._quiet("inspect", "--type=image", reference)

    def prepare_base(self, base: str, log: Path) -> None:
        """Pulls `base`; where no registry answers, makes Debian's from its packages under the same name."""
        if self.has(base):
            return
        offline = os.environ.get("REWRITER_IMAGES_OFFLINE") == "1"
        if not offline and self._quiet("pull", base, timeout=PULL_SECONDS if base == DEBIAN else None):
            return
        if base != DEBIAN:
            raise ClusterError(f"{base} cannot be pulled here: build this variant where its registry answers")
        archive = self.store / "debian-base.tar"
        make_debian_base(archive, log)
        container = self.output("from", "scratch")
        self._run(log, "add", "--quiet", container, str(archive), "/")
        self._run(log, "commit", "--quiet", "--rm", container, base)
        archive.unlink()

    def build(self, build: Build, log: Path) -> None:
        command = ["build", "--layers", "--pull-never", f"--tag={build.reference}", f"--file={build.dockerfile}"]
        command += [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
        command += [f"--volume={self._pip_settings()}:{PIP_SETTINGS}:ro"]
        self._run(log, *command, str(build.context))

    def push(self, reference: str, destination: str, log: Path) -> None:
        registry, _, rest = destination.partition("/")
        if not registry.startswith("127.0.0.1:"):
            self._run(log, "push", "--quiet", reference, destination)
            return
        path, _, tag = rest.rpartition(":")
        manifest = self._stored("get-image-data", reference, "manifest")
        layers = ids_of_layers(self._stored("layers", "--json"))

        def write_blob(digest: str, file: Path) -> None:
            if digest in layers:
                self._stored("diff", "--uncompressed", "--file", str(file), layers[digest])
            else:
                file.write_bytes(self._stored("get-image-data", reference, digest))

        with tempfile.TemporaryDirectory(prefix="push-", dir=self.store) as scratch:
            Repository(registry, path).upload(manifest, tag, write_blob, Path(scratch))

    def _stored(self, *arguments: str) -> bytes:
        """What containers-storage says of buildah's store."""
        roots = ["--graph", str(self.store / "storage"), "--run", str(self.store / "run"), "--storage-driver=overlay"]
        done = subprocess.run(["containers-storage", *roots, *arguments], capture_output=True)
        if done.returncode != 0:
            raise ClusterError(f"containers-storage {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def _pip_settings(self) -> Path:
        """This machine's index, proxy and certificates for pip inside builds, as a mounted directory.

        A build reaches package registries the way this machine does, and nothing of it stays in the image.
        """
        directory = self.store / "pip"
        directory.mkdir(exist_ok=True)
        lines = ["[global]", "default-timeout = 180", "disable-pip-version-check = true", "root-user-action = ignore"]
        for option, variable in (("index-url", "PIP_INDEX_URL"), ("proxy", "HTTPS_PROXY")):
            lines += [f"{option} = {os.environ[variable]}"] if variable in os.environ else []
        certificates = Path(os.environ.get("PIP_CERT", CERTIFICATES))
        if certificates.is_file():
            shutil.copyfile(certificates, directory / "certificates.pem")
            lines.append(f"cert = {PIP_SETTINGS}/certificates.pem")
        (directory / "pip.conf").write_text("\n".join(lines) + "\n")
        return directory

    def _command(self, *arguments: str) -> list[str]:
        roots = [f"--root={self.store / 'storage'}", f"--runroot={self.store / 'run'}", "--storage-driver=overlay"]
        return ["buildah", *roots, *arguments]

    def _environment(self) -> dict[str, str]:
        # TMPDIR is where buildah keeps the directories of `RUN --mount=type=cache`: the downloaded wheels.
        temporary = self.store / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(temporary)}

    def _quiet(self, *arguments: str, timeout: float | None = None) -> bool:
        try:
            done = subprocess.run(
                self._command(*arguments), env=self._environment(), capture_output=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def output(self, *arguments: str) -> str:
        command = self._command(*arguments)
        return subprocess.run(
            command, env=self._environment(), check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    def _run(self, log: Path, *arguments: str) -> None:
        run_logged(self._command(*arguments), log, self._environment())


@dataclass(frozen=True)
class Docker:
    """Docker with its daemon's own store; base images come from the daemon's registries."""

    def has(self, reference: str) -> bool:
        return subprocess.run(["docker", "image", "inspect", reference], capture_output=True).returncode == 0

    def prepare_base(self, base: str, log: Path) -> None:
        if not self.has(base):
            run_logged(["docker", "pull", base], log, dict(os.environ))

    def build(self, build: Build, log: Path) -> None:
        command = ["docker", "build", f"--tag={build.reference}", f"--file={build.context / build.dockerfile}"]
        command += [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
        run_logged([*command, str(build.context)], log, {**os.environ, "DOCKER_BUILDKIT": "1"})

    def push(self, reference: str, destination: str, log: Path) -> None:
        run_logged(["docker", "tag", reference, destination], log, dict(os.environ))
        run_logged(["docker", "push", "--quiet", destination], log, dict(os.environ))


def ids_of_layers(listed: bytes) -> dict[str, str]:
    """Digest -> id, from what containers-storage lists.

    A layer that another build is just making has no digest yet; it is of no image that could be pushed.
    """
    return {layer["diff-digest"]: layer["id"] for layer in json.loads(listed) if "diff-digest" in layer}


def run_logged(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Runs `command` with its output appended to `log`; a failure shows the last lines."""
    with log.open("ab") as stream:
        stream.write(f"$ {' '.join(command)}\n".encode())
        stream.flush()
        done = subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ClusterError(f"`{command[0]}` failed with exit {done.returncode}, see {log}; its last lines:\n{tail}")


def choose_tool() -> Tool:
    """The builder of this machine, installed if need be and possible."""
    wanted = os.environ.get("CONTAINER_TOOL", "")
    if wanted not in ("", "buildah", "docker"):
        raise ClusterError(f"CONTAINER_TOOL is {wanted!r}: it can be buildah or docker")
    if wanted == "docker":
        return Docker()
    if wanted == "" and not shutil.which("buildah") and _docker_answers():
        return Docker()
    _require_buildah()
    store = image_store()
    store.mkdir(parents=True, exist_ok=True)
    return Buildah(store)


def image_store() -> Path:
    """Where buildah keeps layers and images."""
    return cache_root() / "containers"


def _docker_answers() -> bool:
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def _require_buildah() -> None:
    if os.geteuid() != 0:
        raise ClusterError("buildah's chroot isolation needs root: run as root, or set CONTAINER_TOOL=docker")
    missing = [program for program in PACKAGES if not shutil.which(program)]
    if missing:
        install(missing, "or set CONTAINER_TOOL=docker where Docker runs")
