"""Pod templates: restricted in every way that Pod Security's strictest level asks for, whatever the role.

No service account token is mounted (pods never talk to the API server), the root file system is read-only, and the only
writable places are emptyDirs and, for those that must write it, the release's directory on the volume.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

from rewriter_contract import env, wire
from rewriter_operator.api.release import Pods, RewriterReleaseSpec
from rewriter_operator.api.resources import GPUS
from rewriter_operator.core.decision import WantedPod
from rewriter_operator.core.recipe import engine_of, recipe_of
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names, trainers
from rewriter_operator.workloads.installation import Installation

VOLUME_MOUNT = "/volume"
PORT = 8080
USER = 10001

PodsT = TypeVar("PodsT", bound=Pods)


@dataclass(frozen=True)
class Program:
    """What the main container runs."""

    image: str
    module: str
    environment: dict[str, str]
    writes_volume: bool
    mounts_volume: bool = True
    processes: int = 1
    """That compute side by side, and share the pod's processors."""


def cycle_pod(release: str, spec: RewriterReleaseSpec, wanted: WantedPod, installation: Installation) -> dict[str, Any]:
    """A trainer, sampler, prepare or record pod. The last two run once; their answer is the termination message."""
    program = _program(release, spec, wanted, installation)
    once = wanted.role in (Role.PREPARE, Role.RECORD)
    pods: Pods = spec.training.samplers if wanted.role is Role.SAMPLER else spec.training.trainer
    if once:  # they need no GPU and must run even where none is free
        pods = without_queue(pods.model_copy(update={"resources": type(pods.resources)(), "priority_class_name": None}))
    template = pod_template(release, spec, program, pods, installation, once)
    labels = names.labels(release, wanted.role, wanted.cycle, wanted.number)
    name = names.cycle_pod(release, wanted.role, wanted.cycle, wanted.number)
    if wanted.role is Role.TRAINER and spec.training.trainer.replicas > 1:
        pods = trainers.queued_as_one(pods, name.rpartition("-")[0], spec.training.trainer.replicas)
        template |= {"hostname": name, "subdomain": names.meeting(release)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name} | pod_metadata(pods, labels),
        "spec": template,
    }


def pod_metadata(pods: Pods, own_labels: dict[str, str]) -> dict[str, Any]:
    """Labels and annotations of a pod: the release's beside the operator's own, which win."""
    annotations = {"annotations": dict(pods.annotations)} if pods.annotations else {}
    return {"labels": {**pods.labels, **own_labels}} | annotations


def without_queue(pods: PodsT) -> PodsT:
    """The same pods, not queued by Kueue."""

    def kept(entries: dict[str, str]) -> dict[str, str]:
        return {key: value for key, value in entries.items() if not key.startswith(trainers.KUEUE)}

    return pods.model_copy(update={"labels": kept(pods.labels), "annotations": kept(pods.annotations)})


def pod_template(
    release: str, spec: RewriterReleaseSpec, program: Program, pods: Pods, installation: Installation, once: bool
) -> dict[str, Any]:
    """The `spec` of a pod."""
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    if program.mounts_volume:
        volumes.append({"name": "volume", "persistentVolumeClaim": {"claimName": spec.volume.claim_name}})
    template: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never" if once else "Always",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(release, spec, program, pods, installation, once)],
        "volumes": volumes,
    }
    if pods.node_selector:
        template["nodeSelector"] = dict(pods.node_selector)
    if pods.tolerations:
        template["tolerations"] = [toleration.to_api() for toleration in pods.tolerations]
    if pods.priority_class_name:
        template["priorityClassName"] = pods.priority_class_name
    if pods.runtime_class_name:
        template["runtimeClassName"] = pods.runtime_class_name
    if installation.pull_secrets:
        template["imagePullSecrets"] = [{"name": name} for name in installation.pull_secrets]
    return template


