"""LoRA: what is trained is small, what is published is whole, and all else is as without it."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from rewriter_contract import volume  # noqa: E402
from rewriter_contract.agent import WorkFailed  # noqa: E402
from rewriter_contract.messages import LoraConfig, OptimizerConfig, PhaseOrder  # noqa: E402
from rewriter_contract.weights import manifest_digest, verify  # noqa: E402
from rewriter_trainer.adapters import add_adapters, merged  # noqa: E402
from rewriter_trainer.phase import check_order  # noqa: E402

from . import builders  # noqa: E402
from .builders import rows_with_signal, write_samples  # noqa: E402
from .phase_program import run, steps, tensors, train  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml

RANK = 4
TERMS = ("loss", "loss_preference", "loss_quality", "loss_generation", "grad_norm", "margin", "delta")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model(directory)
    return directory


@pytest.fixture(scope="module")
def volume_root(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    root = tmp_path_factory.mktemp("volume")
    publish_base(root, model_dir)
    return root


@pytest.fixture(scope="module")
def order(volume_root: Path) -> PhaseOrder:
    """14 pairs in steps of 6, 6 and 2, three times, at a rate at which adapters learn."""
    base = builders.base_ref(volume_root)
    optimizer = OptimizerConfig(learning_rate=1e-2, pairs_per_step=6, epochs=3, zero_stage=2)
    shard = write_samples(volume_root, rows_with_signal(7), base.version)
    plain = builders.order(base, shard, optimizer=optimizer, checkpoint_every=4)
    return replace(plain, lora=LoraConfig(rank=RANK, alpha=8.0))


def as_phase(order: PhaseOrder, phase: int) -> PhaseOrder:
    return replace(order, out_version=f"r0001-p{phase:02d}")


@pytest.fixture(scope="module")
def trained(volume_root: Path, order: PhaseOrder) -> list[dict[str, float]]:
    train(volume_root, as_phase(order, 1), 1)
    return steps(volume_root, 1)


def weights_of(root: Path, version: str) -> dict[str, "torch.Tensor"]:
    return dict(load(tensors(root, version)))


def test_adapters_begin_as_nothing_and_merge_to_what_they_computed(model_dir: Path) -> None:
    policy = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    tokens = torch.tensor([[1, 5, 9, 7, 3]])
    with torch.inference_mode():
        plain = policy(tokens).logits
    adapters = add_adapters(policy, LoraConfig(rank=RANK, alpha=8.0))
    learnt = {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert learnt and all("lora_" in name for name in learnt) and not any("lm_head" in name for name in learnt)
    with torch.no_grad():
        assert torch.equal(policy(tokens).logits, plain)
        for name, parameter in learnt.items():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
        changed = policy(tokens).logits
        whole = merged(adapters)
        torch.testing.assert_close(whole(tokens).logits, changed, rtol=1e-5, atol=1e-5)
    assert whole is policy and before.keys() == policy.state_dict().keys()
    assert not torch.allclose(changed, plain, atol=1e-2)


def test_a_phase_learns_with_adapters_and_publishes_whole_weights(
    volume_root: Path, order: PhaseOrder, trained: list[dict[str, float]]
) -> None:
    first, last = trained[:3], trained[-3:]
    assert sum(step["loss"] for step in last) < 0.95 * sum(step["loss"] for step in first)
    assert trained[0]["kl"] == pytest.approx(0.0, abs=1e-6) and trained[-1]["margin"] > 0.1
    directory = volume_root / volume.weights_dir("r0001-p01")
    verify(directory, manifest_digest(directory))
    base, found = weights_of(volume_root, order.base.version), weights_of(volume_root, "r0001-p01")
    assert {name: tensor.shape for name, tensor in base.items()} == {n: tensor.shape for n, tensor in found.items()}
    changed = {name for name in base if not torch.equal(base[name], found[name])}
    assert changed and all(base[name].dim() == 2 and "proj" in name for name in changed)
    ranks = [int(torch.linalg.matrix_rank(found[name] - base[name], tol=1e-6)) for name in changed]
    assert max(ranks) <= RANK


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_workers_train_adapters_as_one_does(
    volume_root: Path, order: PhaseOrder, trained: list[dict[str, float]], stage: int
) -> None:
    phase = 10 + stage
    optimizer = replace(order.optimizer, zero_stage=stage)
    train(volume_root, as_phase(replace(order, optimizer=optimizer), phase), phase, workers=2)
    for name in TERMS:
        expected = [step[name] for step in trained]
        assert [step[name] for step in steps(volume_root, phase)] == pytest.approx(expected, rel=1e-4, abs=1e-5), name
    one, two = weights_of(volume_root, "r0001-p01"), weights_of(volume_root, f"r0001-p{phase}")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_phase_that_is_killed_resumes_its_adapters_bit_by_bit(
    volume_root: Path, order: PhaseOrder, workers: int
) -> None:
    whole, cut = 20 + workers, 30 + workers
    train(volume_root, as_phase(order, whole), whole, workers=workers)
    program = ("tests.trainer.dying_phase", "SIGKILL")
    assert run(volume_root, as_phase(order, cut), cut, workers=workers, program=program) != 0
    checkpoint = volume_root / volume.checkpoint_dir(1, cut)
    written = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    model = len(tensors(volume_root, order.base.version))
    assert 0 < written < model, "neither the frozen weights nor moments of theirs"
    train(volume_root, as_phase(order, cut), cut, workers=workers)
    assert tensors(volume_root, f"r0001-p{cut}") == tensors(volume_root, f"r0001-p{whole}")


def test_adapters_train_in_bfloat16(volume_root: Path, order: PhaseOrder) -> None:
    """The moments and a float32 copy of what is trained are the engine's; what is published is bfloat16."""
    train(volume_root, replace(as_phase(order, 40), dtype="bfloat16"), 40)
    told = steps(volume_root, 40)
    assert told[-1]["margin"] > told[0]["margin"]
    assert {tensor.dtype for tensor in weights_of(volume_root, "r0001-p40").values()} == {torch.bfloat16}


def test_a_model_without_linear_layers_is_refused_with_the_way_out() -> None:
    with pytest.raises(WorkFailed, match=r"takes no adapters .*leave spec\.training\.lora out"):
        add_adapters(torch.nn.Sequential(torch.nn.ReLU()), LoraConfig())


def test_a_rank_of_nothing_is_refused(order: PhaseOrder) -> None:
    with pytest.raises(WorkFailed, match=r"lora\.rank is 0; it must be at least 1"):
        check_order(replace(order, lora=LoraConfig(rank=0)))
