"""build/bench/operator.json: which measured figure has which name, and what was not measured and why. Pure.

A run has four parts, each on a control plane of its own; a part's figures are kept in a file of its own, so that a run
can be resumed. What is not there is null in the result, with its reason.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from e2e.bench.scale.latencies import finite, milliseconds
from e2e.bench.scale.measure import Measured

NO_DATA_PLANE: Final = "no data plane in this run: pods are stand-ins on loopback, which no Service may point to"
NOT_RUN: Final = "part {} was not run"
PEER: Final = "Argo Rollouts controller v1.10.2, its default flags, one namespace, an Istio VirtualService per rollout"

PARTS: Final = ("operator-200", "operator-1000", "peer-200", "peer-1000")
_AT_200: Final = (
    "reconcile_p99_ms",
    "reconcile_p50_ms",
    "approval_to_share_write_p99_s",
    "approval_to_share_write_p50_s",
    "abort_to_zero_write_p99_s",
    "abort_to_zero_write_p50_s",
    "abort_herd_p99_s",
    "abort_herd_p50_s",
    "rss_mib",
    "idle_writes",
    "writes_per_cycle",
    "events_per_cycle",
    "cold_start_s",
    "calls_per_release_and_hour",
)
_AT_1000: Final = (
    "reconcile_p99_ms",
    "abort_to_zero_write_p99_s",
    "rss_mib",
    "idle_writes",
    "cold_start_s",
    "calls_per_release_and_hour",
)


@dataclass(frozen=True)
class Machine:
    """What the figures were taken on, and what else it had to do."""

    cores: int
    load_before: float

    @classmethod
    def now(cls) -> "Machine":
        """Before anything of ours runs."""
        return cls(len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 2))


def of_part(machine: Machine, measured: Measured) -> dict[str, Any]:
    """A part's own file."""
    return {"machine": asdict(machine), "figures": _figures(measured), "details": measured.details()}


def report(parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The whole JSON, of the parts that were run (name -> its file's content)."""
    missing: dict[str, str] = {"abort_to_zero_p99_s": NO_DATA_PLANE}
    return {
        **_side(parts, "operator", "", missing),
        "abort_to_zero_p99_s": None,
        "peer": {"program": PEER, **_side(parts, "peer", "peer.", missing), "abort_to_zero_p99_s": None},
        "details": {
            "not_measured": missing | {"peer.abort_to_zero_p99_s": NO_DATA_PLANE},
            **{name: {"machine": part["machine"], **part["details"]} for name, part in parts.items()},
        },
    }


def _side(
    parts: Mapping[str, dict[str, Any]], side: str, prefix: str, missing: dict[str, str]
) -> dict[str, float | None]:
    """The figures of one side at both sizes; notes in `missing` why one is not there."""
    found: dict[str, float | None] = {}
    for size, names, suffix in (("200", _AT_200, ""), ("1000", _AT_1000, "_1000")):
        part = parts.get(f"{side}-{size}")
        for name in names:
            value = part["figures"].get(name) if part else None
            found[name + suffix] = value
            if value is None:
                why = "it did not happen within a minute, or there was nothing to measure: see its part's counts"
                missing[prefix + name + suffix] = why if part else NOT_RUN.format(f"{side}-{size}")
    return found


def _figures(measured: Measured) -> dict[str, float | None]:
    return {
        "reconcile_p99_ms": milliseconds(measured.reconcile.quantile(0.99)),
        "reconcile_p50_ms": milliseconds(measured.reconcile.quantile(0.50)),
        "approval_to_share_write_p99_s": finite(measured.step.quantile(0.99)),
        "approval_to_share_write_p50_s": finite(measured.step.quantile(0.50)),
        "abort_to_zero_write_p99_s": finite(measured.single.quantile(0.99)),
        "abort_to_zero_write_p50_s": finite(measured.single.quantile(0.50)),
        "abort_herd_p99_s": finite(measured.herd.quantile(0.99)),
        "abort_herd_p50_s": finite(measured.herd.quantile(0.50)),
        "rss_mib": measured.memory.resident,
        "idle_writes": measured.idle.writes + measured.idle.events,
        "writes_per_cycle": measured.cycle.writes,
        "events_per_cycle": measured.cycle.events,
        "cold_start_s": finite(measured.cold.quantile(1.0)),
        "calls_per_release_and_hour": round(measured.calls_per_release_hour(), 1),
    }
