"""What the scale bench makes of its measurements: quantiles, the API server's counters, the kernel's, the routes'."""

import asyncio
import fcntl
import math
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.bench.scale.api_calls import Calls, dispatched
from e2e.bench.scale.gateway import serves_a_revision, serving
from e2e.bench.scale.latencies import Latencies, finite, milliseconds
from e2e.bench.scale.measure import Measured, Size
from e2e.bench.scale.moments import Awaited, Moments
from e2e.bench.scale.peer_side import weights
from e2e.bench.scale.result import PARTS, Machine, of_part, report
from e2e.bench.scale.subject import Memory, Subject, memory_of
from e2e.bench.scale.turns import turn_of
from e2e.bench.scale.waiting import TooLate, Waiting
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import ClusterView
from tests.faults.gateway_controller import shares_of

SIZE = Size(releases=200, active=20, edits=3, approvals=2, single_aborts=2, herd=2, idle_seconds=300)
SHARES = {"stable": 80, "canary": 20}


def test_p99_of_a_hundred_is_the_second_largest_and_of_fewer_the_largest() -> None:
    assert Latencies([float(number) for number in range(1, 101)]).quantile(0.99) == 99
    assert Latencies([float(number) for number in range(1, 51)]).quantile(0.99) == 50


def test_order_of_measurement_does_not_matter() -> None:
    assert Latencies([3.0, 1.0, 2.0]).quantile(0.5) == 2


def test_what_never_happened_is_longer_than_everything_and_no_number_in_the_report() -> None:
    measured = Latencies([0.1] * 98, missed=2)
    assert measured.quantile(0.99) == math.inf
    assert measured.quantile(0.5) == 0.1
    assert measured.summary() == {"count": 98, "missed": 2, "p50": 0.1, "p99": None, "max": None}


def test_nothing_measured_is_unknown_and_not_zero() -> None:
    assert Latencies([]).quantile(0.99) is None
    assert milliseconds(None) is None
    assert finite(math.inf) is None
    assert milliseconds(0.12345) == 123.5


def test_calls_are_counted_by_flow_schema_whatever_else_the_api_server_tells() -> None:
    metrics = "\n".join(
        (
            "# TYPE apiserver_flowcontrol_dispatched_requests_total counter",
            'apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"} 1.2e+04',
            'apiserver_flowcontrol_dispatched_requests_total{flow_schema="counted-a-reads",priority_level="x"} 41',
            'apiserver_flowcontrol_dispatched_requests_total{flow_schema="counted-a-reads",priority_level="y"} 1',
            'apiserver_flowcontrol_rejected_requests_total{flow_schema="counted-a-reads",reason="timeout"} 7',
        )
    )
    assert dispatched(metrics) == {"exempt": 12000, "counted-a-reads": 42}


def test_calls_since_are_differences_kind_by_kind() -> None:
    spent = Calls(leases=5, events=2, writes=9, watches=1, reads=100).since(Calls(leases=3, reads=40, writes=9))
    assert spent == Calls(leases=2, events=2, writes=0, watches=1, reads=60)
    assert spent.total == 65


def test_memory_is_read_in_mib() -> None:
    assert memory_of("Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n").resident == 100.0
    own = memory_of(Path("/proc/self/status").read_text())
    assert 0 < own.resident <= own.highest


def test_a_route_is_read_by_stage_without_backends_of_weight_zero() -> None:
    assert serving(shares_of(_route(20))) == {"finerank": {"shop-passthrough": 80, "shop-r0001": 20}}
    assert serving(shares_of(_route(0))) == {"finerank": {"shop-passthrough": 100}}


def test_a_revision_gets_requests_also_when_it_gets_all_of_them() -> None:
    assert serves_a_revision(serving(shares_of(_route(20))))
    assert serves_a_revision(serving(shares_of(_route(100))))
    assert not serves_a_revision(serving(shares_of(_route(0))))


def test_calls_of_an_idle_release_leave_leases_out() -> None:
    assert _measured(Calls(leases=60, reads=9000)).calls_per_release_hour() == 540


def test_report_has_the_agreed_names_and_says_why_a_figure_is_missing() -> None:
    found = report({"operator-200": _part(Calls(events=1, writes=2))})
    assert found["reconcile_p99_ms"] == 300.0
    assert found["abort_to_zero_write_p99_s"] == 0.2
    assert found["abort_herd_p99_s"] is None  # one of two never came
    assert found["rss_mib"] == 90.5
    assert found["idle_writes"] == 3
    assert found["writes_per_cycle"] == 41
    assert found["rss_mib_1000"] is None
    missing = found["details"]["not_measured"]
    assert "data plane" in missing["abort_to_zero_p99_s"]
    assert "within a minute" in missing["abort_herd_p99_s"]
    assert missing["rss_mib_1000"] == "part operator-1000 was not run"
    assert missing["peer.rss_mib"] == "part peer-200 was not run"


