"""The Deployment and Service of a revision, and of the passthrough; the budget that a node drain has to keep."""

from typing import Any, Final

from rewriter_contract import env, wire
from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.core.decision import WantedServing
from rewriter_operator.core.world import LEARNT_SECONDS, Role
from rewriter_operator.workloads import names
from rewriter_operator.workloads.installation import Installation
from rewriter_operator.workloads.pods import PORT, Program, pod_metadata, pod_template, without_queue

LABELLED_SECONDS = 60
"""A new pod of the pool that is ready has yet to be seen by the operator, to be given its label, and to be learnt of by
the gateway; until then no other one is replaced. Long enough for another operator to take the lease meanwhile."""

ORDER_MOUNT = "/order"
ORDER_FILE = "serving"

_ORDER: Final = {
    "path": ORDER_FILE,
    "fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_SERVING}']"},
}
"""What a pool's pod reads, and kubelet writes anew when the annotation changes; an empty file while there is none."""

ENDING_SECONDS = 15
"""Of a pod's grace period, beside the requests that it may be answering: it answers on until the gateway has learnt
that it goes, and its process ends."""

LEAST_GRACE_SECONDS = 30


def grace_seconds(spec: RewriterReleaseSpec) -> int:
    """How long a serving pod may take to end: no request that it has taken is cut off before its own timeout."""
    return max(LEAST_GRACE_SECONDS, ENDING_SECONDS + seconds(spec.serving.request_timeout))


def _spread(labels: dict[str, str]) -> dict[str, Any]:
    """A revision's pods on as many nodes as there are: one node that goes takes no stage with it.

    ScheduleAnyway: where GPUs are on one node only, serving from it is better than not at all.
    """
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }


def pool(release: str, spec: RewriterReleaseSpec, installation: Installation) -> dict[str, Any]:
    """The pods that all revisions share. A pod that is replaced goes before its successor comes: there is no GPU for
    one more."""
    program = Program(
        image=spec.serving.image or installation.sampler_image,
        module="rewriter_sampler.serve",
        environment={env.SERVING_FILE: f"{ORDER_MOUNT}/{ORDER_FILE}"},
        writes_volume=False,
    )
    labels = names.pool_labels(release)
    template = pod_template(release, spec, program, spec.serving, installation, once=False)
    template["terminationGracePeriodSeconds"] = grace_seconds(spec)
    template["topologySpreadConstraints"] = [_spread(labels)]
    template["volumes"].append({"name": "order", "downwardAPI": {"items": [_ORDER]}})
    template["containers"][0]["volumeMounts"].append({"name": "order", "mountPath": ORDER_MOUNT, "readOnly": True})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": names.pool(release), "labels": names.labels(release, Role.POOL)},
        "spec": {
            "replicas": spec.serving.replicas,
            "revisionHistoryLimit": 1,
            "minReadySeconds": LABELLED_SECONDS,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": spec.serving.max_unavailable, "maxSurge": 0},
            },
            "template": {"metadata": pod_metadata(spec.serving, labels), "spec": template},
        },
    }


def pool_budget(release: str, spec: RewriterReleaseSpec) -> dict[str, Any]:
    """How many of the pool's pods may go at once when nodes are drained, whatever they serve. One that loads another
    revision counts as gone."""
    body = _budget(names.pool(release), names.labels(release, Role.POOL), names.pool_labels(release))
    body["spec"]["maxUnavailable"] = min(spec.serving.max_unavailable, max(1, spec.serving.replicas - 1))
    return body


def deployment(
    release: str, spec: RewriterReleaseSpec, wanted: WantedServing, installation: Installation
) -> dict[str, Any]:
    """Serving pods: ready only when the wanted weights are verified, loaded, and the canary agrees."""
    passthrough = wanted.config.weights is None
    role = Role.PASSTHROUGH if passthrough else Role.SERVING
    environment = {env.SERVING: wire.dumps(wanted.config)}
    if wanted.engine is not None:
        environment[env.ENGINE] = wire.dumps(wanted.engine)
    program = Program(
        image=spec.serving.image or installation.sampler_image,
        module="rewriter_sampler.passthrough" if passthrough else "rewriter_sampler.serve",
        environment=environment,
        writes_volume=False,
        mounts_volume=not passthrough,
    )
    pods = spec.serving
    if passthrough:  # a few lines of Python: no GPU, no node of its own
        pods = without_queue(
            pods.model_copy(update={"resources": type(pods.resources)(), "node_selector": {}, "tolerations": []})
        )
    labels = names.labels(release, role, wanted.revision)
    template = pod_template(release, spec, program, pods, installation, once=False)
    template["terminationGracePeriodSeconds"] = grace_seconds(spec)
    if not passthrough:
        template["topologySpreadConstraints"] = [_spread(labels)]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": names.serving(release, wanted.revision), "labels": labels},
        "spec": {
            "replicas": _replicas(spec, wanted),
            "revisionHistoryLimit": 1,
            "minReadySeconds": LEARNT_SECONDS,
            "selector": {"matchLabels": labels},
            # A pod is taken away only after its successor is ready: the gateway never sees an empty Service.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": pod_metadata(pods, labels), "spec": template},
        },
    }


def service(release: str, wanted: WantedServing) -> dict[str, Any]:
    """What the route's backends point at."""
    role = Role.PASSTHROUGH if wanted.config.weights is None else Role.SERVING
    labels = names.labels(release, role, wanted.revision)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": names.serving(release, wanted.revision), "labels": labels},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}]},
    }


def disruption_budget(release: str, spec: RewriterReleaseSpec, wanted: WantedServing) -> dict[str, Any] | None:
    """How many of a revision's pods may go at once when nodes are drained; None where one pod is all there is.

    A budget that keeps the only pod would block the drain of its node for ever, and one that does not keeps nothing.
    Pods that the pool lends are in the pool's: one that two budgets select cannot be evicted at all.
    """
    replicas = wanted.replicas or _replicas(spec, wanted)
    if replicas < 2:
        return None
    labels = names.labels(release, Role.SERVING, wanted.revision)
    body = _budget(names.serving(release, wanted.revision), labels, labels)
    body["spec"]["selector"]["matchExpressions"] = [{"key": names.LABEL_POOL, "operator": "DoesNotExist"}]
    body["spec"]["maxUnavailable"] = min(spec.serving.max_unavailable, replicas - 1)  # a candidate may have fewer
    return body


def _budget(name: str, labels: dict[str, str], selected: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "minAvailable": None,  # said, because a budget to which somebody adds it is refused with both
            "selector": {"matchLabels": selected},
            # A pod that does not answer is nobody's loss, and must not keep its node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _replicas(spec: RewriterReleaseSpec, wanted: WantedServing) -> int:
    return 1 if wanted.config.weights is None else spec.serving.replicas
