"""Argo CD's programs as processes on loopback: redis, repo-server, application-controller and the API server.

They see the cluster as their own (`https://kubernetes.default.svc`), as in a cluster that they run in.
"""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.argocd.api import Api
from e2e.argocd.installation import NAMESPACE
from e2e.argocd.program import install_scripts
from e2e.bench.scale.subject import Subject
from e2e.cluster import ClusterError, ControlPlane
from e2e.cluster.debian_packages import install
from e2e.cluster.probe import is_ready
from tests.ports import kept_port

START_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 2
"""Between two comparisons with Git, when nothing else asks for one; Argo CD's own default is two minutes."""
REVISION_SECONDS: Final = 1
"""How long the newest commit of a repository is taken from the cache."""


@dataclass(frozen=True)
class Programs:
    """What runs, and the way to it."""

    api: Api
    subjects: tuple[Subject, ...]

    def must_live(self) -> None:
        """
        Raises:
            RuntimeError: with the end of the log of one that has ended.
        """
        for subject in self.subjects:
            subject.must_live()


def start(stack: ExitStack, plane: ControlPlane, program: Path, directory: Path) -> Programs:
    """Run them until the stack ends; returns when all are ready. `directory` gets their files and logs."""
    (directory / "bin").mkdir()
    install_scripts(directory / "bin")
    redis, repository, metrics, server = (kept_port() for _ in range(4))
    settings = _Settings(plane, program, directory, f"127.0.0.1:{redis}", f"127.0.0.1:{repository}")
    subjects = (
        settings.redis(redis),
        settings.repo_server(repository),
        settings.controller(metrics),
        settings.server(server),
    )
    ready = (
        f"tcp:127.0.0.1:{redis}",
        f"tcp:127.0.0.1:{repository}",
        f"http://127.0.0.1:{metrics}/healthz",
        f"http://127.0.0.1:{server}/healthz",
    )
    for subject, address in zip(subjects, ready, strict=True):
        subject.start()
        stack.callback(subject.stop)
        _wait(subject, address)
    return Programs(Api(f"http://127.0.0.1:{server}"), subjects)


def _wait(subject: Subject, address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_ready(address):
        subject.must_live()
        if time.monotonic() > end:
            raise ClusterError(f"{address} is not ready after {START_SECONDS:.0f} s; see {subject.log}")
        time.sleep(0.2)


@dataclass(frozen=True)
class _Settings:
    plane: ControlPlane
    program: Path
    directory: Path
    redis_address: str
    repository_address: str

    def redis(self, port: int) -> Subject:
        if shutil.which("redis-server") is None:
            install(["redis-server"], "Argo CD keeps its cache in it")
        flags = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
        return Subject(("redis-server", *flags), {**os.environ}, self.directory / "redis.log")

    def repo_server(self, port: int) -> Subject:
        flags = (
            "--address=127.0.0.1",
            f"--port={port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={kept_port()}",
            "--disable-tls",
            "--client-ca-path=",
            f"--redis={self.redis_address}",
            f"--revision-cache-expiration={REVISION_SECONDS}s",
        )
        return self._subject("argocd-repo-server", flags)

    def controller(self, port: int) -> Subject:
        flags = (
            *self._cluster(),
            f"--metrics-port={port}",
            f"--app-resync={LOOK_SECONDS}",
            "--app-resync-jitter=0",
            "--status-processors=4",
            "--operation-processors=2",
        )
        return self._subject("argocd-application-controller", flags)

    def server(self, port: int) -> Subject:
        flags = (
            *self._cluster(),
            "--address=127.0.0.1",
            f"--port={port}",
            f"--metrics-port={kept_port()}",
            "--insecure",
            "--disable-auth",
        )
        return self._subject("argocd-server", flags)

    def _cluster(self) -> tuple[str, ...]:
        return (
            f"--kubeconfig={self.plane.kubeconfig}",
            f"--namespace={NAMESPACE}",
            f"--redis={self.redis_address}",
            f"--repo-server={self.repository_address}",
            "--repo-server-plaintext",
        )

    def _subject(self, role: str, flags: Sequence[str]) -> Subject:
        """Its name is its role, as in its makers' image; it is also the name under which it writes to the cluster."""
        name = self.directory / "bin" / role
        name.symlink_to(self.program)
        return Subject((str(name), *flags), {**os.environ, **self._environment()}, self.directory / f"{role}.log")

    def _environment(self) -> dict[str, str]:
        """Every file that they would look for below /app is here; none of the machine's own settings are read."""
        home = self.directory / "home"
        for name in ("tmp", "tls", "ssh", "gpg", "config"):
            (home / name).mkdir(parents=True, exist_ok=True)
        return {
            "HOME": str(home),
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(home / "tmp"),
            "KUBECONFIG": str(self.plane.kubeconfig),
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_TLS_DATA_PATH": str(home / "tls"),
            "ARGOCD_SSH_DATA_PATH": str(home / "ssh"),
            "ARGOCD_GNUPGHOME": str(home / "gpg"),
            "ARGOCD_APP_CONF_PATH": str(home / "config"),
            "ARGOCD_ASK_PASS_SOCK": str(home / "ask-pass.sock"),
            "ARGOCD_LOG_FORMAT": "text",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