def test_every_figure_that_is_null_has_its_reason() -> None:
    found = report({"peer-200": _part(Calls())})
    nulls = {name for name, value in found.items() if value is None}
    nulls |= {f"peer.{name}" for name, value in found["peer"].items() if value is None}
    assert nulls == set(found["details"]["not_measured"])


def test_peer_is_reported_by_the_same_names_as_the_operator() -> None:
    found = report({name: _part(Calls()) for name in PARTS})
    assert set(found) - {"peer", "details"} == set(found["peer"]) - {"program"}
    assert found["peer"]["rss_mib_1000"] == 90.5


def test_a_turn_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    def is_free() -> bool:
        with (tmp_path / "lock").open("a") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with turn_of(tmp_path / "lock") as turn:
        assert not is_free()
        turn.give_back()
        assert is_free()
    with turn_of(tmp_path / "lock"):
        assert not is_free()
    assert is_free()


def test_the_peers_canary_has_its_weight_in_its_route() -> None:
    backends = [{"destination": {"host": f"shop-{name}"}, "weight": weight} for name, weight in SHARES.items()]
    route = {"spec": {"http": [{"name": "primary", "route": backends}]}}
    assert weights(route, "shop") == (80, 20)


def test_waiting_says_who_is_late_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e.bench.scale.waiting.LIMIT_SECONDS", 0.0)
    monkeypatch.setattr("e2e.bench.scale.waiting.LOOK_SECONDS", 0.01)
    subject = Subject(("sleep", "5"), {}, Path("/dev/null"))
    subject.start()
    try:
        waiting = Waiting(subject, lambda name: f"{name} Training")
        with pytest.raises(TooLate, match=r"1 of 2 are not Idle.*; b is b Training"):
            asyncio.run(waiting.until(["a", "b"], lambda name: name == "a", "Idle"))
    finally:
        subject.stop()


def test_a_moment_is_when_the_event_came_and_a_late_one_is_missed() -> None:
    async def play() -> Latencies:
        view = ClusterView(_no_client(), "scale")
        moments = Moments(view)
        wanted = [moments.of(Awaited("HTTPRoute", name, lambda item: item["spec"] == "zero")) for name in ("a", "b")]
        since = time.monotonic()
        for name, spec in (("a", "some"), ("a", "zero"), ("a", "some"), ("c", "zero")):
            view.listeners[0]("MODIFIED", {"kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec})
        await asyncio.sleep(0.05)
        return await moments.after(since, wanted, limit=0.05)

    found = asyncio.run(play())
    assert found.missed == 1
    assert len(found.seconds) == 1 and found.seconds[0] < 0.05


@pytest.mark.parametrize("share", [0.5, 0.99, 1.0])
def test_quantiles_are_values_that_were_measured(share: float) -> None:
    values = [0.3, 0.1, 0.7]
    assert Latencies(values).quantile(share) in values


def _measured(idle: Calls) -> Measured:
    return Measured(
        size=SIZE,
        created_seconds=60.0,
        idle=idle,
        idle_cpu_seconds=3.0,
        memory=Memory(90.5, 99.0),
        reconcile=Latencies([0.1, 0.2, 0.3]),
        step=Latencies([0.3, 0.4]),
        single=Latencies([0.1, 0.2]),
        herd=Latencies([1.0], missed=1),
        cold=Latencies([4.0, 5.0]),
        cycle=Calls(writes=41, events=9),
        load=2.5,
    )


def _part(idle: Calls) -> dict[str, Any]:
    return of_part(Machine(2, 0.1), _measured(idle))


def _route(share: int) -> dict[str, Any]:
    backends = [{"name": "shop-passthrough", "weight": 100 - share}, {"name": "shop-r0001", "weight": share}]
    match = {"headers": [{"name": "x-rewriter-stage", "value": "finerank"}]}
    return {"spec": {"rules": [{"matches": [match], "backendRefs": backends}, {"matches": [{}], "backendRefs": []}]}}


def _no_client() -> ClusterClient:
    return ClusterClient("https://nowhere.test", None)  # type: ignore[arg-type]
