"""Synthetic evidence with known effects, for the gate's tests: everything has a default that passes."""

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from rewriter_contract.messages import EvidenceRow, EvidenceRows, SampledDraw
from tests.builders import RELEVANCE, REWARD

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se")
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]


@dataclass(frozen=True)
class World:
    """What the two sides are like; effects are candidate minus incumbent."""

    queries: int = 80
    reward_gain: float = 0.08
    reward_spread: float = 0.15
    gold_gain: float = 0.0
    gold_spread: float = 0.08
    unchanged: float = 0.4
    """Share of queries whose ranking is the same on both sides, as in every real comparison."""
    seed: int = 0


@lru_cache(maxsize=8)
def both_sides(world: World = World()) -> tuple[EvidenceRows, EvidenceRows]:
    """(candidate, incumbent) over the same queries."""
    random = Random(world.seed)
    ours, theirs = [], []
    for index in range(world.queries):
        gold, recall = random.betavariate(1.2, 1.5), random.betavariate(3, 1)
        moved = random.random() >= world.unchanged
        shift = random.gauss(world.gold_gain, world.gold_spread) if moved else 0.0
        asked = " ".join(random.sample(WORDS, 2))
        incumbent = EvidenceRow(
            id=f"q{index:04d}",
            slice=("head", "typo", "long", "")[index % 4],
            rewrites=(f"{asked} {phrase(random)}",),
            reward=random.gauss(0.0, world.reward_spread),
            ndcg10=gold,
            recall100=recall,
            length_ratio=1.0 + random.uniform(-0.2, 0.3),
            copy=random.random() < 0.05,
            repetition=0.25,
            format_ok=True,
            query=asked,
            target_first=gold > 0.5,
        )
        theirs.append(incumbent)
        ours.append(
            replace(
                incumbent,
                rewrites=(f"{asked} {phrase(random)}",),
                reward=(incumbent.reward or 0.0) + random.gauss(world.reward_gain, world.reward_spread),
                ndcg10=min(max(gold + shift, 0.0), 1.0),
                recall100=min(max(recall + shift, 0.0), 1.0),
                copy=random.random() < 0.05,
            )
        )
    return side([drawn_from(row) for row in ours], "candidate"), side([drawn_from(row) for row in theirs], "incumbent")


def drawn_from(row: EvidenceRow) -> EvidenceRow:
    """The row with four rewrites that were drawn with chance, all different, as good as the greedy one."""
    texts = tuple(f"{row.rewrites[0]} {end}" for end in SYLLABLES[:4])
    logprobs = (-6.0, -7.0, -8.0, -9.0)
    sampled = SampledDraw(texts, row.reward, row.ndcg10, row.recall100, nats=1.5, cut=0, logprobs=logprobs)
    return replace(row, cut=0, sampled=sampled, weighed=tuple(value - 0.5 for value in logprobs))


def side(rows: list[EvidenceRow], name: str) -> EvidenceRows:
    """One side around its rows."""
    return EvidenceRows(rows=tuple(rows), sha256=f"sha-{name}", reward_revision=REWARD, relevance_model=RELEVANCE)


def passthrough(like: EvidenceRows) -> EvidenceRows:
    """What the sampler measures of the passthrough on the same queries."""
    rows = [
        replace(
            row,
            rewrites=(),
            reward=0.0,
            length_ratio=None,
            copy=False,
            repetition=0.0,
            format_ok=True,
            cut=None,
            sampled=None,
            weighed=None,
        )
        for row in like.rows
    ]
    return replace(side(rows, "passthrough"), relevance_model="")


def phrase(random: Random) -> str:
    """Four different words."""
    return " ".join(random.sample(WORDS, 4))
