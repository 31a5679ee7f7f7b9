"""Removes from the volume what ended cycles left and nobody needs: weight sets, samples, checkpoints, old evidence.

Part of the prepare pod, before anything is imported or trained. The order says what stays; what goes is found by exact
names only: a weight set goes when the order of a phase of an ended cycle (cycles/0003/phases/01/order.json) says that
this phase published it. What nothing speaks for is left where it is, and told.

Must never remove what promoted.json names, nor anything while that file cannot be read, is another release's, or is
gone although something was promoted: the operator's status may be stale or empty, and then this is what knows better.
Symlinks are never followed: every step opens a directory by its name in the one before. A tree is renamed to
`.trash-<name>` before it is taken apart, so that no crash leaves half a weight set that looks whole; the next run goes
on with what a crash left. Standard library only.
"""

import json
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rewriter_contract import volume, wire
from rewriter_contract.messages import PASSTHROUGH, PromotionRecord, StorageOrder
from rewriter_contract.weights import Manifest
from rewriter_trainer.trained_record import TrainedCycle

TRASH: Final = ".trash-"

CYCLE_PARTS: Final = frozenset({"spec.json", "phases", "gate"})
"""All that a cycle's directory holds; one that holds more is left."""

_CYCLE: Final = re.compile(r"\d{4,6}")
_PHASE: Final = re.compile(r"\d{2,4}")
_RECORD: Final = re.compile(r"(\d{4,6})\.json")
_UNFINISHED: Final = re.compile(r"\.tmp-.+?-(r\d{4,6}-p\d{2,4}|base-[0-9a-f]{12})")

log = logging.getLogger(__name__)


class Refused(Exception):
    """Nothing may be removed; the sentence says why."""


@dataclass
class Removed:
    """What was done, in paths on the volume."""

    paths: list[str] = field(default_factory=list)
    freed_bytes: int = 0
    left: list[str] = field(default_factory=list)
    """Weight sets and cycles that nothing speaks for, each with the reason."""
    trouble: str = ""


def retain(root: Path, order: StorageOrder) -> Removed:
    """Remove what the order, promoted.json and the volume's own records allow. Once more: it removes nothing more."""
    removed = Removed()
    try:
        served = promoted_versions(root, order.release)
    except Refused as refusal:
        removed.trouble = str(refusal)
        return removed
    try:
        with _opened(str(root)) as top:
            cycles = _read_cycles(top, order)
            _remove_weights(top, cycles, {*order.weights, *served}, removed)
            _remove_cycles(top, cycles, order, removed)
            _remove_records(top, order, {*order.weights, *served}, removed)
    except OSError as error:
        removed.trouble = f"{error.filename or 'the volume'} could not be looked at: {error.strerror}"
    return removed


def promoted_versions(root: Path, release: str) -> frozenset[str]:
    """Every version that promoted.json names.

    Raises:
        Refused: when it cannot be told what is promoted, so that nothing may be removed.
    """
    try:
        record = wire.loads(PromotionRecord, (root / volume.PROMOTED).read_bytes(), volume.PROMOTED)
    except FileNotFoundError:
        claims = root / volume.TURNS
        if claims.is_dir() and any(claims.iterdir()):
            told = f"{volume.TURNS}/ says that something was promoted, and {volume.PROMOTED} is gone"
            raise Refused(f"nothing is removed: {told}; restore the file") from None
        return frozenset()
    except (wire.WireError, OSError) as error:
        raise Refused(f"nothing is removed: {volume.PROMOTED} cannot be read ({error}); restore the file") from error
    if record.release != release:
        told = f"{volume.PROMOTED} is of release {record.release!r}, not of {release!r}"
        raise Refused(f"nothing is removed: {told}; two releases never share spec.volume.subPath")
    refs = [*record.stages.values(), *record.history]
    return frozenset(ref.version for ref in refs if ref.version != PASSTHROUGH)


@dataclass(frozen=True)
class _Cycles:
    """What the volume itself says about its cycles."""

    ended: dict[int, dict[int, str]]
    """Cycle -> phase -> version that the phase publishes, "" where its order does not say; no pod of these is left."""
    current: frozenset[str]
    """Versions of the cycle that begins, of later ones, and of those of which a pod is left."""

    def published(self) -> frozenset[str]:
        """Versions that phases of ended cycles publish."""
        return frozenset(version for phases in self.ended.values() for version in phases.values() if version)


