"""The monitor finds what it is there to find: each invariant, broken once."""

from typing import Any

import pytest

from tests.faults.monitor import Monitor

VERSION = iter(range(1, 10_000))


def told(*items: dict[str, Any], happened: str = "MODIFIED") -> list[str]:
    """What the monitor says about these changes, in this order."""
    monitor = Monitor()
    for item in items:
        monitor.see(happened, item)
    return monitor.violations()


def item(kind: str, name: str, role: str = "", uid: str = "", **content: Any) -> dict[str, Any]:
    """An object as a watch gives it."""
    labels = {"rewriter.dev/release": "shop", "rewriter.dev/role": role}
    metadata = {"name": name, "uid": uid or name, "labels": labels, "resourceVersion": str(next(VERSION))}
    return {"kind": kind, "metadata": metadata, **content}


def release(state: str = "Idle", **status: Any) -> dict[str, Any]:
    """A release with this status; finerank is served by the passthrough."""
    return item("RewriterRelease", "shop", status={"state": state, "stages": [{"name": "finerank"}], **status})


def cycle(verdict: str = "Pass", **more: Any) -> dict[str, Any]:
    """Cycle 1 with a candidate."""
    return {"number": 1, "candidate": {"revision": 1}, "gate": {"verdict": verdict}, **more}


def route(candidate: int, revision: int = 1) -> dict[str, Any]:
    """finerank's rule."""
    headers = {"headers": [{"name": "x-rewriter-stage", "value": "finerank"}]}
    backends = [
        {"name": "shop-passthrough", "weight": 100 - candidate},
        {"name": f"shop-r{revision:04d}", "weight": candidate},
    ]
    return item("HTTPRoute", "shop-rewrites", spec={"rules": [{"matches": [headers], "backendRefs": backends}]})


def virtual_service(candidate: int, revision: int = 1) -> dict[str, Any]:
    """The same of Istio."""
    match = {"headers": {"x-rewriter-stage": {"exact": "finerank"}}}
    routes = [
        {"destination": {"host": "shop-passthrough"}, "weight": 100 - candidate},
        {"destination": {"host": f"shop-r{revision:04d}"}, "weight": candidate},
    ]
    spec = {"http": [{"match": [match], "route": routes}, {"route": routes[:1]}]}
    return item("VirtualService", "shop-rewrites", spec=spec)


def test_a_virtual_service_is_judged_like_a_route() -> None:
    assert told(release("RollingOut", cycle=cycle()), virtual_service(20)) == []
    assert told(release("RollingOut", cycle=cycle("Fail")), virtual_service(20)) != []
    assert told(release("RollingOut", cycle=cycle("Fail")), virtual_service(0)) == []


def test_a_candidate_that_passed_may_have_a_share() -> None:
    assert told(release("RollingOut", cycle=cycle()), route(20)) == []
    approved = cycle("Inconclusive", hold={"token": "r0001/gate/1f3a5c7e", "approved": True})
    assert told(release("RollingOut", cycle=approved), route(20)) == []


@pytest.mark.parametrize(
    "status",
    [
        release("RollingOut", cycle=cycle("Fail")),
        release("RollingOut", cycle=cycle("Inconclusive")),
        release("RollingOut", cycle=cycle("Inconclusive", hold={"token": "r0001/gate/1f3a5c7e", "approved": False})),
        release("RollingOut", cycle=cycle("Fail", hold={"token": "r0001/gate/1f3a5c7e", "approved": True})),
        release("Holding", cycle=cycle("Inconclusive", hold={"token": "r0001/gate/1f3a5c7e", "approved": True})),
        release("Gating", cycle=cycle()),
        release("Idle"),
    ],
)
def test_traffic_without_a_pass_is_found(status: dict[str, Any]) -> None:
    assert any("I1" in line for line in told(status, route(20)))


def test_the_order_of_etcd_counts_not_the_order_of_the_watches() -> None:
    status, shared = release("RollingOut", cycle=cycle()), route(20)
    assert told(shared, status) == []


def test_a_share_that_rises_after_a_stop_is_found() -> None:
    before = [release("RollingOut", cycle=cycle()), route(20)]
    found = told(*before, release("Withdrawing", cycle=cycle(outcome="RolledBack")), route(100))
    assert any("rises to 100" in line for line in found)


def test_two_trainers_are_found() -> None:
    pods = [item("Pod", f"t{index}", "trainer", status={"phase": "Running"}) for index in range(2)]
    assert any("I2" in line for line in told(*pods))
    ended = item("Pod", "t0", "trainer", status={"phase": "Failed"})
    assert told(pods[0], ended, item("Pod", "t1", "trainer", status={"phase": "Running"})) == []


def test_a_phase_that_goes_back_is_found() -> None:
    found = told(*(release("Training", cycle={"number": 1, "phase": {"number": number}}) for number in (2, 1)))
    assert any("I3" in line for line in found)


def test_a_transition_that_no_event_leads_to_is_found() -> None:
    assert any("I5" in line for line in told(release("Training"), release("Baking")))
    assert any("falls" in line for line in told(release(lastCycleNumber=2), release(lastCycleNumber=1)))


def test_a_skipped_step_is_found() -> None:
    stages = [[{"name": "finerank", "step": step}] for step in (0, 2)]
    assert any("I5" in line for line in told(*(release("RollingOut", cycle=cycle(), stages=rows) for rows in stages)))


def test_a_share_that_is_raised_unverified_is_found() -> None:
    stages = [[{"name": "finerank", "share": share, "verified": False}] for share in (20, 100)]
    found = told(*(release("RollingOut", cycle=cycle(), stages=rows) for rows in stages))
    assert any("unverified" in line for line in found)


def test_a_child_that_outlives_its_release_is_found() -> None:
    monitor = Monitor()
    monitor.see("ADDED", item("Service", "shop-passthrough"))
    monitor.see("DELETED", release())
    assert any("I8" in line for line in monitor.violations())


def test_a_token_outside_of_its_secret_is_found() -> None:
    secret = item("Secret", "shop-agent-token", data={"token": "c2VjcmV0LXRva2Vu"})
    assert told(secret, release()) == []
    assert any("I12" in line for line in told(secret, release(message="token is secret-token")))


def test_what_belongs_to_no_release_is_nobodys_child() -> None:
    monitor = Monitor()
    for kind, name in (("Deployment", "operator"), ("Pod", "search-engine"), ("Secret", "theirs")):
        stranger = item(kind, name, data={"key": "U2hvcA=="})
        del stranger["metadata"]["labels"]
        monitor.see("ADDED", stranger)
    monitor.see("DELETED", release(message="Shop"))
    assert monitor.violations() == []


def test_an_earlier_storys_objects_are_not_judged() -> None:
    monitor = Monitor(since="2026-01-02T00:00:00Z")
    for created in ("2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"):
        found = route(20)
        found["metadata"]["creationTimestamp"] = created
        monitor.see("ADDED", found)
        assert (monitor.violations() == []) is (created < monitor.since)
