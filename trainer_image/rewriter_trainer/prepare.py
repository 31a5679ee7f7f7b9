"""The prepare pod: checks everything that a cycle needs, imports the base model, writes the resolved spec. Runs once.

    REWRITER_PREPARE='{...}' REWRITER_STORAGE='{...}' python -m rewriter_trainer.prepare

Before anything else it removes what ended cycles left and nobody needs (retention.py), so that a cycle does not wait
for room that is there to be had. Problems are a result: all of them are collected and told through the termination
message with exit code 0; another exit code means that this program itself failed. Nothing is written to the volume
while there is a problem, and torch is loaded only when everything else is sound.
"""

import logging
import os
import re
import sys
from pathlib import Path

from rewriter_contract import env, volume, wire
from rewriter_contract.agent import WorkFailed
from rewriter_contract.full_volume import is_full
from rewriter_contract.messages import (
    VOLUME_FULL,
    PrepareOrder,
    PrepareResult,
    Problem,
    PromotionRecord,
    StorageOrder,
    StorageResult,
    WeightsRef,
)
from rewriter_contract.shards import replace_file
from rewriter_contract.weights import WeightsRefused
from rewriter_trainer import termination
from rewriter_trainer.check_chat import chat_message, check_chat
from rewriter_trainer.check_data import check_data
from rewriter_trainer.check_model import ModelReport, check_model
from rewriter_trainer.check_services import check_services
from rewriter_trainer.free_space import Need, free_bytes, need, room_problem
from rewriter_trainer.owner import claim, is_used, owner_problem
from rewriter_trainer.retention import Removed, retain

TOLD_PATHS = 5
"""Paths of each kind in the answer; the pod's log has all of them."""

log = logging.getLogger(__name__)


def prepare(
    root: Path, order: PrepareOrder, writer: str, storage: StorageOrder | None = None, release: str = ""
) -> PrepareResult:
    """Check, and where all is well import the base model and write the cycle's spec.

    Without a storage order (an operator from before there were any) nothing is removed, and no room is asked for.
    Without a release nobody asks whose directory it is.
    """
    taken = _taken(root, release, at_once=is_used(root))
    if taken is not None:  # before anything is removed: it is another release's
        return PrepareResult(problems=(taken,))
    removed = retain(root, storage) if storage else Removed()
    model = check_model(root, order.model_path)
    _log("model", model.problems)
    promoted, record_problems = read_promoted(root)
    _log("promoted.json", record_problems)
    data = check_data(root, order.data_files, [ref.version for ref in promoted.stages.values()] if promoted else [])
    _log("data", data.problems)
    services = check_services(order.services, order.health_path, order.models_path)
    _log("services", services.problems)
    spec_problems = check_spec(root, order)
    _log("spec", spec_problems)

    needed = need(root, model, order, storage, data.rows.get("gate", 0)) if storage else None
    free = free_bytes(root)
    room = room_problem(needed, free, storage) if storage else None
    _log("room", [room] if room else [])

    problems = [*model.problems, *data.problems, *services.problems, *record_problems, *spec_problems]
    problems += [room] if room else []
    base = None
    if not problems and (taken := _taken(root, release, at_once=True)):
        problems = [taken]
    if not problems:
        base, problems = _import(root, order, model, writer, storage)
    if not problems:
        problems = _write_spec(root, order, writer, storage)
    return PrepareResult(
        problems=tuple(problems),
        base=base,
        data_digests=data.digests,
        train_queries=data.rows.get("train", 0),
        gate_queries=data.rows.get("gate", 0),
        relevance_model=services.relevance_model,
        promoted=promoted,
        last_cycle=last_cycle(root),
        storage=_told(removed, free, needed) if storage else None,
    )


def _told(removed: Removed, free: int | None, needed: Need | None) -> StorageResult:
    return StorageResult(
        removed=tuple(removed.paths[:TOLD_PATHS]),
        removed_count=len(removed.paths),
        freed_bytes=removed.freed_bytes,
        left=tuple(text[:200] for text in removed.left[:TOLD_PATHS]),
        left_count=len(removed.left),
        trouble=removed.trouble[:300],
        free_bytes=free,
        needed_bytes=needed.total if needed else None,
    )