def _read_cycles(top: int, order: StorageOrder) -> _Cycles:
    ended: dict[int, dict[int, str]] = {}
    current: set[str] = set()
    for number, directory in _numbered(top, "cycles", _CYCLE, volume.cycle_dir):
        phases = {}
        for phase, inside in _numbered(directory, "phases", _PHASE, lambda phase: f"phases/{phase:02d}"):
            phases[phase] = _publishes(inside, number, phase)
        if 0 < number < order.cycle and number not in order.busy:
            ended[number] = phases
        else:
            current |= {version for version in phases.values() if version}
    return _Cycles(ended, frozenset(current))


def _publishes(phase_directory: int, cycle: int, phase: int) -> str:
    """The version that the phase's order names, if it is the one that this phase would have."""
    try:
        found = json.loads(_read(phase_directory, "order.json"))["outVersion"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return volume.weights_version(cycle, phase) if found == volume.weights_version(cycle, phase) else ""


def _remove_weights(top: int, cycles: _Cycles, kept: set[str], removed: Removed) -> None:
    with _child(top, "weights") as directory:
        if directory is None:
            return
        published = cycles.published()
        for name in sorted(os.listdir(directory)):
            unfinished = _UNFINISHED.fullmatch(name)
            if name.startswith(TRASH):
                _erased(removed, directory, name)
            elif unfinished and (unfinished[1] in published or unfinished[1].startswith("base-")):
                _discard(removed, directory, name, f"weights/{name}")
            elif name in kept or name in cycles.current or name.startswith(("base-", ".tmp-")):
                continue  # a base is imported once for each content, and every cycle may start from it
            elif name not in published:
                removed.left.append(f"weights/{name}: no phase of an ended cycle says that it published it")
            elif reason := _is_no_set(directory, name):
                removed.left.append(f"weights/{name}: {reason}")
            else:
                _discard(removed, directory, name, f"weights/{name}")


def _is_no_set(weights: int, name: str) -> str:
    """Why the directory is not the weight set that its name says; empty when it is."""
    with _child(weights, name) as directory:
        if directory is None:
            return "it is no directory"
        try:
            version = wire.loads(Manifest, _read(directory, volume.MANIFEST), volume.MANIFEST).version
        except (OSError, wire.WireError) as error:
            return f"its manifest cannot be read ({error})"
    return "" if version == name else f"its manifest is that of {version}"


def _remove_cycles(top: int, cycles: _Cycles, order: StorageOrder, removed: Removed) -> None:
    """Checkpoints of all ended cycles, samples and pairs of older ones, all of the oldest."""
    newest = sorted(cycles.ended, reverse=True)
    with _child(top, "cycles") as directory, _child(top, "weights") as weights:
        if directory is None:
            return
        for name in sorted(name for name in os.listdir(directory) if name.startswith(TRASH)):
            _erased(removed, directory, name)
        present = set(os.listdir(weights)) if weights is not None else set()
        for age, number in enumerate(newest):
            phases = cycles.ended[number]
            # As long as one of its sets is there, the cycle's orders are what says whose it is.
            stays = age < order.report_cycles or number in order.reports or not present.isdisjoint(phases.values())
            if not stays:
                _remove_cycle(directory, number, removed)
                continue
            for phase in phases:
                _remove_parts(directory, number, phase, age >= order.sample_cycles, removed)


def _remove_records(top: int, order: StorageOrder, kept: set[str], removed: Removed) -> None:
    """What a cycle trained on goes once no weight set on the volume descends from the cycle.

    A damaged record hides what its sets descend from: then all stay.
    """
    with _child(top, volume.TRAINED) as directory, _child(top, "weights") as weights:
        if directory is None:
            return
        records: dict[int, dict[str, str]] = {}
        for name in sorted(os.listdir(directory)):
            if name.startswith(TRASH):
                _erased(removed, directory, name)
            elif (found := _RECORD.fullmatch(name)) and volume.trained_file(int(found[1])).endswith(f"/{name}"):
                try:
                    cycle = wire.loads(TrainedCycle, _read(directory, name), name)
                except (OSError, wire.WireError) as error:
                    removed.left.append(f"{volume.TRAINED}/{name}: it cannot be read ({error}), so all records stay")
                    return
                records[int(found[1])] = {phase.version: phase.base for phase in cycle.phases}
        bases = {version: base for phases in records.values() for version, base in phases.items()}
        needed = _descended_from({*kept, *(os.listdir(weights) if weights is not None else ())}, bases)
        for number, phases in records.items():
            over = 0 < number < order.cycle and number not in order.busy
            if over and needed.isdisjoint(phases):
                path = volume.trained_file(number)
                _discard(removed, directory, Path(path).name, path)


def _descended_from(versions: set[str], bases: Mapping[str, str]) -> set[str]:
    """The versions and all that they descend from."""
    found, waiting = set[str](), list(versions)
    while waiting:
        version = waiting.pop()
        if version not in found:
            found.add(version)
            waiting += [bases[version]] if version in bases else []
    return found


def _remove_cycle(directory: int, number: int, removed: Removed) -> None:
    name = Path(volume.cycle_dir(number)).name
    with _child(directory, name) as cycle:
        odd = sorted(set(os.listdir(cycle)) - CYCLE_PARTS) if cycle is not None else []
    if odd:
        removed.left.append(f"{volume.cycle_dir(number)}: it also holds {', '.join(odd)[:100]}")
    else:
        _discard(removed, directory, name, volume.cycle_dir(number))


def _remove_parts(directory: int, cycle: int, phase: int, samples_too: bool, removed: Removed) -> None:
    parts = [volume.checkpoint_dir(cycle, phase)]
    if samples_too:
        parts += [volume.samples_dir(cycle, phase), volume.pairs_dir(cycle, phase)]
    inside = Path(volume.phase_dir(cycle, phase)).relative_to("cycles")
    with _descended(directory, inside.parts) as phase_directory:
        if phase_directory is None:
            return
        for path in parts:
            name = Path(path).name
            _erased(removed, phase_directory, TRASH + name)
            _discard(removed, phase_directory, name, path)


def _discard(removed: Removed, parent: int, name: str, path: str) -> None:
    """Rename, then take apart. Somebody else may be doing the same: whoever comes second finds nothing."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        _erase(parent, TRASH + name)  # of an earlier run that was cut off
        os.rename(name, TRASH + name, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)
    except FileNotFoundError:
        return
    except OSError as error:
        removed.trouble = f"{path} could not be removed: {error.strerror}"
        return
    if _erased(removed, parent, TRASH + name):
        log.info("removed %s", path)
        removed.paths.append(path)


def _erased(removed: Removed, parent: int, name: str) -> bool:
    """Take apart what was renamed; what resists is told, and tried again by the next run."""
    try:
        removed.freed_bytes += _erase(parent, name)
    except OSError as error:
        removed.trouble = f"{name} could not be removed: {error.strerror}"
        return False
    return True


def _erase(parent: int, name: str) -> int:
    """Remove a file, a symlink (never what it leads to) or a directory with all that it holds; returns the bytes."""
    try:
        entry = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(entry.st_mode):
            os.unlink(name, dir_fd=parent)
            return entry.st_size
        with _opened(name, parent) as directory:
            size = sum(_erase(directory, child) for child in os.listdir(directory))
        os.rmdir(name, dir_fd=parent)
        return size
    except FileNotFoundError:
        return 0


@contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    """A directory by its name in another one; a symlink is none."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | (0 if parent is None else os.O_NOFOLLOW), dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _child(parent: int, name: str) -> Iterator[int | None]:
    """The same; None for what is not there, or no directory."""
    try:
        entry = os.stat(name, dir_fd=parent, follow_symlinks=False)
        is_there = stat.S_ISDIR(entry.st_mode)
    except FileNotFoundError:
        is_there = False
    if not is_there:
        yield None
        return
    with _opened(name, parent) as descriptor:
        yield descriptor


def _numbered(parent: int, name: str, form: re.Pattern[str], path: Callable[[int], str]) -> Iterator[tuple[int, int]]:
    """Number and directory of everything in the directory `name` that is called as `path` calls its number."""
    with _child(parent, name) as directory:
        if directory is None:
            return
        for entry in sorted(os.listdir(directory)):
            if form.fullmatch(entry) and path(int(entry)) == f"{name}/{entry}":
                with _child(directory, entry) as found:
                    if found is not None:
                        yield int(entry), found


@contextmanager
def _descended(parent: int, names: tuple[str, ...]) -> Iterator[int | None]:
    """A directory several names below `parent`, none of them a symlink."""
    with _child(parent, names[0]) as first:
        if first is None or len(names) == 1:
            yield first
            return
        with _descended(first, names[1:]) as last:
            yield last


def _read(directory: int, name: str) -> bytes:
    """A file's bytes; a symlink raises, and a pipe is empty instead of waited for."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory), "rb") as file:
        return file.read()
