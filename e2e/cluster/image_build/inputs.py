"""What an image is made of, and the tag that follows from it.

A tag names content: the same Dockerfile, copied files, base and variant give the same tag on every machine, so an image
whose tag exists is never built or pushed again. Must never hash anything that a Dockerfile does not copy.
"""

import hashlib
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.image_build.definitions import Image, Variant

IGNORED = ("__pycache__",)
IGNORE_FILE = ".dockerignore"
TAG_LENGTH = 16


def copied_paths(dockerfile: str) -> list[str]:
    """The sources of all COPY instructions that read the build context (not another stage)."""
    joined = dockerfile.replace("\\\n", " ")
    sources: list[str] = []
    for line in joined.splitlines():
        words = shlex.split(line, comments=True) if line.startswith("COPY ") else []
        if words and not any(word.startswith("--from=") for word in words):
            sources += [word for word in words[1:-1] if not word.startswith("--")]
    return sources


def copied_files(root: Path, dockerfile: str) -> Iterator[Path]:
    """Every file that the COPY instructions read, in a fixed order."""
    for source in copied_paths(dockerfile):
        path = root / source
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file() and not _ignored(file))
        else:
            raise ClusterError(f"a Dockerfile copies {source}, which is not in the repository")


def _ignored(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part in IGNORED for part in path.parts)


def content_tag(image: Image, variant: Variant, root: Path) -> str:
    """A tag such as `cpu-3f9a1c0b2d4e5f60`: the variant and a digest of everything that goes into the image."""
    dockerfile = (root / image.dockerfile).read_text()
    digest = hashlib.sha256(f"{variant}\n{image.bases[variant]}\n{dockerfile}\n".encode())
    for path in (root / IGNORE_FILE, *copied_files(root, dockerfile)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(root)}\0{executable}\0{content}\n".encode())
    return f"{variant}-{digest.hexdigest()[:TAG_LENGTH]}"


def snapshot(image: Image, root: Path, destination: Path) -> None:
    """Copies the Dockerfile and all it copies, so that an edit during a build cannot get under the tag of the old text.

    Modes are made the same everywhere: a checkout with a strict umask must not give an image that others cannot read.
    """
    dockerfile = root / image.dockerfile
    for source in copied_paths(dockerfile.read_text()):
        (destination / source if (root / source).is_dir() else destination).mkdir(parents=True, exist_ok=True)
    for path in (root / IGNORE_FILE, dockerfile, *copied_files(root, dockerfile.read_text())):
        copy = destination / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
        copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    for directory in (path for path in destination.rglob("*") if path.is_dir()):
        directory.chmod(0o755)
