"""Reads everything that a decision may depend on into one World. Reads only; what cannot be read is left out."""

import asyncio
import base64
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rewriter_contract import env, wire
from rewriter_contract.messages import EvidenceRows, FusionTerm, SamplerState, ServingStats, WeightsRef, WorkReport
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import PhaseStep
from rewriter_operator.cluster.agents import ROWS_SECONDS, Agents
from rewriter_operator.cluster.kube import Kube, is_owned_by
from rewriter_operator.cluster.release import read_release
from rewriter_operator.core.asked import are_serving_pods_asked
from rewriter_operator.core.begun_spec import in_force
from rewriter_operator.core.gating import SIDES, evidence_paths, is_gathered
from rewriter_operator.core.slow_shards import sample_paths
from rewriter_operator.core.trainers import trainer_paths
from rewriter_operator.core.validating import validation_paths
from rewriter_operator.core.world import (
    ENDED,
    Budget,
    Child,
    Claim,
    Deployment,
    Fusion,
    Pod,
    Release,
    Revision,
    Role,
    Route,
    World,
)
from rewriter_operator.workloads import names
from rewriter_operator.workloads.routers import ROUTERS

log = logging.getLogger(__name__)

_CHILD_KINDS = ("Pod", "Deployment", "Service", "PodDisruptionBudget", "Secret", "RewriterRevision")
"""And the one that spec.traffic routes by."""


@dataclass(frozen=True)
class Observation:
    """The world, and the agents' token beside it, so that the token is in no value that is logged."""

    world: World
    token: str


async def read(kube: Kube, release: Release) -> Observation:
    """What the API server has: the release's children and inputs."""
    selector = f"{names.LABEL_RELEASE}={release.name}"
    spec = in_force(release.spec, release.status)
    lists, claim, fusion = await asyncio.gather(
        asyncio.gather(*(kube.list(kind, selector) for kind in (*_CHILD_KINDS, spec.traffic.route_kind))),
        _claim(kube, spec),
        _fusion(kube, spec),
    )
    objects = [item for items in lists for item in items]
    children = tuple(child for item in objects if (child := _read_child(item, release.uid)) is not None)
    world = World(now=0, release=release, claim=claim, fusion=fusion, children=children)
    return Observation(world, _token(objects))


def with_written(observation: Observation, item: dict[str, Any]) -> Observation | None:
    """The same after a write of ours, which the API server answered with `item`: the release, or a child of it.

    None where that changes what had to be read: the release is being deleted, or another spec is in force.
    """
    world = observation.world
    if item["kind"] == "RewriterRelease":
        release = read_release(item)
        if release.generation == world.release.generation:  # the very object, about which much is worked out already
            release = replace(release, spec=world.release.spec)
        same = in_force(release.spec, release.status) == in_force(world.release.spec, world.release.status)
        if "deletionTimestamp" in item["metadata"] or not same:
            return None
        return replace(observation, world=replace(world, release=release))
    child = _read_child(item, world.release.uid)
    others = (old for old in world.children if (old.kind, old.name) != (item["kind"], item["metadata"]["name"]))
    world = replace(world, children=(*others, *((child,) if child else ())))
    return Observation(world, _token([item]) or observation.token)


async def asked(observation: Observation, agents: Agents, now: float) -> Observation:
    """The same with what the pods say now."""
    world = replace(observation.world, now=now)
    return replace(observation, world=await _asked(world, agents, observation.token))


async def _asked(world: World, agents: Agents, token: str) -> World:
    """The world with what the pods say."""
    world = await _with_cycles_pods(world, agents, token)
    return await _with_stats(world, agents, token) if are_serving_pods_asked(world) else world


async def _with_cycles_pods(world: World, agents: Agents, token: str) -> World:
    """With what those say that train and judge."""
    state = world.status.state
    if state is State.TRAINING:
        world = await _with_samplers(world, agents, token)
        return await _with_works(world, agents, token, _training_paths(world))
    if state is State.GATING:
        world = await _with_samplers(world, agents, token)
        replicas = world.spec.training.samplers.replicas
        paths = [
            (Role.SAMPLER, index % replicas, path)
            for side in SIDES
            for index, path in enumerate(evidence_paths(world, side))
        ]
        world = await _with_works(world, agents, token, paths)
        return await _with_evidence(world, agents, token)
    return world


