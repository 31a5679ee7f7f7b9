"""build/bench/operator.json: which measured figure has which name, and what could not be measured and why. Pure."""

import os
from dataclasses import asdict, dataclass
from typing import Any, Final

from e2e.bench.scale.latencies import finite, milliseconds
from e2e.bench.scale.measure import Measured

NO_DATA_PLANE: Final = "no data plane in this run: pods are stand-ins on loopback, which no Service may point to"


@dataclass(frozen=True)
class CycleCost:
    """Writes to the API server of one cycle that is promoted: one phase, one stage, three steps."""

    writes: int
    events: int


@dataclass(frozen=True)
class Machine:
    """What the figures were taken on, and what else it had to do."""

    cores: int
    load_before: float

    @classmethod
    def now(cls) -> "Machine":
        """Before anything of ours runs."""
        return cls(len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 2))


def report(
    machine: Machine,
    middle: Measured,
    large: Measured | None,
    cycle: CycleCost | None,
    peer_middle: Measured | None,
    peer_large: Measured | None,
) -> dict[str, Any]:
    """The whole JSON; a figure that was not taken is null."""
    return {
        "machine": asdict(machine),
        **_figures(middle, large),
        "idle_writes": middle.idle.writes + middle.idle.events,
        "writes_per_cycle": cycle.writes if cycle else None,
        "events_per_cycle": cycle.events if cycle else None,
        "abort_to_zero_p99_s": None,
        "abort_to_zero_p99_s_reason": NO_DATA_PLANE,
        "details": _details(middle, large),
        "peer": None
        if peer_middle is None
        else {
            "program": "Argo Rollouts controller v1.10.2, its default flags",
            **_figures(peer_middle, peer_large),
            "idle_writes": peer_middle.idle.writes + peer_middle.idle.events,
            "details": _details(peer_middle, peer_large),
        },
    }


def _figures(middle: Measured, large: Measured | None) -> dict[str, Any]:
    return {
        "reconcile_p99_ms": milliseconds(middle.reconcile.quantile(0.99)),
        "reconcile_p50_ms": milliseconds(middle.reconcile.quantile(0.50)),
        "reconcile_p99_ms_1000": milliseconds(large.reconcile.quantile(0.99)) if large else None,
        "abort_to_zero_write_p99_s": finite(middle.single.quantile(0.99)),
        "abort_herd_p99_s": finite(middle.herd.quantile(0.99)),
        "rss_mib": middle.resident_mib,
        "rss_mib_1000": large.resident_mib if large else None,
        "cold_start_s": finite(middle.cold.quantile(1.0)),
        "cold_start_s_1000": finite(large.cold.quantile(1.0)) if large else None,
        "calls_per_release_and_hour": round(middle.calls_per_release_hour(), 1),
        "calls_per_release_and_hour_1000": round(large.calls_per_release_hour(), 1) if large else None,
    }


def _details(middle: Measured, large: Measured | None) -> dict[str, Any]:
    sizes = [measured for measured in (middle, large) if measured]
    return {str(measured.size.releases): measured.details() for measured in sizes}
