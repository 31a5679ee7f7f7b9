"""What every manifest has in common, whatever it is for; and the shape of the route."""

from typing import Any

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import STAGE_HEADER, PromotionRecord, ServingConfig, WeightsRef
from rewriter_operator.api.revision import RewriterRevisionSpec
from rewriter_operator.core.begun_spec import spec_digest
from rewriter_operator.core.decision import (
    Wanted,
    WantedPod,
    WantedPool,
    WantedRevision,
    WantedRoute,
    WantedServing,
    WantedToken,
)
from rewriter_operator.core.pool import LOOK_SECONDS
from rewriter_operator.core.preparing import prepare_order
from rewriter_operator.core.world import Role
from rewriter_operator.settings import Settings
from rewriter_operator.workloads import names
from rewriter_operator.workloads.pods import pod_metadata
from rewriter_operator.workloads.render import Manifest, render
from tests.builders import INSTALLATION, digest_of, make_cycle, make_spec, make_status, make_world, weights, weights_ref

SPEC = make_spec()
WORLD = make_world(SPEC, make_status(SPEC, cycle=make_cycle(SPEC)))
RECORD = PromotionRecord(release="shop", revision=2, stages={"finerank": weights_ref()})
LONG = "a" * 40

WANTED: dict[str, Wanted] = {
    "prepare": WantedPod(Role.PREPARE, 2, 1, prepare=prepare_order(WORLD)),
    "record": WantedPod(Role.RECORD, 2, 1, record=RECORD),
    "trainer": WantedPod(Role.TRAINER, 2),
    "sampler": WantedPod(Role.SAMPLER, 2, 0),
    "serving": WantedServing(2, ServingConfig("r0002", weights_ref())),
    "pool": WantedPool(),
    "passthrough": WantedServing(-1, ServingConfig("passthrough")),
    "route": WantedRoute((("finerank", 1), ("recall", None)), candidate=2, shares=(("finerank", 25),)),
    "token": WantedToken(),
    "revision": WantedRevision(
        RewriterRevisionSpec(release_name="shop", revision=2, weights=weights(), spec_digest=digest_of("spec"))
    ),
}
PODS = ("prepare", "record", "trainer", "sampler", "serving", "pool", "passthrough")


def manifests(what: str) -> list[Manifest]:
    return render(WORLD.release, (WANTED[what],), INSTALLATION)


def pod_spec(what: str) -> dict[str, Any]:
    body = manifests(what)[0].body
    spec: dict[str, Any] = body["spec"]["template"]["spec"] if body["kind"] == "Deployment" else body["spec"]
    return spec


def route(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"incumbents": (("finerank", 1), ("recall", None))}
    return render(WORLD.release, (WantedRoute(**(values | changes)),), INSTALLATION)[0].body


@pytest.mark.parametrize("what", PODS)
def test_every_pod_is_restricted(what: str) -> None:
    """Pod Security's `restricted` level, and more: no API token, a read-only root file system."""
    spec = pod_spec(what)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & spec.keys()
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "persistentVolumeClaim", "downwardAPI"}


@pytest.mark.parametrize("what", PODS)
def test_only_pods_that_must_write_the_volume_can(what: str) -> None:
    (container,) = pod_spec(what)["containers"]
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "volume"]
    if what == "passthrough":
        assert mounts == []
    else:
        assert mounts[0]["subPath"] == "shop"
        assert mounts[0].get("readOnly", False) is (what in ("serving", "pool"))


