"""Draws evidence of both sides from a model of gates that were really held: the cases that the bench judges.

The model, per query: a kind; a gold level; with SAME both sides give the same rewrite and nothing differs; else each
side's log R and gold are its own draws around the query's level, alike for both, with one draw in ten three times as
wide. The constants are near those of the demo's gates: Cranfield with SmolLM2 had 37 % ties and, by its bounds, paired
standard deviations of 0.23 log R and 0.08 nDCG@10; the population has 41 %, 0.19 and 0.07. Neither side is better
unless a gain is asked for.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.text import words

SAME: Final = 0.35
"""Share of the queries that both sides answer with the same text."""
REWARD_SPREAD: Final = 0.13
GOLD_SPREAD: Final = 0.05
COPIES: Final = 0.1
WIDE_SHARE: Final = 0.1
WIDE: Final = 3.0
"""One draw in ten is three times as wide: a few queries decide a mean, as in every real comparison."""
KINDS: Final = ("head", "typo", "long", "negation", "")
SYLLABLES: Final = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se")
WORDS: Final = tuple(a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES)


@dataclass(frozen=True)
class Case:
    """One gate to decide."""

    candidate: EvidenceRows
    incumbent: EvidenceRows


@dataclass(frozen=True)
class Effect:
    """How the candidate truly differs, and how much gold moves where a text does."""

    gain: float = 0.0
    """Of mean log R."""
    loss: float = 0.0
    """Of mean nDCG@10 and recall@100; a little less comes of it, because both end at 0."""
    gold_spread: float = GOLD_SPREAD


NONE: Final = Effect()


def draw_case(queries: int, seed: str, effect: Effect = NONE) -> Case:
    """Evidence of `queries` queries; the candidate differs by `effect`, the incumbent by none."""
    random = Random(seed)
    without = Effect(gold_spread=effect.gold_spread)
    moved = Effect(effect.gain / (1 - SAME), effect.loss / (1 - SAME), effect.gold_spread)
    ours, theirs = [], []
    for number in range(queries):
        query = _query(random)
        level, ndcg, recall = random.gauss(-0.05, 0.1), random.betavariate(1.2, 0.8), random.betavariate(4, 1)
        base = _Level(f"q{number:05d}", random.choice(KINDS), query, level, ndcg, recall)
        incumbent = _answer(base, random, without)
        same = random.random() < SAME
        theirs.append(incumbent)
        ours.append(incumbent if same else _answer(base, random, moved))
    return Case(_side(ours, f"candidate of {seed}"), _side(theirs, f"incumbent of {seed}"))


@dataclass(frozen=True)
class _Level:
    """What both sides share of one query."""

    id: str
    kind: str
    query: str
    reward: float
    ndcg: float
    recall: float


def _answer(level: _Level, random: Random, effect: Effect) -> EvidenceRow:
    """One side's row: its own draw around the query's level."""
    copy = random.random() < COPIES
    text = level.query if copy else _rewrite(level.query, random)
    moved = 0.0 if copy else 1.0
    return EvidenceRow(
        id=level.id,
        slice=level.kind,
        rewrites=(text,),
        reward=moved * (level.reward + _drawn(random, REWARD_SPREAD)) + effect.gain,
        ndcg10=_within(level.ndcg + moved * _drawn(random, effect.gold_spread) - effect.loss),
        recall100=_within(level.recall + moved * _drawn(random, effect.gold_spread) - effect.loss),
        length_ratio=len(words(text)) / len(words(level.query)),
        copy=copy,
        repetition=1 / len(words(text)) if len(words(text)) > 3 else 0.0,
        format_ok=True,
        query=level.query,
    )


def _query(random: Random) -> str:
    return " ".join(random.sample(WORDS, random.randint(2, 5)))


def _rewrite(query: str, random: Random) -> str:
    """The query with one word exchanged or added."""
    kept = query.split()
    kept[random.randrange(len(kept))] = random.choice(WORDS)
    return " ".join(kept if random.random() < 0.5 else [*kept, random.choice(WORDS)])


def _drawn(random: Random, spread: float) -> float:
    return random.gauss(0.0, spread * (WIDE if random.random() < WIDE_SHARE else 1.0))


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _side(rows: list[EvidenceRow], name: str) -> EvidenceRows:
    return EvidenceRows(tuple(rows), sha256=name, reward_revision="drawn", relevance_model="drawn")
