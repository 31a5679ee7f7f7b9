"""The monitor finds what it is there to find: each invariant, broken once."""

import json
from typing import Any

import pytest

from rewriter_contract import env
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
    metadata: dict[str, Any] = {
        "name": name,
        "uid": uid or name,
        "labels": labels,
        "resourceVersion": str(next(VERSION)),
    }
    if kind != "RewriterRelease":
        metadata["ownerReferences"] = [{"kind": "RewriterRelease", "uid": "shop"}]
    return {"kind": kind, "metadata": metadata, **content}


def release(state: str = "Idle", **status: Any) -> dict[str, Any]:
    """A release with this status; finerank is served by the passthrough."""
    return item("RewriterRelease", "shop", status={"state": state, "stages": [{"name": "finerank"}], **status})


def cycle(verdict: str = "Pass", **more: Any) -> dict[str, Any]:
    """Cycle 1 with a candidate."""
    return {"number": 1, "candidate": serving(1), "gate": {"verdict": verdict}, **more}


def serving(revision: int, digest: str = "") -> dict[str, Any]:
    """A revision with its weight set, as status names it."""
    version = f"r{revision:04d}-p02"
    return {"revision": revision, "weights": {"version": version, "digest": digest or f"digest of {version}"}}


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


def split(body: dict[str, Any], weights: dict[str, int], pattern: str = "^(0[0-4])$") -> dict[str, Any]:
    """The same with a rule for some buckets of users."""
    headers = [
        {"name": "x-rewriter-stage", "value": "finerank"},
        {"type": "RegularExpression", "name": "x-rewriter-bucket", "value": pattern},
    ]
    backends = [{"name": name, "weight": weight} for name, weight in weights.items()]
    rule = {"matches": [{"headers": headers}], "backendRefs": backends}
    return {**body, "spec": {"rules": [*body["spec"]["rules"], rule]}}


def test_a_rule_for_buckets_of_users_is_judged_like_its_stage() -> None:
    to_candidate, to_nobody = {"shop-passthrough": 0, "shop-r0001": 100}, {"shop-passthrough": 100, "shop-r0001": 0}
    assert told(release("RollingOut", cycle=cycle()), split(route(5), to_candidate)) == []
    found = told(release("RollingOut", cycle=cycle("Fail")), split(route(0), to_candidate))
    assert any("I1" in line and "shop-r0001" in line for line in found), "although its stage's own rule gives nothing"
    assert told(release("RollingOut", cycle=cycle("Fail")), split(route(0), to_nobody)) == []


def test_more_buckets_after_a_stop_are_found() -> None:
    to_candidate = {"shop-passthrough": 0, "shop-r0001": 100}
    before = [release("RollingOut", cycle=cycle()), split(route(5), to_candidate)]
    stopped = release("Withdrawing", cycle=cycle(outcome="RolledBack"))
    assert not any("rises" in line for line in told(*before, stopped, split(route(5), to_candidate)))
    assert any("rises to 100" in line for line in told(*before, stopped, split(route(5), to_candidate, "^(.*)$")))


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


def test_trainers_of_different_numbers_train_together() -> None:
    pods = [item("Pod", f"t{index}", "trainer", status={"phase": "Running"}) for index in range(3)]
    for pod, number in zip(pods, ("0", "1", "1"), strict=True):
        pod["metadata"]["labels"]["rewriter.dev/number"] = number
    assert told(*pods[:2]) == []
    assert any("I2" in line for line in told(*pods))


def test_a_phase_that_goes_back_is_found() -> None:
    found = told(*(release("Training", cycle={"number": 1, "phase": {"number": number}}) for number in (2, 1)))
    assert any("I3" in line for line in found)


def revision_object(revision: int, digest: str = "") -> dict[str, Any]:
    """A RewriterRevision."""
    return item("RewriterRevision", f"shop-r{revision:04d}", spec=serving(revision, digest))


