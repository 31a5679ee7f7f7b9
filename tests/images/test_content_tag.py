"""A tag must change with everything that is in the image, and with nothing else."""

from pathlib import Path
from types import MappingProxyType

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.image_build.definitions import Image, Variant
from e2e.cluster.image_build.inputs import content_tag, copied_paths, snapshot

IMAGE = Image("program", "program/Dockerfile", MappingProxyType({Variant.CPU: "base:1", Variant.CUDA: "base:2"}))
DOCKERFILE = """FROM base
COPY locks/a.lock \\
     locks/b.lock /build/
COPY --from=other /opt/venv /opt/venv
COPY program/code /app/code
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        ".dockerignore": "*",
        "program/Dockerfile": DOCKERFILE,
        "program/code/main.py": "print(1)",
        "locks/a.lock": "a==1",
        "locks/b.lock": "b==1",
        "README.md": "words",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def tag(root: Path, variant: Variant = Variant.CPU) -> str:
    return content_tag(IMAGE, variant, root)


def test_sources_are_read_over_continued_lines_and_without_other_stages() -> None:
    assert copied_paths(DOCKERFILE) == ["locks/a.lock", "locks/b.lock", "program/code"]


@pytest.mark.parametrize("name", ["program/code/main.py", "locks/b.lock", "program/Dockerfile", ".dockerignore"])
def test_changed_input_changes_the_tag(root: Path, name: str) -> None:
    before = tag(root)
    (root / name).write_text((root / name).read_text() + "\n# changed\n")
    assert tag(root) != before


def test_new_file_changes_the_tag(root: Path) -> None:
    before = tag(root)
    (root / "program/code/more.py").write_text("")
    assert tag(root) != before


def test_renamed_file_changes_the_tag(root: Path) -> None:
    before = tag(root)
    (root / "program/code/main.py").rename(root / "program/code/other.py")
    assert tag(root) != before


def test_file_that_is_not_copied_leaves_the_tag(root: Path) -> None:
    before = tag(root)
    (root / "README.md").write_text("other words")
    (root / "program/code/__pycache__").mkdir()
    (root / "program/code/__pycache__/main.pyc").write_bytes(b"\0")
    assert tag(root) == before


def test_variants_have_different_tags_that_name_them(root: Path) -> None:
    cpu, cuda = tag(root, Variant.CPU), tag(root, Variant.CUDA)
    assert cpu.startswith("cpu-") and cuda.startswith("cuda-")
    assert cpu.removeprefix("cpu-") != cuda.removeprefix("cuda-")


def test_missing_source_is_named(root: Path) -> None:
    (root / "locks/a.lock").unlink()
    with pytest.raises(ClusterError, match=r"locks/a\.lock"):
        tag(root)


def test_snapshot_has_the_same_tag_and_modes_that_every_user_can_read(root: Path, tmp_path: Path) -> None:
    (root / "program/code/main.py").chmod(0o600)
    copy = tmp_path / "snapshot"
    snapshot(IMAGE, root, copy)
    assert tag(copy) == tag(root)
    assert (copy / "program/code/main.py").stat().st_mode & 0o777 == 0o644
    assert not (copy / "README.md").exists()
