"""Bad input that only the operator can tell: a condition with reason, field, value and remedy; mended, it goes on.

Real API server and operator; no node, so what the prepare pod finds (model, data, services) is in tests/trainer. "Goes
on" is the pod that checks the volume: it is made only when everything that the API server can tell is there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.cluster import ClusterError
from tests.integration.conftest import PATIENCE, Operator, Space, claim, config_map, eventually, release

pytestmark = pytest.mark.integration

PREPARE = "pod/shop-c0000-prepare-1"
FUSION = '{"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}}'


@dataclass(frozen=True)
class Told:
    """One case: what is wrong beside or in the release, what the condition says, how it is mended."""

    row: int
    case: str
    given: Callable[[Space], None]
    reason: str
    says: tuple[str, ...]
    mend: Callable[[Space], None]
    spec: tuple[tuple[str, Any], ...] = ()
    spoil: Callable[[Space], None] | None = None
    """How the same comes about later; None: as it was given."""


def inputs(**parts: Any) -> Callable[[Space], None]:
    """The claim and the constants, one of them changed; None leaves it out."""
    wanted = {"claim": claim(), "fusion": config_map(FUSION)} | parts

    def give(space: Space) -> None:
        for body in wanted.values():
            if body is not None:
                space.apply(body)

    return give


def claim_with(**changes: Any) -> dict[str, Any]:
    body = claim()
    return {**body, "spec": {**body["spec"], **changes}}


def held_claim() -> dict[str, Any]:
    body = claim()
    return {**body, "metadata": {**body["metadata"], "finalizers": ["test.rewriter.dev/held"]}}


def terminating(space: Space) -> None:
    """A claim that is being deleted, and whose deletion something holds up."""
    inputs(claim=held_claim())(space)
    space.kubectl("delete", "pvc", "rewriter", "--wait=false")


def let_go(space: Space) -> None:
    space.kubectl("patch", "pvc", "rewriter", "--type=json", '-p=[{"op": "remove", "path": "/metadata/finalizers"}]')
    eventually(lambda: not space.get("pvc", "rewriter"), PATIENCE, "the claim is gone")
    space.apply(claim())


def claim_anew(space: Space) -> None:
    space.kubectl("delete", "pvc", "rewriter", "--timeout=300s")
    space.apply(claim())


def claim_of_one_node(space: Space) -> None:
    """What is asked of a claim cannot be changed: another one of its name."""
    space.kubectl("delete", "pvc", "rewriter", "--timeout=300s")
    space.apply(claim_with(accessModes=["ReadWriteOnce"]))


def without(kind: str, name: str) -> Callable[[Space], None]:
    """Deletes what was there."""

    def take_away(space: Space) -> None:
        space.kubectl("delete", kind, name, "--timeout=300s")

    return take_away


def cron(text: str, zone: str = "UTC") -> Callable[[Space], None]:
    return lambda space: space.apply(release(schedule={"cron": text, "timeZone": zone}))


def schedule(text: str, zone: str = "UTC") -> tuple[tuple[str, Any], ...]:
    return (("schedule", {"cron": text, "timeZone": zone}),)


def expression(text: str) -> Callable[[Space], None]:
    return lambda space: space.apply(release(**{"reward.expression": text}))


CASES = (
    Told(
        7,
        "a range that runs backwards",
        inputs(),
        "InvalidSchedule",
        ("spec.schedule.cron", "'0 3 * * 5-1'", "e.g."),
        cron("0 3 * * 1-5"),
        schedule("0 3 * * 5-1"),
    ),
    Told(
        8,
        "the 31st of February",
        inputs(),
        "InvalidSchedule",
        ("spec.schedule.cron", "'0 0 31 2 *'", "Bad day-of-month", "e.g."),
        cron("0 0 28 2 *"),
        schedule("0 0 31 2 *"),
    ),
    Told(
        10,
        "an unknown time zone",
        inputs(),
        "InvalidSchedule",
        ("spec.schedule.timeZone", "'Mars/Base'", "e.g. Europe/Berlin"),
        cron("0 3 * * 1", "Europe/Berlin"),
        schedule("0 3 * * 1", "Mars/Base"),
    ),
    Told(
        40,
        "no claim",
        inputs(claim=None),
        "ClaimMissing",
        ("spec.volume.claimName", "'rewriter'", "create it"),
        inputs(),
        spoil=without("pvc", "rewriter"),
    ),
    Told(
        40,
        "a claim of one node",
        inputs(claim=claim_with(accessModes=["ReadWriteOnce"])),
        "ClaimNotReadWriteMany",
        ("spec.volume.claimName", "'rewriter'", "ReadWriteOnce", "need ReadWriteMany"),
        claim_anew,
        spoil=claim_of_one_node,
    ),
    Told(
        40,
        "a claim that is being deleted",
        terminating,
        "ClaimMissing",
        ("spec.volume.claimName", "'rewriter'", "create it"),
        let_go,
    ),
    Told(
        44,
        "no constants",
        inputs(fusion=None),
        "FusionConfigMissing",
        ("spec.reward.fusion", "'fusion'", "'fusion.json'", "create it"),
        inputs(),
        spoil=without("configmap", "fusion"),
    ),
    Told(
        44,
        "another key",
        inputs(fusion=config_map(FUSION) | {"data": {"other.json": FUSION}}),
        "FusionConfigMissing",
        ("spec.reward.fusion", "'fusion.json'", "create it"),
        inputs(),
    ),
    Told(
        44,
        "constants that divide by zero",
        inputs(fusion=config_map(FUSION.replace("0.3", "0"))),
        "FusionConfigInvalid",
        ("spec.reward.fusion", "fusion.json.stages.finerank", "b must be above 0"),
        inputs(),
    ),
    Told(
        44,
        "constants that are no JSON",
        inputs(fusion=config_map("{")),
        "FusionConfigInvalid",
        ("spec.reward.fusion", "fusion.json must be JSON"),
        inputs(),
    ),
    Told(
        45,
        "an expression that wants to see the query",
        inputs(),
        "RewardExpressionInvalid",
        ("spec.reward.expression", "'logR + size(query)'", "no term is called size", "lengthRatio"),
        expression("logR - (lengthRatio > 3.0 ? 0.5 : 0.0)"),
        (("reward.expression", "logR + size(query)"),),
    ),
    Told(
        45,
        "a number that CEL takes for an integer",
        inputs(),
        "RewardExpressionInvalid",
        ("spec.reward.expression", "'logR * 2'", "write 2.0"),
        expression("logR * 2.0"),
        (("reward.expression", "logR * 2"),),
    ),
)


@pytest.mark.parametrize("told", CASES, ids=lambda told: f"B{told.row}-{told.case}")
def test_a_condition_says_what_is_missing_and_it_goes_on_by_itself(
    space: Space, operator: Operator, told: Told
) -> None:
    """Of a new release, and of one that was good before."""
    told.given(space)
    space.create(release(**dict(told.spec)))
    is_told(space, told)
    told.mend(space)
    goes_on(space)
    (told.spoil or told.given)(space)
    if told.spec:
        space.apply(release(**dict(told.spec)))
    is_told(space, told)
    told.mend(space)
    goes_on(space)
    assert space.condition("Stalled")[0] == "False"


def is_told(space: Space, told: Told) -> None:
    eventually(lambda: space.condition("Accepted")[:2] == ("False", told.reason), PATIENCE, told.reason)
    message = space.condition("Accepted")[2]
    for words in told.says:
        assert words in message
    assert space.condition("Stalled")[0] == "True"
    live = space.get("rr", "shop")
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
    eventually(lambda: PREPARE not in space.names("pods"), PATIENCE, "nothing is half-created, and nothing goes on")


def goes_on(space: Space) -> None:
    eventually(lambda: PREPARE in space.names("pods"), PATIENCE, "it goes on by itself")


def quota(pods: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": str(pods)}},
    }


def test_a_pod_that_the_quota_does_not_allow_is_told_in_the_api_servers_words(space: Space, operator: Operator) -> None:
    space.inputs()
    space.apply(quota(0))
    eventually(
        lambda: bool(space.get("resourcequota", "few").get("status", {}).get("hard")), PATIENCE, "the quota counts"
    )
    space.create(release())
    eventually(lambda: space.condition("Stalled")[:2] == ("True", "ChildRefused"), PATIENCE, "the refusal is told")
    assert "exceeded quota: few" in space.condition("Stalled")[2]
    space.apply(quota(20))
    eventually(lambda: "pod/shop-c0000-prepare-1" in space.names("pods"), PATIENCE, "it goes on by itself")
    eventually(lambda: space.condition("Stalled")[0] == "False", PATIENCE, "and nothing is stalled any more")


def test_somebody_elses_service_of_the_same_name_is_left_alone_and_named(space: Space, operator: Operator) -> None:
    space.inputs()
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop-passthrough", "labels": {"app": "theirs"}},
        "spec": {"ports": [{"port": 5432}]},
    }
    space.apply(theirs)
    space.create(release())
    eventually(lambda: space.condition("Stalled")[:2] == ("True", "ChildRefused"), PATIENCE, "the refusal is told")
    message = space.condition("Stalled")[2]
    assert "Service shop-passthrough is there already and is not of RewriterRelease shop" in message
    left = space.get("service", "shop-passthrough")
    assert left["metadata"]["labels"] == {"app": "theirs"} and left["spec"]["ports"][0]["port"] == 5432
    space.kubectl("delete", "service", "shop-passthrough")
    eventually(lambda: space.condition("Stalled")[0] == "False", PATIENCE, "it goes on by itself")
    assert space.get("service", "shop-passthrough")["metadata"]["ownerReferences"][0]["name"] == "shop"


def test_b44_the_agents_token_comes_again_when_it_is_deleted(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release())
    eventually(lambda: "secret/shop-agent-token" in space.names("secrets"), PATIENCE, "the token is there")
    before = space.get("secret", "shop-agent-token")["metadata"]["uid"]
    space.kubectl("delete", "secret", "shop-agent-token")
    eventually(lambda: bool(space.names("secrets") & {"secret/shop-agent-token"}), PATIENCE, "it is made again")
    assert space.get("secret", "shop-agent-token")["metadata"]["uid"] != before


def test_b55_commands_for_cycles_that_are_not_there_change_nothing(space: Space, operator: Operator) -> None:
    space.inputs()
    body = release()
    body["metadata"]["annotations"] = {
        "rewriter.dev/abort": "99",
        "rewriter.dev/approve": "r0042/finerank/1",
    }
    space.create(body)
    eventually(lambda: "pod/shop-c0000-prepare-1" in space.names("pods"), PATIENCE, "it goes on")
    assert space.get("rr", "shop")["status"]["cycle"]["number"] == 0
    assert "outcome" not in space.get("rr", "shop")["status"]["cycle"]


def test_b62_a_status_written_on_creation_is_not_the_releases_status(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release() | {"status": {"state": "Idle", "serves": "finerank=r0099", "lastCycleNumber": 98}})
    eventually(lambda: bool(space.get("rr", "shop").get("status", {}).get("cycle")), PATIENCE, "it begins")
    status = space.get("rr", "shop")["status"]
    assert status["state"] == "Bootstrapping" and status.get("lastCycleNumber", 0) == 0


def test_b63_a_finalizer_of_somebody_else_holds_nothing_of_ours(space: Space, operator: Operator) -> None:
    space.inputs()
    body = release()
    body["metadata"]["finalizers"] = ["kopf.zalando.org/KopfFinalizerMarker"]
    space.create(body)
    eventually(lambda: "pod/shop-c0000-prepare-1" in space.names("pods"), PATIENCE, "it goes on")
    space.kubectl("delete", "rr", "shop", "--wait=false")
    space.kubectl("patch", "rr", "shop", "--type=json", '-p=[{"op": "remove", "path": "/metadata/finalizers"}]')
    eventually(lambda: not space.get("rr", "shop"), PATIENCE, "the release is gone")
    eventually(lambda: not space.names("pods"), PATIENCE, "and its pods with it")


def written(text: str) -> str:
    """A release's text as a person types it, with a line of their own in it."""
    spec = json.dumps(release()["spec"])[1:-1]
    head = "apiVersion: rewriter.dev/v1alpha1\nkind: RewriterRelease\nmetadata: {name: shop}\n"
    return f"{head}spec: {{{spec}, {text}}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            written("modle: {}"), r'unknown field "spec.modle"|spec.modle: field not declared', id="B1-misspelt"
        ),
        pytest.param(written("historyLimit: .nan"), "NaN", id="B23-not-a-number"),
        pytest.param(written("historyLimit: 1e999"), "spec.historyLimit", id="B23-endless"),
        pytest.param(written("historyLimit: on"), "spec.historyLimit", id="B61-on-is-true"),
        pytest.param(written("historyLimit: 0o7x"), "spec.historyLimit", id="B61-no-number"),
        pytest.param(written("suspend: 'yes'"), "spec.suspend", id="B61-yes-is-text"),
        pytest.param(
            written("historyLimit: 012").replace("name: shop", "name: no"), "metadata.name", id="B61-no-is-false"
        ),
        pytest.param(written("historyLimit: 3").replace("\nspec", "\n\tspec"), "yaml", id="B61-a-tab"),
        pytest.param(written("historyLimit: 3").replace("v1alpha1", "v2"), "rewriter.dev/v2", id="B64-another-version"),
    ],
)
@pytest.mark.parametrize("how", ["create", "apply --server-side"])
def test_what_is_typed_wrongly_is_refused_by_name(space: Space, text: str, says: str, how: str) -> None:
    with pytest.raises(ClusterError, match=says):
        space.kubectl(*how.split(), "-f", "-", input=text)
    assert not space.names("rr")


def test_b59_a_release_larger_than_the_store_takes_leaves_the_operator_alone(space: Space, operator: Operator) -> None:
    body = release("huge")
    body["metadata"]["labels"] = {f"l{number}": "x" * 63 for number in range(30_000)}
    with pytest.raises(ClusterError, match=r"larger than max|too large|exceed"):
        space.create(body)
    space.inputs()
    space.create(release())
    eventually(lambda: "pod/shop-c0000-prepare-1" in space.names("pods"), PATIENCE, "others go on")
