"""The loss beside the formulas of TRL 0.28, the last release with BCO's running delta, written a second time.

In plain Python, from log-probabilities of single tokens, a batch at a time: `sigmoid`, `bco_pair`, and the token mean
of `sft`. Of delta TRL has in step t what we have in step t + 1 (decision 0022).
"""

import math
import random
from dataclasses import dataclass
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract.messages import MpoConfig  # noqa: E402
from rewriter_trainer.loss import PairLogProbs, RunningMean, StepSize, mpo_loss  # noqa: E402

pytestmark = pytest.mark.ml


@dataclass(frozen=True)
class PeerPair:
    """Log-probabilities of every token."""

    chosen: list[float]
    rejected: list[float]
    reference_chosen: list[float]
    reference_rejected: list[float]


class PeerMoments:
    """As their RunningMoments: each batch moves the mean by its own distance from it, weighted by its size."""

    def __init__(self) -> None:
        self.mean, self.count = 0.0, 1e-24

    def update(self, rewards: list[float]) -> None:
        count = self.count + len(rewards)
        self.mean += (sum(rewards) / len(rewards) - self.mean) * len(rewards) / count
        self.count = count


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def peer_rewards(batch: list[PeerPair], beta: float) -> tuple[list[float], list[float]]:
    chosen = [beta * (sum(pair.chosen) - sum(pair.reference_chosen)) for pair in batch]
    rejected = [beta * (sum(pair.rejected) - sum(pair.reference_rejected)) for pair in batch]
    return chosen, rejected


def peer_loss(batch: list[PeerPair], config: MpoConfig, delta: float) -> float:
    losses = 0.0
    for pair in batch:
        logits = (sum(pair.chosen) - sum(pair.rejected)) - (sum(pair.reference_chosen) - sum(pair.reference_rejected))
        losses += config.preference * -log_sigmoid(config.beta * logits)
    for chosen, rejected in zip(*peer_rewards(batch, config.beta), strict=True):
        losses += config.quality * (-log_sigmoid(chosen - delta) - log_sigmoid(-(rejected - delta)))
    tokens = [value for pair in batch for value in pair.chosen]
    return losses / len(batch) + config.generation * -sum(tokens) / len(tokens)


def random_pair(source: random.Random) -> PeerPair:
    def tokens(count: int) -> list[float]:
        return [-source.expovariate(0.7) for _ in range(count)]

    def near(values: list[float]) -> list[float]:
        return [min(0.0, value + source.gauss(0.3, 2.0)) for value in values]

    chosen, rejected = tokens(source.randint(1, 24)), tokens(source.randint(1, 24))
    return PeerPair(chosen, rejected, near(chosen), near(rejected))


def random_config(source: random.Random) -> MpoConfig:
    weights = [source.choice((0.0, source.uniform(0.1, 2.0))) for _ in range(2)]
    return MpoConfig(*weights, generation=source.uniform(0.1, 2.0), beta=source.choice((0.05, 0.1, 0.5)))


def sums(pairs: list[PeerPair]) -> PairLogProbs:
    def of(name: str) -> "torch.Tensor":
        return torch.tensor([sum(getattr(pair, name)) for pair in pairs])

    chosen, rejected = of("chosen").requires_grad_(), of("rejected").requires_grad_()
    return PairLogProbs(chosen, rejected, of("reference_chosen"), of("reference_rejected"))


@pytest.mark.parametrize("seed", range(40))
def test_every_step_has_the_loss_and_the_delta_of_the_peers_formulas(seed: int) -> None:
    source = random.Random(seed)
    config, pairs_per_step = random_config(source), source.randint(1, 12)
    peer, ours = PeerMoments(), RunningMean()
    for _ in range(6):
        batch = [random_pair(source) for _ in range(pairs_per_step)]
        assert ours.value == pytest.approx(peer.mean, rel=1e-5, abs=1e-6)
        expected = peer_loss(batch, config, peer.mean)
        cuts = sorted({0, pairs_per_step, *(source.randrange(pairs_per_step + 1) for _ in range(3))})
        size = StepSize(pairs_per_step, sum(len(pair.chosen) for pair in batch))
        parts = [mpo_loss(sums(batch[start:end]), config, ours.value, size) for start, end in pairwise(cuts)]
        assert sum(float(part.total.detach()) for part in parts) == pytest.approx(expected, rel=1e-5)
        for part in parts:
            ours = ours.including(part.chosen_rewards).including(part.rejected_rewards)
        peer.update([*peer_rewards(batch, config.beta)[0], *peer_rewards(batch, config.beta)[1]])
    assert abs(peer.mean) > 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_gradients_are_the_slopes_of_the_peers_formulas(seed: int) -> None:
    source = random.Random(seed)
    config, batch, delta = random_config(source), [random_pair(source) for _ in range(5)], source.gauss(0, 0.5)
    pairs = sums(batch)
    mpo_loss(pairs, config, delta, StepSize(5, sum(len(pair.chosen) for pair in batch))).total.backward()

    def slope(index: int, name: str, nudge: float = 1e-4) -> float:
        def at(change: float) -> float:
            nudged = [
                PeerPair(
                    **(
                        vars(pair)
                        | ({name: [getattr(pair, name)[0] + change, *getattr(pair, name)[1:]]} if here else {})
                    )
                )
                for here, pair in ((number == index, pair) for number, pair in enumerate(batch))
            ]
            return peer_loss(nudged, config, delta)

        return (at(nudge) - at(-nudge)) / (2 * nudge)

    for name in ("chosen", "rejected"):
        found = getattr(pairs, name).grad.tolist()
        assert found == pytest.approx([slope(index, name) for index in range(5)], rel=1e-5, abs=1e-6)