def _training_paths(world: World) -> list[tuple[Role, int, str]]:
    cycle = world.status.cycle
    if not (cycle and cycle.phase):
        return []
    if cycle.phase.step is PhaseStep.VALIDATING:
        return [(Role.SAMPLER, index, path) for index, path in enumerate(validation_paths(world))]
    if cycle.phase.step is PhaseStep.SAMPLING:
        return [(Role.SAMPLER, index, path) for index, path in sample_paths(world)]
    if cycle.phase.step is PhaseStep.TRAINING:
        return [(Role.TRAINER, number, path) for number, path in enumerate(trainer_paths(world))]
    return []


async def _with_samplers(world: World, agents: Agents, token: str) -> World:
    pods = [pod for pod in world.pods(Role.SAMPLER) if pod.ip and not pod.deleting]
    answers = await asyncio.gather(*(agents.get(SamplerState, pod.ip, token, "/v1/state") for pod in pods))
    states = {pod.number: answer for pod, answer in zip(pods, answers, strict=True) if isinstance(answer, SamplerState)}
    return replace(world, samplers=states)


async def _with_works(world: World, agents: Agents, token: str, paths: Iterable[tuple[Role, int, str]]) -> World:
    cycle = world.status.cycle
    asked = [
        (pod, path)
        for role, index, path in paths
        if cycle and (pod := world.pod(role, cycle.number, index)) is not None and pod.ip
    ]
    answers = await asyncio.gather(*(agents.get(WorkReport, pod.ip, token, path) for pod, path in asked))
    works = {path: answer for (_, path), answer in zip(asked, answers, strict=True) if isinstance(answer, WorkReport)}
    unknown = {path for (_, path), answer in zip(asked, answers, strict=True) if answer == 404}
    return replace(world, works=works, unknown_works=frozenset(unknown))


async def _with_evidence(world: World, agents: Agents, token: str) -> World:
    """Rows of each side whose shards are all done, and the digest of the report that the volume has."""
    cycle = world.status.cycle
    assert cycle is not None
    evidence: dict[str, tuple[EvidenceRows, ...]] = {}
    for side in SIDES:
        if is_gathered(world, side):
            paths = evidence_paths(world, side)
            rows = await asyncio.gather(*(_rows(world, agents, token, index, path) for index, path in enumerate(paths)))
            if all(rows):
                evidence[side] = tuple(item for item in rows if item)
    first = world.pod(Role.SAMPLER, cycle.number, 0)
    digest = ""
    if len(evidence) == len(SIDES) and first and first.ip:
        told = await agents.get(dict[str, str], first.ip, token, f"/v1/report/{cycle.number}")
        digest = told.get("sha256", "") if isinstance(told, dict) else ""
    return replace(world, evidence=evidence, report_digest=digest)


async def _rows(world: World, agents: Agents, token: str, index: int, path: str) -> EvidenceRows | None:
    assert world.status.cycle is not None
    pod = world.pod(Role.SAMPLER, world.status.cycle.number, index % world.spec.training.samplers.replicas)
    if pod is None or not pod.ip:
        return None
    answer = await agents.get(EvidenceRows, pod.ip, token, f"{path}/rows", ROWS_SECONDS)
    return answer if isinstance(answer, EvidenceRows) else None


async def _with_stats(world: World, agents: Agents, token: str) -> World:
    roles = (Role.SERVING, Role.PASSTHROUGH, Role.POOL)
    there = [pod for role in roles for pod in world.pods(role) if pod.ip and not pod.deleting]
    pods = [pod for pod in there if pod.phase not in ENDED]  # their address may be another pod's by now
    answers = await asyncio.gather(*(agents.get(ServingStats, pod.ip, token, "/v1/stats") for pod in pods))
    stats = {pod.name: answer for pod, answer in zip(pods, answers, strict=True) if isinstance(answer, ServingStats)}
    refusing = frozenset(pod.name for pod, answer in zip(pods, answers, strict=True) if answer == 401)
    return replace(world, stats=stats, unauthorised=refusing)