def _write_spec(root: Path, order: PrepareOrder, writer: str, storage: StorageOrder | None) -> list[Problem]:
    try:
        replace_file(volume.resolve(root, volume.spec_file(order.cycle)), order.resolved_spec.encode(), writer)
    except OSError as error:
        if not is_full(error):
            raise
        return [_full(storage, f"{volume.spec_file(order.cycle)} could not be written", error)]
    return []


def _full(storage: StorageOrder | None, what: str, error: Exception) -> Problem:
    claim = storage.claim if storage else "the volume of spec.volume.claimName"
    return Problem(VOLUME_FULL, f"{claim} is full: {what} ({error}); make room; it goes on by itself then")


def _taken(root: Path, release: str, at_once: bool) -> Problem | None:
    """Whether another release has the directory. A new one becomes this release's only when nothing else is wrong."""
    if not release:
        return None
    found = claim(root, release) if at_once else owner_problem(root, release)
    _log("owner", [found] if found else [])
    return found


def check_spec(root: Path, order: PrepareOrder) -> list[Problem]:
    """A cycle's spec never changes once it is written. Cycle 0 trains nothing: its spec is only a record."""
    path = volume.resolve(root, volume.spec_file(order.cycle))
    if order.cycle == 0 or not path.exists() or path.read_text(encoding="utf-8") == order.resolved_spec:
        return []
    message = (
        f"{volume.spec_file(order.cycle)} is on the volume with another content: cycle {order.cycle} has run with "
        f"another spec; start a new cycle, or move {volume.cycle_dir(order.cycle)} away"
    )
    return [Problem("SpecChanged", message)]


def read_promoted(root: Path) -> tuple[PromotionRecord | None, list[Problem]]:
    """promoted.json of a release that was here before; a record that cannot be read is a problem, never ignored."""
    path = root / volume.PROMOTED
    if not path.exists():
        return None, []
    try:
        return wire.loads(PromotionRecord, path.read_bytes(), volume.PROMOTED), []
    except wire.WireError as error:
        message = f"{error}; restore the file, or remove it to start without an incumbent"
        return None, [Problem("PromotionRecordInvalid", message)]


def last_cycle(root: Path) -> int:
    """Highest cycle number that has a directory on the volume; 0 where none has."""
    directory = root / "cycles"
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return max((int(name) for name in names if re.fullmatch(r"\d{4,}", name)), default=0)


def _import(
    root: Path, order: PrepareOrder, model: ModelReport, writer: str, storage: StorageOrder | None
) -> tuple[WeightsRef | None, list[Problem]]:
    from rewriter_trainer.import_base import import_base  # loads torch: only now

    try:
        problems = _check_chat(root, order)
        if problems:
            return None, problems
        base = import_base(root, model, order.dtype, order.seed, writer)
    except (WorkFailed, WeightsRefused, ValueError, OSError) as error:  # transformers refuses models with these
        text = f"{order.model_path}: {type(error).__name__}: {error}; export the model again"
        problem = Problem("ModelInvalid", text)
        if is_full(error):
            problem = _full(storage, f"{order.model_path} could not be imported", error)
        _log("import", [problem])
        return None, [problem]
    log.info("import: ok, %s", base.version)
    return base, []


def _check_chat(root: Path, order: PrepareOrder) -> list[Problem]:
    message = chat_message(order.resolved_spec)
    problems = check_chat(order.model_path, volume.resolve(root, order.model_path), message) if message else []
    _log("chat template", problems)
    return problems


def _log(check: str, problems: list[Problem] | tuple[Problem, ...]) -> None:
    for problem in problems:
        log.warning("%s: %s: %s", check, problem.reason, problem.message)
    if not problems:
        log.info("%s: ok", check)


def main() -> int:
    """Do the order in the environment."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    order = wire.loads(PrepareOrder, os.environ[env.PREPARE], env.PREPARE)
    told = os.environ.get(env.STORAGE)
    storage = wire.loads(StorageOrder, told, env.STORAGE) if told else None
    result = prepare(
        Path(os.environ[env.VOLUME_ROOT]), order, os.environ[env.POD_UID], storage, os.environ.get(env.RELEASE, "")
    )
    termination.write(termination.fit(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