@pytest.mark.parametrize("what", PODS)
def test_the_token_comes_by_reference_and_is_in_no_manifest(what: str) -> None:
    (container,) = pod_spec(what)["containers"]
    (token,) = [item for item in container["env"] if item["name"] == "REWRITER_AGENT_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "shop-agent-token", "key": "token"}}
    assert "data" not in manifests("token")[0].body


@pytest.mark.parametrize("what", [pod for pod in PODS if pod not in ("prepare", "record")])
def test_long_running_pods_have_probes_and_those_that_run_once_do_not(what: str) -> None:
    assert pod_spec(what)["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "readinessProbe" not in pod_spec("prepare")["containers"][0]
    assert pod_spec("prepare")["restartPolicy"] == "Never"


@pytest.mark.parametrize("what", WANTED)
def test_every_object_is_owned_labelled_and_hashed(what: str) -> None:
    for manifest in manifests(what):
        metadata = manifest.body["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("RewriterRelease", "uid-shop", True)
        assert metadata["namespace"] == "search"
        assert metadata["labels"][names.LABEL_RELEASE] == "shop"
        assert metadata["labels"][names.LABEL_MANAGED] == names.MANAGER
        assert len(manifest.digest) == 16


@pytest.mark.parametrize("what", WANTED)
def test_equal_wishes_give_equal_manifests(what: str) -> None:
    assert [item.body for item in manifests(what)] == [item.body for item in manifests(what)]


def test_another_wish_has_another_hash() -> None:
    other = WantedServing(2, ServingConfig("r0002", weights_ref("r0002-p03")))
    assert render(WORLD.release, (other,), INSTALLATION)[0].digest != manifests("serving")[0].digest


def test_pods_and_revisions_are_never_updated() -> None:
    updated = {manifest.kind: manifest.update for what in WANTED for manifest in manifests(what)}
    assert updated == {
        "Pod": False,
        "Secret": False,
        "RewriterRevision": False,
        "Deployment": True,
        "Service": True,
        "PodDisruptionBudget": True,
        "HTTPRoute": True,
    }


@pytest.mark.parametrize(
    "name",
    [
        names.serving(LONG, -1),
        names.serving(LONG, 99999),
        names.token(LONG),
        names.route(LONG),
        names.revision(LONG, 99999),
        *(names.cycle_pod(LONG, role, 99999, 9999) for role in (Role.PREPARE, Role.RECORD, Role.TRAINER, Role.SAMPLER)),
    ],
)
def test_names_fit_into_a_label_even_for_the_longest_release(name: str) -> None:
    assert len(name) <= 63


def test_names_of_different_children_differ() -> None:
    found = [manifest.kind + manifest.name for what in WANTED for manifest in manifests(what)]
    assert len(set(found)) == len(found)


def weighted(rule: dict[str, Any]) -> list[tuple[str, int]]:
    return [(backend["name"], backend["weight"]) for backend in rule["backendRefs"]]


def test_the_candidate_gets_its_share_and_the_incumbent_the_rest() -> None:
    rules = route(candidate=2, shares=(("finerank", 25),))["spec"]["rules"]
    assert [(item["name"], item["weight"]) for item in rules[0]["backendRefs"]] == [
        ("shop-r0001", 75),
        ("shop-r0002", 25),
    ]
    assert [(item["name"], item["weight"]) for item in rules[1]["backendRefs"]] == [("shop-passthrough", 100)]


def test_at_full_share_the_incumbent_stays_in_the_rule_with_weight_zero() -> None:
    backends = route(candidate=2, shares=(("finerank", 100),))["spec"]["rules"][0]["backendRefs"]
    assert [item["weight"] for item in backends] == [0, 100]


def test_each_stage_has_its_rule_and_the_catch_all_comes_last() -> None:
    rules = route()["spec"]["rules"]
    headers = [rule["matches"][0].get("headers") for rule in rules]
    assert headers[0] == [{"type": "Exact", "name": STAGE_HEADER, "value": "finerank"}]
    assert headers[-1] is None
    assert rules[-1]["backendRefs"][0]["name"] == "shop-passthrough"


FRONT = make_spec(traffic={"service": {"name": "rewrites", "port": 80}})


def route_behind_a_service(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"incumbents": (("finerank", 1), ("recall", None))}
    wanted = WantedRoute(**(values | changes))
    spec: dict[str, Any] = render(make_world(FRONT).release, (wanted,), INSTALLATION)[0].body["spec"]
    return spec


def test_behind_a_service_the_route_is_attached_to_its_port_in_the_releases_own_namespace() -> None:
    assert route_behind_a_service()["parentRefs"] == [
        {"group": "", "kind": "Service", "name": "rewrites", "namespace": "search", "port": 80}
    ]


@pytest.mark.parametrize("stages", [(), (("finerank", 1),), (("finerank", 1), ("recall", None))], ids=len)
def test_behind_a_service_whatever_no_stage_asks_is_answered_too(stages: tuple[tuple[str, int | None], ...]) -> None:
    """A mesh answers 404 to what no rule matches; a longer path goes before, wherever it stands."""
    rules = route_behind_a_service(incumbents=stages)["rules"]
    assert rules[-1]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert [sum(item["weight"] for item in rule["backendRefs"]) for rule in rules] == [100] * (len(stages) + 1)
    assert all(rule["matches"][0]["path"]["value"] == "/v1/rewrite" for rule in rules[:-1])


def test_behind_a_service_the_catch_all_never_gives_the_candidate_anything() -> None:
    rules = route_behind_a_service(candidate=2, shares=(("finerank", 100),), idle=(-1, 1, 2))["rules"]
    assert dict(weighted(rules[0])) == {"shop-r0001": 0, "shop-r0002": 100, "shop-passthrough": 0}
    assert dict(weighted(rules[-1])) == {"shop-passthrough": 100, "shop-r0001": 0, "shop-r0002": 0}


def test_behind_a_service_shares_are_those_behind_a_gateway() -> None:
    values: dict[str, Any] = {"candidate": 2, "shares": (("finerank", 25),), "idle": (-1, 2)}
    stages = route(**values)["spec"]["rules"][:-1]
    assert route_behind_a_service(**values)["rules"][:-1] == stages


def test_a_release_that_names_nothing_to_call_is_refused_with_the_field() -> None:
    world = make_world(make_spec(traffic={}))
    with pytest.raises(ValueError, match=r"spec\.traffic: got neither gateway nor service"):
        render(world.release, (WantedRoute((("finerank", 1),)),), INSTALLATION)


def test_without_a_share_no_rule_names_the_candidate() -> None:
    assert "shop-r0002" not in str(route(candidate=2)["spec"])


def test_a_withdrawal_is_written_on_the_route() -> None:
    annotations = route(withdrawn=2)["metadata"]["annotations"]
    assert annotations[names.ANNOTATION_WITHDRAWN] == "2"
    assert annotations[names.ANNOTATION_SHARES] == "{}"
    assert names.ANNOTATION_WITHDRAWN not in route()["metadata"]["annotations"]


def test_what_a_release_says_of_its_pods_arrives() -> None:
    spec = make_spec(
        **{
            "serving.resources": {"limits": {"nvidia.com/gpu": "1"}},
            "serving.nodeSelector": {"pool": "gpu"},
            "serving.tolerations": [{"key": "gpu", "operator": "Exists"}],
            "serving.priorityClassName": "search",
        }
    )
    world = make_world(spec)
    body = render(world.release, (WANTED["serving"],), INSTALLATION)[0].body["spec"]["template"]["spec"]
    assert body["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert (body["nodeSelector"], body["priorityClassName"]) == ({"pool": "gpu"}, "search")
    assert body["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    passthrough = render(world.release, (WANTED["passthrough"],), INSTALLATION)[0].body["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in str(passthrough), "the passthrough takes no GPU"


def test_a_change_for_the_next_cycle_does_not_restart_what_serves_now() -> None:
    world = make_world(make_spec(**{"training.seed": 7, "training.phases": 5, "schedule": {"cron": "0 3 * * 1"}}))
    (now, _) = manifests("serving")
    (later, _) = render(world.release, (WANTED["serving"],), INSTALLATION)
    assert now.digest == later.digest


def environment(what: str, **changes: Any) -> dict[str, str]:
    (pod, *_) = render(make_world(make_spec(**changes)).release, (WANTED[what],), INSTALLATION)
    return {item["name"]: item["value"] for item in pod.body["spec"]["containers"][0]["env"] if "value" in item}


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({"nvidia.com/gpu": "8"}, "8"),
        ({"amd.com/gpu": "4", "cpu": "32"}, "4"),
        ({"nvidia.com/gpu": "1"}, "1"),
        ({"cpu": "32", "rdma/hca": "2"}, "1"),
        ({"nvidia.com/mig-1g.5gb": "2"}, "1"),  # NCCL joins no two slices of one GPU
        ({}, "1"),
    ],
    ids=str,
)
def test_a_trainer_trains_with_one_worker_for_each_gpu(limits: dict[str, str], workers: str) -> None:
    assert environment("trainer", **{"training.trainer.resources": {"limits": limits}})[env.TRAINER_WORKERS] == workers


def test_the_workers_of_a_trainer_share_its_processors() -> None:
    resources = {"requests": {"cpu": "16"}, "limits": {"nvidia.com/gpu": "8"}}
    assert environment("trainer", **{"training.trainer.resources": resources})["OMP_NUM_THREADS"] == "2"
    assert environment("sampler", **{"training.samplers.resources": resources})["OMP_NUM_THREADS"] == "16"


def test_a_pod_that_only_prepares_takes_no_gpu_whatever_the_trainer_has() -> None:
    changes = {"training.trainer.resources": {"limits": {"nvidia.com/gpu": "8"}}}
    assert env.TRAINER_WORKERS not in environment("prepare", **changes)
    assert "nvidia.com/gpu" not in str(
        render(make_world(make_spec(**changes)).release, (WANTED["prepare"],), INSTALLATION)
    )


OWN = {"team": "search", "kueue.x-k8s.io/queue-name": "gpus"}
NOTE = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "kueue.x-k8s.io/pod-group-total-count": "1"}


def metadata_of(what: str) -> dict[str, Any]:
    pods = ("training.trainer", "training.samplers", "serving")
    changes = {f"{path}.{kind}": given for path in pods for kind, given in (("labels", OWN), ("annotations", NOTE))}
    body = render(make_world(make_spec(**changes)).release, (WANTED[what],), INSTALLATION)[0].body
    metadata: dict[str, Any] = (body["spec"]["template"] if body["kind"] == "Deployment" else body)["metadata"]
    return metadata


def test_a_sampler_is_told_weights_in_its_template_only_where_it_is_made_for_them() -> None:
    """So a reload's pods are as they always were, and other weights need another pod."""
    told, wanted = environment("sampler"), WantedPod(Role.SAMPLER, 2, 0, weights=weights_ref("r0002-p01"))
    (pod,) = render(WORLD.release, (wanted,), INSTALLATION)
    variables = pod.body["spec"]["containers"][0]["env"]
    made_for = {item["name"]: item["value"] for item in variables if "value" in item}
    assert env.WEIGHTS not in told
    assert wire.loads(WeightsRef, made_for.pop(env.WEIGHTS)) == weights_ref("r0002-p01")
    assert made_for == told


@pytest.mark.parametrize("what", ["trainer", "sampler", "serving"])
def test_labels_and_annotations_of_a_release_are_on_its_pods_beside_the_operators_own(what: str) -> None:
    metadata = metadata_of(what)
    assert OWN.items() <= metadata["labels"].items() and NOTE.items() <= metadata["annotations"].items()
    assert metadata["labels"][names.LABEL_RELEASE] == "shop"


@pytest.mark.parametrize("what", ["prepare", "record", "passthrough"])
def test_pods_that_must_run_where_no_quota_is_free_are_not_queued(what: str) -> None:
    metadata = metadata_of(what)
    assert metadata["labels"]["team"] == "search"
    assert "cluster-autoscaler.kubernetes.io/safe-to-evict" in metadata["annotations"]
    assert "kueue" not in str(metadata)


def test_a_label_of_a_release_that_was_stored_before_its_rule_wins_over_none_of_the_operators_own() -> None:
    pods = make_spec().training.trainer.model_copy(update={"labels": {names.LABEL_RELEASE: "other"}})
    assert pod_metadata(pods, {names.LABEL_RELEASE: "shop"})["labels"] == {names.LABEL_RELEASE: "shop"}


def test_a_deployment_is_told_apart_by_the_operators_labels_alone() -> None:
    world = make_world(make_spec(**{"serving.labels": OWN}))
    deployment, service = (item.body for item in render(world.release, (WANTED["serving"],), INSTALLATION))
    plain, _ = (item.body for item in manifests("serving"))
    assert deployment["spec"]["selector"] == plain["spec"]["selector"], "a selector cannot be changed afterwards"
    assert service["spec"]["selector"] == plain["spec"]["selector"]["matchLabels"]


def test_a_release_without_labels_has_the_manifests_and_the_cycles_that_it_had() -> None:
    empty = make_spec(**{"serving.labels": {}, "training.trainer.annotations": {}})
    assert spec_digest(empty) == spec_digest(SPEC)
    assert "labels" not in SPEC.to_api()["serving"] and "annotations" not in pod_template_of("serving")


def pod_template_of(what: str) -> dict[str, Any]:
    metadata: dict[str, Any] = manifests(what)[0].body["spec"]["template"]["metadata"]
    return metadata


def serving_pods(what: str = "serving", **changes: Any) -> dict[str, Any]:
    world = make_world(make_spec(**changes))
    found: dict[str, Any] = render(world.release, (WANTED[what],), INSTALLATION)[0].body["spec"]["template"]["spec"]
    return found


def test_serving_pods_are_spread_over_nodes_where_there_are_several() -> None:
    labels = manifests("serving")[0].body["spec"]["selector"]["matchLabels"]
    (constraint,) = serving_pods()["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"] == labels, "a revision's own pods, not those of all revisions"
    assert (constraint["topologyKey"], constraint["maxSkew"]) == ("kubernetes.io/hostname", 1)
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway", "one node that has GPUs must be enough"


@pytest.mark.parametrize("timeout, grace", [("1s", 30), ("5s", 30), ("15s", 30), ("16s", 31), ("2m", 135)])
@pytest.mark.parametrize("what", ["serving", "passthrough"])
def test_a_serving_pod_is_given_the_time_to_answer_what_it_has_taken(what: str, timeout: str, grace: int) -> None:
    assert serving_pods(what, **{"serving.requestTimeout": timeout})["terminationGracePeriodSeconds"] == grace


def budgets(what: str = "serving", **changes: Any) -> list[Manifest]:
    world = make_world(make_spec(**changes))
    found = render(world.release, (WANTED[what],), INSTALLATION)
    return [manifest for manifest in found if manifest.kind == "PodDisruptionBudget"]


def test_a_drain_takes_one_pod_of_a_revision_after_the_other() -> None:
    (budget,) = budgets(**{"serving.replicas": 2})
    labels = manifests("serving")[0].body["spec"]["selector"]["matchLabels"]
    assert budget.body["spec"] == {
        "maxUnavailable": 1,
        "minAvailable": None,
        "selector": {
            "matchLabels": labels,
            "matchExpressions": [{"key": "rewriter.dev/pool", "operator": "DoesNotExist"}],
        },
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert (budget.name, budget.update) == ("shop-r0002", True)
    (owner,) = budget.body["metadata"]["ownerReferences"]
    assert (owner["uid"], budget.body["metadata"]["labels"]) == ("uid-shop", labels)


def test_a_release_with_many_pods_may_let_a_drain_take_several() -> None:
    (budget,) = budgets(**{"serving.replicas": 16, "serving.maxUnavailable": 4})
    assert budget.body["spec"]["maxUnavailable"] == 4


@pytest.mark.parametrize("what, replicas", [("serving", 1), ("passthrough", 1), ("passthrough", 3)])
def test_one_pod_alone_has_no_budget_because_it_would_block_the_drain_of_its_node(what: str, replicas: int) -> None:
    assert budgets(what, **{"serving.replicas": replicas}) == []


def scaled(replicas: int | None, **changes: Any) -> list[Manifest]:
    """A candidate of 8 pods that has only so many yet."""
    wanted = WantedServing(2, ServingConfig("r0002", weights_ref()), replicas=replicas)
    return render(make_world(make_spec(**{"serving.replicas": 8, **changes})).release, (wanted,), INSTALLATION)


def test_a_candidate_with_fewer_pods_has_the_digest_of_one_with_all_so_that_only_too_few_are_a_difference() -> None:
    (some, *_), (every, *_) = scaled(2), scaled(None)
    assert (some.replicas, every.replicas) == (2, 8)
    assert some.digest == every.digest
    assert {**some.body["spec"], "replicas": 8} == every.body["spec"]


@pytest.mark.parametrize("replicas, most", [(1, None), (2, 1), (3, 2), (4, 3), (5, 4), (8, 4), (None, 4)])
def test_a_drain_never_takes_all_the_pods_of_a_candidate_that_has_a_few(replicas: int | None, most: int | None) -> None:
    found = [item.body["spec"] for item in scaled(replicas, **{"serving.maxUnavailable": 4}) if "Budget" in item.kind]
    assert [budget["maxUnavailable"] for budget in found] == ([most] if most else [])


def test_a_budget_changes_nothing_of_the_pods_that_it_is_about() -> None:
    (one, *_), (four, *_) = (
        render(make_world(make_spec(**{"serving.replicas": 8, **more})).release, (WANTED["serving"],), INSTALLATION)
        for more in ({}, {"serving.maxUnavailable": 4})
    )
    assert one.digest == four.digest, "the Deployment"


def test_pods_of_the_pool_are_made_for_no_revision_and_are_found_by_no_revisions_service() -> None:
    made, budget = manifests("pool")
    template, selector = made.body["spec"]["template"], made.body["spec"]["selector"]["matchLabels"]
    assert selector == budget.body["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    (service,) = [item.body for item in manifests("serving") if item.kind == "Service"]
    missing = service["spec"]["selector"].items() - selector.items()
    assert dict(missing) == {names.LABEL_CYCLE: "2"}, "the label that a pod is given is all that it lacks"
    variables = {item["name"] for item in template["spec"]["containers"][0]["env"]}
    assert not variables & {env.SERVING, env.ENGINE}


def selects(budget: Manifest, labels: dict[str, str]) -> bool:
    selector = budget.body["spec"]["selector"]
    lacks = [item["key"] for item in selector.get("matchExpressions", []) if item["operator"] == "DoesNotExist"]
    return selector["matchLabels"].items() <= labels.items() and not set(lacks) & set(labels)


def test_no_pod_has_two_budgets_because_the_api_server_evicts_none_that_has() -> None:
    """While the mode changes both are there, and what the pool lends bears the revision's labels."""
    (of_revision,), of_pool = budgets(**{"serving.replicas": 2}), manifests("pool")[1]
    own = manifests("serving")[0].body["spec"]["template"]["metadata"]["labels"]
    lent = manifests("pool")[0].body["spec"]["template"]["metadata"]["labels"] | {names.LABEL_CYCLE: "2"}
    assert own.items() <= lent.items(), "both are behind the revision's Service"
    assert [selects(of_revision, own), selects(of_pool, own)] == [True, False]
    assert [selects(of_revision, lent), selects(of_pool, lent)] == [False, True]


def test_there_is_never_a_pod_more_than_the_pool_has() -> None:
    made, budget = manifests("pool")
    assert made.body["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert budget.body["spec"]["maxUnavailable"] == 1


def test_a_rolling_update_of_the_pool_waits_for_a_label_also_while_the_operators_leader_changes() -> None:
    made, _ = manifests("pool")
    assert made.body["spec"]["minReadySeconds"] >= 2 * Settings.lease_seconds + LOOK_SECONDS


def test_what_a_pod_of_the_pool_serves_is_a_file_that_kubelet_writes_from_its_annotation() -> None:
    spec = pod_spec("pool")
    (item,) = next(volume["downwardAPI"]["items"] for volume in spec["volumes"] if volume["name"] == "order")
    assert item["fieldRef"] == {"fieldPath": "metadata.annotations['rewriter.dev/serving']"}
    (container,) = spec["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "order"]
    (path,) = [item["value"] for item in container["env"] if item["name"] == env.SERVING_FILE]
    assert path == f"{mount['mountPath']}/{item['path']}" and mount["readOnly"] is True


def test_a_revision_of_the_pool_has_a_service_and_nothing_else() -> None:
    lent = WantedServing(2, ServingConfig("r0002", weights_ref()), has_deployment=False)
    (made,) = render(WORLD.release, (lent,), INSTALLATION)
    (own,) = [item for item in manifests("serving") if item.kind == "Service"]
    assert made.body == own.body, "the same as with pods of its own, so that a change of the mode moves no request"