async def _claim(kube: Kube, spec: RewriterReleaseSpec) -> Claim | None:
    found = await kube.get("PersistentVolumeClaim", spec.volume.claim_name)
    if found is None or "deletionTimestamp" in found["metadata"]:
        return None
    return Claim(
        phase=found.get("status", {}).get("phase", "Pending"),
        access_modes=tuple(found["spec"].get("accessModes", ())),
    )


async def _fusion(kube: Kube, spec: RewriterReleaseSpec) -> Fusion | None:
    reference = spec.reward.fusion
    found = await kube.get("ConfigMap", reference.config_map_name)
    text = (found or {}).get("data", {}).get(reference.key)
    return None if text is None else read_fusion(text, reference.key)


def read_fusion(text: str, key: str) -> Fusion:
    """The constants in the serving config, or what is wrong with them."""
    try:
        stages = json.loads(text)["stages"]
        terms = tuple(
            wire.from_wire(FusionTerm, {"stage": name, **stages[name]}, f"{key}.stages.{name}")
            for name in sorted(stages)
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Fusion(
            problem=f'{key} must be JSON {{"stages": {{"finerank": {{"a": 1.0, "b": 0.3, "gamma": 1.0}}}}}}: {error}'
        )
    for term in terms:
        if not (term.b > 0 and term.a >= 0 and term.gamma >= 0):
            return Fusion(problem=f"{key}.stages.{term.stage}: b must be above 0, a and gamma not below 0")
    if not terms:
        return Fusion(problem=f"{key}.stages: must name at least one stage")
    return Fusion(terms=terms)


def _token(objects: Iterable[dict[str, Any]]) -> str:
    for item in objects:
        if item["kind"] == "Secret" and item["metadata"]["labels"].get(names.LABEL_ROLE) == Role.AGENT_TOKEN:
            return _header_value(item.get("data", {}).get("token", ""))
    return ""


def _header_value(encoded: str) -> str:
    """The token, where it can be sent in a header at all; with none, pods refuse and count as silent."""
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except ValueError:
        return ""
    return text if text.isprintable() else ""


def _read_child(item: dict[str, Any], owner_uid: str) -> Child | None:
    """The object as a child; None for one whose labels somebody has made unreadable: it counts as missing."""
    try:
        return _child(item, owner_uid)
    except (KeyError, ValueError) as error:
        log.warning("%s %s is left out: %s", item["kind"], item["metadata"]["name"], error)
        return None


def _child(item: dict[str, Any], owner_uid: str) -> Child | None:
    """What is needed of an object; None for one that another owner made (a re-created release adopts nothing)."""
    metadata = item["metadata"]
    labels = metadata.get("labels", {})
    of_deployment = item["kind"] == "Pod" and labels.get(names.LABEL_ROLE) in (Role.SERVING, Role.PASSTHROUGH)
    if not of_deployment and not is_owned_by(item, owner_uid):
        return None
    cycle = labels.get(names.LABEL_CYCLE, "0")
    serves_none = item["kind"] == "Pod" and names.LABEL_POOL in labels and names.LABEL_CYCLE not in labels
    common: dict[str, Any] = {
        "kind": item["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "role": Role.POOL if serves_none else Role(labels[names.LABEL_ROLE]),
        "cycle": -1 if cycle == "passthrough" else int(cycle),
        "number": int(labels.get(names.LABEL_NUMBER, "0")),
        "spec_hash": metadata.get("annotations", {}).get(names.ANNOTATION_HASH, ""),
        "deleting": "deletionTimestamp" in metadata,
    }
    match item["kind"]:
        case "Pod":
            return Pod(**common, **_pod(item))
        case "Deployment":
            return Deployment(**common, **_deployment(item))
        case "PodDisruptionBudget":
            return Budget(**common, spec=item["spec"])
        case kind if kind in ROUTERS:
            route = _route(item)
            if route["shares"] != _intended_shares(item, route["shares"]):
                common["spec_hash"] = "edited by hand"
            return Route(**common, **route)
        case "RewriterRevision":
            status = item.get("status", {})
            return Revision(
                **common,
                outcome=status.get("outcome", ""),
                message=status.get("message", ""),
                serving=tuple(status.get("serving", ())),
                weights=item.get("spec", {}).get("weights", {}).get("version", ""),
                parent=item.get("spec", {}).get("parent", ""),
                kept=status.get("weights", ""),
            )
        case _:
            return Child(**common)


def _pod(item: dict[str, Any]) -> dict[str, Any]:
    status = item.get("status", {})
    containers = status.get("containerStatuses", [])
    state = containers[0]["state"] if containers else {}
    ended, waits = state.get("terminated"), state.get("waiting")
    message = ""
    if ended:
        message = ended.get("message") or ended.get("reason", "")
    elif waits and waits.get("reason") not in ("ContainerCreating", "PodInitializing"):
        message = f"{waits.get('reason', '')}: {waits.get('message', '')}".strip(": ")
    elif status.get("phase") == "Pending":
        message = _unschedulable(status)
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", []))
    return {
        "phase": status.get("phase", "Pending"),
        "ready": ready,
        "ip": status.get("podIP", ""),
        "message": message,
        "exit_code": ended.get("exitCode") if ended else None,
        "created_at": _seconds(item["metadata"]["creationTimestamp"]),
        "gone_by": _seconds(ends) if (ends := item["metadata"].get("deletionTimestamp")) else 0,
        "made_for": _made_for(item),
        **_of_pool(item["metadata"]),
    }


def _of_pool(metadata: dict[str, Any]) -> dict[str, Any]:
    """What the operator has written on a pod that can change revisions."""
    annotations = metadata.get("annotations", {})
    if names.LABEL_POOL not in metadata.get("labels", {}):
        return {}
    return {
        "pool": True,
        "order": annotations.get(names.ANNOTATION_SERVING, ""),
        "released_at": _moment(annotations.get(names.ANNOTATION_RELEASED, "")),
        "assigned_at": _moment(annotations.get(names.ANNOTATION_ASSIGNED, "")),
    }


def _made_for(item: dict[str, Any]) -> WeightsRef | None:
    """The weights that the pod's template names; what cannot be read is none, and such a pod is made anew."""
    variables = (variable for container in item["spec"].get("containers", []) for variable in container.get("env", []))
    text = next((variable.get("value", "") for variable in variables if variable.get("name") == env.WEIGHTS), "")
    try:
        return wire.loads(WeightsRef, text, env.WEIGHTS) if text else None
    except wire.WireError:
        return None


def _unschedulable(status: dict[str, Any]) -> str:
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""


def _deployment(item: dict[str, Any]) -> dict[str, Any]:
    status = item.get("status", {})
    current = status.get("observedGeneration") == item["metadata"]["generation"]
    updated = status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    conditions: list[dict[str, str]] = status.get("conditions", [])
    failure = next((found for found in conditions if found["type"] == "ReplicaFailure"), {})
    message = f"{failure.get('reason', '')}: {failure.get('message', '')}" if failure.get("status") == "True" else ""
    ready, replicas = min(updated, available) if current else 0, item["spec"]["replicas"]
    return {
        "replicas": replicas,
        "ready": ready,
        "others": available - ready,
        "observed": current,
        "rolls": not current or updated < replicas,
        "message": message,
    }


def _route(item: dict[str, Any]) -> dict[str, Any]:
    annotations = item["metadata"].get("annotations", {})
    withdrawn = annotations.get(names.ANNOTATION_WITHDRAWN)
    router = ROUTERS[item["kind"]]
    found = router.verify_share(item)
    return {
        "accepted": found.accepted,
        "was_accepted": found.was_accepted,
        "tells_acceptance": router.tells_acceptance,
        "message": found.message,
        "shares": found.shares,
        "mirrors": found.mirrors,
        "withdrawn": int(withdrawn) if withdrawn and re.fullmatch(r"[0-9]{1,9}", withdrawn) else None,
        "spec": item["spec"],
    }


def _intended_shares(item: dict[str, Any], live: dict[str, int]) -> dict[str, int]:
    """The shares that the operator wrote, zeros included, to compare with what the rules say now."""
    try:
        written = json.loads(item["metadata"]["annotations"][names.ANNOTATION_SHARES])
    except (KeyError, ValueError, RecursionError):
        return {}
    return dict.fromkeys(live, 0) | written if isinstance(written, dict) else {}


def _moment(text: str) -> float:
    """Of an annotation of ours; 0 where somebody has made it unreadable, which is long ago."""
    try:
        return _seconds(text) if text else 0
    except ValueError:
        return 0


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
