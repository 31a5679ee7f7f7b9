"""A Git repository on this machine, as a team's deploy repository: files in one folder, and commits."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = "rewriter"
WHO: Final = {"NAME": "A Team", "EMAIL": "team@example.org"}


@dataclass(frozen=True)
class Repository:
    """Its working copy; Argo CD reads the same directory."""

    directory: Path

    @classmethod
    def create(cls, directory: Path) -> "Repository":
        """Without a commit yet."""
        directory.mkdir(parents=True)
        repository = cls(directory)
        repository._git("init", "--quiet", "--initial-branch=main")
        return repository

    @property
    def url(self) -> str:
        """For spec.source.repoURL."""
        return f"file://{self.directory}"

    def commit(self, message: str, files: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
        """Write manifests (file name -> objects) and commit them; the commit's name."""
        folder = self.directory / FOLDER
        folder.mkdir(exist_ok=True)
        for name, objects in files.items():
            (folder / name).write_text(yaml.safe_dump_all(objects, sort_keys=False))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in WHO.items()}
        environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.directory, env=environment, check=True, capture_output=True, text=True)
        return done.stdout