def deployment(revision: int, digest: str = "") -> dict[str, Any]:
    """Its serving pods' Deployment."""
    config = json.dumps({"revision": f"r{revision:04d}", "weights": serving(revision, digest)["weights"]})
    pod = {"containers": [{"env": [{"name": env.SERVING, "value": config}]}]}
    return item("Deployment", f"shop-r{revision:04d}", "serving", spec={"template": {"spec": pod}})


def served_by(revision: int, **status: Any) -> dict[str, Any]:
    """An idle release whose one stage this revision serves."""
    return release(stages=[{"name": "finerank", "incumbent": serving(revision)}], **status)


WHOLE = (revision_object(1), deployment(1), served_by(1), served_by(1, promoted=[serving(1)]))


@pytest.mark.parametrize(
    "other",
    [
        revision_object(1, "another"),
        deployment(1, "another"),
        release(stages=[{"name": "finerank", "incumbent": serving(1, "another")}]),
        release("RollingOut", cycle=cycle() | {"candidate": serving(1, "another")}),
        release(promoted=[serving(1, "another")]),
    ],
    ids=["object", "Deployment", "incumbent", "candidate", "promoted"],
)
def test_a_revision_that_turns_into_other_weights_is_found(other: dict[str, Any]) -> None:
    assert told(*WHOLE) == []
    other["metadata"]["resourceVersion"] = str(next(VERSION))
    assert any("I4" in line and "another" in line for line in told(*WHOLE, other))


def test_a_base_model_that_was_exchanged_is_another_base_model() -> None:
    assert told(*(release(stages=[{"name": "finerank", "incumbent": serving(0, name)}]) for name in "ab")) == []


def test_a_revision_whose_evidence_is_changed_is_found() -> None:
    changed = revision_object(1)
    changed["spec"]["gate"] = {"verdict": "Pass"}
    assert any("I4: the spec of" in line for line in told(revision_object(1), changed))


def gone(what: dict[str, Any], *before: dict[str, Any]) -> list[str]:
    """What the monitor says when this is deleted after all that."""
    monitor = Monitor()
    for one in before:
        monitor.see("MODIFIED", one)
    what["metadata"]["resourceVersion"] = str(next(VERSION))
    monitor.see("DELETED", what)
    return monitor.violations()


@pytest.mark.parametrize("what", [revision_object(1), deployment(1), item("Service", "shop-r0001")])
def test_what_serves_and_is_deleted_is_found(what: dict[str, Any]) -> None:
    assert any("I4" in line for line in gone(what, served_by(1)))
    assert gone(what, served_by(2)) == []


def test_a_candidates_object_stays_and_its_pods_may_go() -> None:
    withdrawn = release("Withdrawing", cycle=cycle())
    assert any("I4" in line for line in gone(revision_object(1), withdrawn))
    assert gone(deployment(1), withdrawn) == []


def test_what_people_may_roll_back_to_stays() -> None:
    now = {**served_by(3, promoted=[serving(3), serving(2), serving(1)]), "spec": {"retention": {"weights": 1}}}
    assert any("I4" in line for line in gone(revision_object(2), now))
    assert gone(revision_object(1), now) == [], "only one is kept"
    now["status"]["retention"] = {"cycle": 4, "kept": ["r0003-p02"]}
    assert gone(revision_object(2), now) == [], "its weights are gone"


def test_what_goes_with_its_release_may_go() -> None:
    deleted = served_by(1)
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert gone(revision_object(1), deleted) == []


def test_weights_that_a_cycle_gives_up_while_they_serve_are_found() -> None:
    assert told(served_by(1, retention={"cycle": 2, "kept": ["r0001-p02"]})) == []
    assert told(served_by(2, retention={"cycle": 2, "kept": []})) == [], "of the cycle itself nothing is removed"
    assert any("gives up r0001-p02" in line for line in told(served_by(1, retention={"cycle": 2, "kept": []})))


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
