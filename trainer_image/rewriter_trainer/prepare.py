"""The prepare pod: checks everything that a cycle needs, imports the base model, writes the resolved spec. Runs once.

    REWRITER_PREPARE='{...}' python -m rewriter_trainer.prepare

Problems are a result: all of them are collected and told through the termination message with exit code 0; another
exit code means that this program itself failed. Nothing is written to the volume while there is a problem, and torch
is loaded only when everything else is sound.
"""

import logging
import os
import re
import sys
from pathlib import Path

from rewriter_contract import env, volume, wire
from rewriter_contract.agent import WorkFailed
from rewriter_contract.messages import PrepareOrder, PrepareResult, Problem, PromotionRecord, WeightsRef
from rewriter_contract.shards import replace_file
from rewriter_contract.weights import WeightsRefused
from rewriter_trainer import termination
from rewriter_trainer.check_data import check_data
from rewriter_trainer.check_model import ModelReport, check_model
from rewriter_trainer.check_services import check_services

log = logging.getLogger(__name__)


def prepare(root: Path, order: PrepareOrder, writer: str) -> PrepareResult:
    """Check, and where all is well import the base model and write the cycle's spec."""
    model = check_model(root, order.model_path)
    _log("model", model.problems)
    data = check_data(root, order.data_files)
    _log("data", data.problems)
    services = check_services(order.services, order.health_path)
    _log("services", services.problems)
    promoted, record_problems = read_promoted(root)
    _log("promoted.json", record_problems)
    spec_problems = check_spec(root, order)
    _log("spec", spec_problems)

    problems = [*model.problems, *data.problems, *services.problems, *record_problems, *spec_problems]
    base = None
    if not problems:
        base, problems = _import(root, order, model, writer)
    if not problems:
        replace_file(volume.resolve(root, volume.spec_file(order.cycle)), order.resolved_spec.encode(), writer)
    return PrepareResult(
        problems=tuple(problems),
        base=base,
        data_digests=data.digests,
        train_queries=data.rows.get("train", 0),
        gate_queries=data.rows.get("gate", 0),
        relevance_model=services.relevance_model,
        promoted=promoted,
        last_cycle=last_cycle(root),
    )


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
    root: Path, order: PrepareOrder, model: ModelReport, writer: str
) -> tuple[WeightsRef | None, list[Problem]]:
    from rewriter_trainer.import_base import import_base  # loads torch: only now

    try:
        base = import_base(root, model, order.dtype, order.seed, writer)
    except (WorkFailed, WeightsRefused, ValueError, OSError) as error:  # transformers refuses models with these
        problem = Problem(
            "ModelInvalid", f"{order.model_path}: {type(error).__name__}: {error}; export the model again"
        )
        _log("import", [problem])
        return None, [problem]
    log.info("import: ok, %s", base.version)
    return base, []


def _log(check: str, problems: list[Problem] | tuple[Problem, ...]) -> None:
    for problem in problems:
        log.warning("%s: %s: %s", check, problem.reason, problem.message)
    if not problems:
        log.info("%s: ok", check)


def main() -> int:
    """Do the order in the environment."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    order = wire.loads(PrepareOrder, os.environ[env.PREPARE], env.PREPARE)
    result = prepare(Path(os.environ[env.VOLUME_ROOT]), order, os.environ[env.POD_UID])
    termination.write(termination.fit(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
