"""What is published: the policy's tensors, bit by bit, under the parent's names, with the hashes of the files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from rewriter_contract import volume, weights  # noqa: E402
from rewriter_contract.agent import WorkFailed  # noqa: E402
from rewriter_contract.messages import MpoConfig, OptimizerConfig, PairsConfig, PhaseOrder, WeightsRef  # noqa: E402
from rewriter_trainer import canary, tensor_files  # noqa: E402
from rewriter_trainer.publish import on_this_machine, publish_policy  # noqa: E402
from rewriter_trainer.tensor_files import tensors_as_in, write_tensors  # noqa: E402
from tests.trainer.tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml


@pytest.fixture
def base(tmp_path: Path) -> WeightsRef:
    (tmp_path / "source").mkdir()
    make_model(tmp_path / "source")
    return publish_base(tmp_path, tmp_path / "source")


def policy_of(root: Path, base: WeightsRef, dtype: str = "float32") -> Any:
    """The base, changed as training changes it."""
    models: Any = AutoModelForCausalLM
    policy = models.from_pretrained(root / volume.weights_dir(base.version), dtype=getattr(torch, dtype)).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return policy


def order_of(base: WeightsRef, dtype: str = "float32") -> PhaseOrder:
    return PhaseOrder(
        base=base,
        reference=base,
        samples=(),
        pairs=PairsConfig(),
        mpo=MpoConfig(),
        optimizer=OptimizerConfig(),
        dtype=dtype,
        seed=1,
        reward_revision="r",
        out_version="r0001-p01",
    )


def read_all(directory: Path) -> dict[str, Any]:
    return {name: tensor for file in directory.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("file_bytes", [1 << 30, 40_000])
def test_a_published_set_holds_what_the_library_would_have_written(
    tmp_path: Path, base: WeightsRef, dtype: str, file_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_files, "FILE_BYTES", file_bytes)
    policy = policy_of(tmp_path, base, dtype)

    ref = publish_policy(tmp_path, order_of(base, dtype), policy, "writer")

    directory = tmp_path / volume.weights_dir(ref.version)
    policy.save_pretrained(tmp_path / "library")
    ours, theirs = read_all(directory), read_all(tmp_path / "library")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor), name
    assert (len(list(directory.glob("*.safetensors"))) > 1) == (file_bytes < 1 << 30)
    assert weights.verify(directory, ref.digest).dtype == dtype  # every hash is that of the file
    assert json.loads((directory / "config.json").read_text())["dtype"] == dtype


def test_the_library_loads_a_set_of_several_files(
    tmp_path: Path, base: WeightsRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_files, "FILE_BYTES", 40_000)
    policy = policy_of(tmp_path, base)

    ref = publish_policy(tmp_path, order_of(base), policy, "writer")

    models: Any = AutoModelForCausalLM
    loaded = models.from_pretrained(tmp_path / volume.weights_dir(ref.version))
    for name, tensor in policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()


def test_a_set_of_one_file_can_replace_one_of_several(
    tmp_path: Path, base: WeightsRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(tmp_path, base)
    with monkeypatch.context() as small:
        small.setattr(tensor_files, "FILE_BYTES", 40_000)
        parent = publish_policy(tmp_path, order_of(base), policy, "writer")

    child = PhaseOrder(**vars(order_of(parent)) | {"out_version": "r0001-p02"})
    ref = publish_policy(tmp_path, child, policy, "writer")

    directory = tmp_path / volume.weights_dir(ref.version)
    assert {file.name for file in directory.glob("model*")} == {"model.safetensors"}
    assert weights.verify(directory, ref.digest).parent == parent.version


def test_a_tied_head_is_written_once(tmp_path: Path, base: WeightsRef) -> None:
    policy = policy_of(tmp_path, base)

    ref = publish_policy(tmp_path, order_of(base), policy, "writer")

    assert "lm_head.weight" not in read_all(tmp_path / volume.weights_dir(ref.version))


def test_a_policy_with_other_names_than_its_parents_is_left_to_the_library(tmp_path: Path, base: WeightsRef) -> None:
    policy = policy_of(tmp_path, base)
    names = frozenset(weights.tensor_shapes(tmp_path / volume.weights_dir(base.version)))

    assert tensors_as_in(names, policy) is not None
    assert tensors_as_in(names - {"model.norm.weight"}, policy) is None, "a tensor would be lost"
    assert tensors_as_in(names | {"model.experts.0.weight"}, policy) is None, "a tensor would be missing"


def test_the_librarys_way_gives_the_same_set(tmp_path: Path, base: WeightsRef, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(tmp_path, base)
    monkeypatch.setattr("rewriter_trainer.publish.tensors_as_in", lambda *_: None)

    ref = publish_policy(tmp_path, order_of(base), policy, "writer")

    directory = tmp_path / volume.weights_dir(ref.version)
    for name, tensor in read_all(directory).items():
        assert torch.equal(tensor, policy.state_dict()[name]), name
    assert weights.verify(directory, ref.digest).canary.logprobs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_canary_is_the_files_whatever_measures_it(tmp_path: Path, base: WeightsRef, dtype: str) -> None:
    policy = policy_of(tmp_path, base, dtype)
    ref = publish_policy(tmp_path, order_of(base, dtype), policy, "writer")
    directory = tmp_path / volume.weights_dir(ref.version)
    published = weights.verify(directory, ref.digest).canary

    afresh = canary.measure(directory, dtype, published.token_ids)
    with torch.no_grad():
        policy.model.norm.weight.mul_(3.0)  # the policy goes on; the files do not
    again = canary.measure_in(policy, directory, dtype, published.token_ids)

    assert published.logprobs == pytest.approx(afresh.logprobs, abs=1e-5)
    assert again.logprobs == published.logprobs
    assert float(policy.model.norm.weight.detach().mean()) == pytest.approx(3.0, abs=0.2), "the policy was not touched"


def test_files_without_a_tensor_of_the_policy_are_not_published(tmp_path: Path, base: WeightsRef) -> None:
    policy = policy_of(tmp_path, base)
    kept = {name: tensor for name, tensor in policy.state_dict().items() if name != "model.norm.weight"}
    kept.pop("lm_head.weight")
    write_tensors(tmp_path, kept)

    with pytest.raises(WorkFailed, match=r"model\.norm\.weight is not in the files"):
        canary.measure_in(policy, tmp_path, "float32", (1, 2, 3))


def test_a_sharded_or_distant_policy_is_not_measured_in_place(tmp_path: Path, base: WeightsRef) -> None:
    policy = policy_of(tmp_path, base)

    assert on_this_machine(policy)
    next(policy.parameters()).ds_id = 0
    assert not on_this_machine(policy)
    assert not on_this_machine(policy_of(tmp_path, base).to("meta"))


def test_odd_tensors_keep_their_bytes(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "transposed": torch.arange(6.0).view(2, 3).T,
        "flags": torch.tensor([True, False]),
        "integers": torch.arange(4),
    }

    written = write_tensors(tmp_path, tensors)

    (entry,) = written.values()
    assert entry == weights.file_entries(tmp_path)[0]
    assert entry.size == os.path.getsize(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor), name