def _program(release: str, spec: RewriterReleaseSpec, wanted: WantedPod, installation: Installation) -> Program:
    trainer = spec.training.trainer.image or installation.trainer_image
    sampler = spec.training.samplers.image or installation.sampler_image
    match wanted.role:
        case Role.PREPARE:
            storage = {env.STORAGE: wire.dumps(wanted.storage)} if wanted.storage else {}
            orders = {env.PREPARE: wire.dumps(wanted.prepare), **storage}
            return Program(trainer, "rewriter_trainer.prepare", orders, True)
        case Role.RECORD:
            order = {env.RECORD_ORDER: str(wanted.order)} if wanted.order else {}
            return Program(trainer, "rewriter_trainer.record", {env.RECORD: wire.dumps(wanted.record), **order}, True)
        case Role.TRAINER:
            workers = trainer_workers(spec.training.trainer)
            environment = {env.TRAINER_DTYPE: spec.model.dtype, env.TRAINER_WORKERS: str(workers)}
            environment |= trainers.group(release, wanted, spec.training.trainer.replicas)
            return Program(trainer, "rewriter_trainer", environment, True, processes=workers)
        case Role.SAMPLER:
            engine = engine_of(recipe_of(spec), spec.training.samplers.tensor_parallel, spec.training.seed)
            weights = {env.WEIGHTS: wire.dumps(wanted.weights)} if wanted.weights else {}
            environment = {env.ENGINE: wire.dumps(engine), **weights}
            return Program(sampler, "rewriter_sampler.sample_server", environment, True)
        case _:
            raise ValueError(f"{wanted.role} is no cycle pod")


def _container(
    release: str, spec: RewriterReleaseSpec, program: Program, pods: Pods, installation: Installation, once: bool
) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]
    if program.mounts_volume:
        mount: dict[str, Any] = {"name": "volume", "mountPath": VOLUME_MOUNT, "subPath": spec.volume.sub_path}
        mounts.append(mount if program.writes_volume else mount | {"readOnly": True})
    container: dict[str, Any] = {
        "name": "main",
        "image": program.image,
        "imagePullPolicy": installation.pull_policy,
        "command": ["python3", "-m", program.module],
        "env": [*_environment(release, program, pods), *_references(release)],
        "resources": pods.resources.to_api(),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if not once:
        container["ports"] = [{"name": "http", "containerPort": PORT}]
        container["readinessProbe"] = _probe("/readyz", period=2)
        container["livenessProbe"] = _probe("/healthz", period=10, failures=12)
    return container


def trainer_workers(pods: Pods) -> int:
    """Processes that train side by side: one for each GPU of the pod's limits, one without any."""
    return max(1, *(int(pods.resources.limits.get(device, "0")) for device in GPUS))


def cpu_threads(pods: Pods, processes: int = 1) -> int | None:
    """Whole CPUs of each process, of what the pod was given (limit, else request), rounded up; None where it asks for
    none.

    torch ignores control groups: left alone it starts a thread for every core of the node, and they get in each
    other's way (measured on a busy node: a quarter of the tokens per second).
    """
    quantity = pods.resources.limits.get("cpu") or pods.resources.requests.get("cpu")
    if quantity is None:
        return None
    cpus = float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
    return max(1, math.ceil(cpus / processes))


def _environment(release: str, program: Program, pods: Pods) -> list[dict[str, Any]]:
    threads = cpu_threads(pods, program.processes)
    values = {
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        env.RELEASE: release,
        env.VOLUME_ROOT: VOLUME_MOUNT,
        env.AGENT_PORT: str(PORT),
        **program.environment,
    }
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _references(release: str) -> list[dict[str, Any]]:
    secret = {"secretKeyRef": {"name": names.token(release), "key": "token"}}
    return [
        {"name": env.AGENT_TOKEN, "valueFrom": secret},
        {"name": env.POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
    ]


def _probe(path: str, period: int, failures: int = 3) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
