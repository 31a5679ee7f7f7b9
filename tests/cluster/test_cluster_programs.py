"""The list of programs that init runs: it can always make progress, and survives its own file format."""

from pathlib import Path

import pytest

from e2e.cluster.build import Programs
from e2e.cluster.parts import PARTS
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import Pki
from e2e.cluster.plan import Plan
from e2e.cluster.programs import (
    ControlPlanePorts,
    Program,
    control_plane_programs,
    dns_programs,
    gateway_programs,
    node_programs,
)


@pytest.fixture
def programs(tmp_path: Path) -> list[Program]:
    """Everything that a full local cluster runs, with empty files in place of the built programs."""
    directories = {part.name: tmp_path / part.name for part in PARTS}
    for part in PARTS:
        directories[part.name].mkdir()
        for name in part.programs:
            (directories[part.name] / name).touch()
    built, paths = Programs(directories), ClusterPaths(tmp_path / "clusters" / "demo")
    return [
        *control_plane_programs(built, paths, Pki(paths.pki), ControlPlanePorts()),
        *node_programs(built, paths),
        *dns_programs(built, paths),
        *gateway_programs(built, paths),
    ]


def test_programs_can_be_started_one_after_the_other(programs: list[Program]) -> None:
    started: set[str] = set()
    while remaining := [p for p in programs if p.name not in started]:
        startable = {p.name for p in remaining if started.issuperset(p.needs)}
        assert startable, f"waiting for each other, or for a program that is not there: {[p.name for p in remaining]}"
        started |= startable


def test_every_program_that_keeps_running_says_how_to_see_that_it_is_ready(programs: list[Program]) -> None:
    assert [p.name for p in programs if not p.once and not p.ready] == []


def test_no_two_programs_share_a_name_or_a_readiness_address(programs: list[Program]) -> None:
    names = [p.name for p in programs]
    targets = [p.ready for p in programs if p.ready]
    assert len(names) == len(set(names))
    assert len(targets) == len(set(targets))


def test_a_plan_is_read_back_as_it_was_written(programs: list[Program], tmp_path: Path) -> None:
    plan = Plan(tuple(programs), tmp_path / "logs", tmp_path / "progress.jsonl")
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
