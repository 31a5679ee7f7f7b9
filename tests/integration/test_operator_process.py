"""The real operator against a real API server: what it says, what it makes, and what it survives."""

import json
import time

import pytest

from tests.faults.monitor import watching
from tests.integration.conftest import PATIENCE, Operator, Space, claim, config_map, eventually, release

pytestmark = pytest.mark.integration

FIRST_CHILDREN = {
    "deployment.apps/shop-passthrough",
    "service/shop-passthrough",
    "httproute.gateway.networking.k8s.io/shop-rewrites",
    "secret/shop-agent-token",
    "pod/shop-c0000-prepare-1",
}
KINDS = "deployments,services,poddisruptionbudgets,httproutes,secrets,pods"


def preparing(space: Space) -> None:
    """Waits until everything that a new release first needs exists."""
    eventually(lambda: space.names(KINDS) >= FIRST_CHILDREN, PATIENCE, "the first children exist")


def is_unchanged(space: Space, seconds: float) -> bool:
    """Nothing is written in this time."""
    versions = lambda: space.kubectl("get", f"rr,{KINDS}", "-o", "jsonpath={.items[*].metadata.resourceVersion}")  # noqa: E731
    before = versions()
    time.sleep(seconds)
    return versions() == before


def test_a_missing_claim_is_told_and_mends_itself(space: Space, operator: Operator) -> None:
    space.apply(config_map('{"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}}'))
    space.create(release())
    eventually(lambda: space.condition("Accepted")[:2] == ("False", "ClaimMissing"), PATIENCE, "ClaimMissing")
    assert "spec.volume.claimName" in space.condition("Accepted")[2]
    space.kubectl("wait", "rr/shop", "--for=condition=Stalled", "--timeout=30s")
    assert not any("prepare" in name for name in space.names("pods")), "nothing is half-created"
    space.apply(claim())
    preparing(space)
    space.kubectl("wait", "rr/shop", "--for=condition=Stalled=False", "--timeout=30s")


def test_fusion_constants_are_asked_for_by_name(space: Space, operator: Operator) -> None:
    space.inputs(fusion=None)
    space.create(release())
    eventually(lambda: space.condition("Accepted")[1] == "FusionConfigMissing", PATIENCE, "FusionConfigMissing")
    assert "'fusion'" in space.condition("Accepted")[2]
    for odd in ("{", '{"stages": {"finerank": {"a": 1.0, "b": 0, "gamma": 1.0}}}', '{"stages": {}}'):
        space.apply(config_map(odd))
        eventually(lambda: space.condition("Accepted")[1] == "FusionConfigInvalid", PATIENCE, f"invalid: {odd}")
    space.inputs()
    preparing(space)


def test_children_belong_to_their_release_and_go_with_it(space: Space, operator: Operator) -> None:
    with watching(space.api.kubeconfig, space.name) as monitor:
        space.create(release())
        eventually(
            lambda: monitor.changes != [] and monitor.settled() == [], PATIENCE, "it waits for its claim, stalled"
        )
        assert space.condition("Stalled")[1] == "ClaimMissing"
        space.inputs()
        preparing(space)
        uid = space.get("rr", "shop")["metadata"]["uid"]
        owned = json.loads(space.kubectl("get", KINDS, "-l", "rewriter.dev/release=shop", "-o", "json"))["items"]
        direct = [item for item in owned if "pod-template-hash" not in item["metadata"]["labels"]]
        assert all(item["metadata"]["ownerReferences"][0]["uid"] == uid for item in direct)
        space.kubectl("delete", "rr", "shop", f"--timeout={PATIENCE:.0f}s")
        eventually(lambda: not {name for name in space.names(KINDS) if "/shop-" in name}, PATIENCE, "no child is left")
    assert {change.kind for change in monitor.changes if "shop" in change.name} > {
        "RewriterRelease",
        "HTTPRoute",
        "Pod",
    }
    assert monitor.violations() == []


def test_nothing_is_written_while_nothing_happens(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release())
    preparing(space)
    eventually(lambda: bool(space.condition("Progressing")[0]), PATIENCE, "conditions are there")
    eventually(lambda: is_unchanged(space, 5), PATIENCE, "it comes to rest")
    with watching(space.api.kubeconfig, space.name, since="") as monitor:
        version = space.version()
        time.sleep(20)
    assert {change.kind for change in monitor.changes} > {"RewriterRelease", "HTTPRoute", "Pod"}
    assert monitor.silent_since(version) == []


def test_a_killed_operator_loses_nothing(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release())
    preparing(space)
    before = space.get("rr", "shop")["status"]
    operator.kill()
    space.kubectl("delete", "service", "shop-passthrough")
    operator.start()
    eventually(lambda: "service/shop-passthrough" in space.names("services"), PATIENCE, "the Service is made again")
    after = space.get("rr", "shop")["status"]
    assert (after["state"], after["cycle"]["startedAt"]) == (before["state"], before["cycle"]["startedAt"])


def test_annotations_that_others_broke_do_not_blind_it(space: Space, operator: Operator) -> None:
    space.inputs(fusion=None)
    body = release()
    body["metadata"]["annotations"] = {"kopf.zalando.org/last-handled-configuration": "{broken"}
    space.create(body)
    eventually(lambda: space.condition("Accepted")[1] == "FusionConfigMissing", PATIENCE, "it is seen")
    space.kubectl("annotate", "--overwrite", "rr", "shop", "kopf.zalando.org/last-handled-configuration=[]")
    space.inputs()
    preparing(space)


def test_a_hand_edit_of_a_child_is_put_right(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release())
    preparing(space)
    space.kubectl("delete", "deployment", "shop-passthrough")
    eventually(lambda: "deployment.apps/shop-passthrough" in space.names("deployments"), PATIENCE, "made again")


def test_one_poison_release_does_not_stop_the_others(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release("poison", schedule={"cron": "0 3 30 2 *"}))
    space.create(release())
    preparing(space)
    assert space.condition("Accepted", "poison")[1] == "InvalidSchedule"
