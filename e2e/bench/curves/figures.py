"""Learning curves as numbers. Pure: no torch."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from e2e.bench.curves.ways import ONLINE, WAYS
from rewriter_contract.messages import EvidenceRows


@dataclass(frozen=True)
class Point:
    """What the held-out queries say of a run after some steps. Means over the queries that could be measured."""

    step: int
    log_r: float
    ndcg10: float
    recall100: float
    length_ratio: float
    copies: float
    """Share of queries."""
    syncs: int
    """Weight syncs so far, without the one that every candidate ends with."""

    @classmethod
    def of(cls, step: int, evidence: EvidenceRows, syncs: int) -> "Point":
        """From greedy rewrites.

        Raises:
            ValueError: when no query could be measured.
        """
        rows = evidence.rows

        def mean(values: Sequence[float | None]) -> float:
            known = [value for value in values if value is not None]
            if not known:
                raise ValueError("no query could be measured")
            return fmean(known)

        return cls(
            step,
            mean([row.reward for row in rows]),
            mean([row.ndcg10 for row in rows]),
            mean([row.recall100 for row in rows]),
            mean([row.length_ratio for row in rows]),
            mean([float(row.copy) for row in rows]),
            syncs,
        )


@dataclass(frozen=True)
class Curve:
    """One run."""

    collection: str
    way: str
    seed: int
    points: tuple[Point, ...]


def report(curves: Sequence[Curve]) -> dict[str, Any]:
    """The whole JSON: means by way, the differences of the ways' last points, every run."""
    collections = list(dict.fromkeys(curve.collection for curve in curves))
    return {
        "collections": {
            name: _collection([curve for curve in curves if curve.collection == name]) for name in collections
        },
        "runs": [asdict(curve) for curve in curves],
    }


def difference(curves: Sequence[Curve], others: Sequence[Curve], field: str) -> dict[str, float]:
    """Of the last points, `curves` less `others`, paired by seed: its mean over the seeds and its standard error.

    Raises:
        ValueError: when the seeds differ, or there are fewer than two.
    """
    last, other = ({curve.seed: getattr(curve.points[-1], field) for curve in side} for side in (curves, others))
    if last.keys() != other.keys() or len(last) < 2:
        raise ValueError(f"seeds {sorted(last)} and {sorted(other)}; both sides need the same two or more")
    found = [last[seed] - other[seed] for seed in sorted(last)]
    return {"mean": fmean(found), "standard_error": stdev(found) / math.sqrt(len(found))}


def _collection(curves: Sequence[Curve]) -> dict[str, Any]:
    by_way = {way.name: [curve for curve in curves if curve.way == way.name] for way in WAYS}
    present = {name: runs for name, runs in by_way.items() if runs}
    online = present.get(ONLINE, [])
    return {
        "ways": {name: _means(runs) for name, runs in present.items()},
        "final_less_online": {
            name: {field: difference(runs, online, field) for field in ("log_r", "ndcg10")}
            for name, runs in present.items()
            if online and name != ONLINE
        },
    }


def _means(runs: Sequence[Curve]) -> list[dict[str, float]]:
    """By step: the mean over the seeds of every field, and the least and greatest of the reward and of gold."""
    found = []
    for points in zip(*(run.points for run in runs), strict=True):
        means = {name: fmean(getattr(point, name) for point in points) for name in asdict(points[0])}
        for name in ("log_r", "ndcg10"):
            values = [getattr(point, name) for point in points]
            means |= {f"{name}_least": min(values), f"{name}_greatest": max(values)}
        found.append({name: round(value, 4) for name, value in means.items()})
    return found
