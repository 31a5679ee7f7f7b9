"""Which metrics of spec.rollout.metrics are to be asked now, and how; cluster/metric_services.py carries it out.

A metric is asked while the stage has a share that the route was seen to carry, once in an interval. The first look
comes an interval after that, because before it there is nothing to see of the candidate.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rewriter_contract import wire
from rewriter_operator.api.metric_access import MetricService
from rewriter_operator.api.model import seconds
from rewriter_operator.api.rollout_metrics import COMPARES, PrometheusQuery, RolloutMetric, WebHook
from rewriter_operator.api.status import MetricStatus, StageStatus
from rewriter_operator.core.decision import serving_name
from rewriter_operator.core.reward import endpoint_url
from rewriter_operator.core.states import TRAFFIC_STATES
from rewriter_operator.core.world import World


@dataclass(frozen=True)
class MetricCall:
    """One look at one metric of one stage."""

    of: str
    """Digest of what it is about; equal for every look at the same share."""
    url: str
    interval: float
    timeout: float
    """Seconds."""
    query: str | None = None
    """Of Prometheus, with its placeholders filled in."""
    body: str | None = None
    """JSON that the web hook is posted."""
    service: MetricService | None = None
    """Whose CAs, credentials and headers go with it: by name, never the credentials themselves. None: none do."""


def due(world: World) -> tuple[MetricCall, ...]:
    """All that is to be asked now; what was answered since stays due until the answer is in status."""
    if world.status.state not in TRAFFIC_STATES:
        return ()
    return tuple(
        _call(world, metric, stage, metric.service)
        for stage in world.status.stages
        for metric in judging(world, stage)
        if metric.service is not None and _is_due(world, metric, stage)
    )


def judging(world: World, stage: StageStatus) -> Iterator[RolloutMetric]:
    """The metrics that judge the share which the stage has now."""
    if not (stage.share and stage.counting_since):
        return
    for metric in world.spec.rollout.metrics:
        if judges(metric, stage.name, stage.share):
            yield metric


def judges(metric: RolloutMetric, stage: str, share: int) -> bool:
    """Whether it is asked in this stage, at this share."""
    compares = metric.prometheus is not None and COMPARES in metric.prometheus.query
    return metric.is_of(stage) and not (compares and share == 100)


def identity(world: World, metric: RolloutMetric, stage: StageStatus) -> str:
    """Digest of what a look is about: the release's candidate at this share, by the metric as it is defined now."""
    cycle = world.status.cycle
    about = {
        "release": world.release.uid,
        "cycle": cycle.number if cycle else 0,
        "stage": stage.name,
        "share": stage.share,
        "shareAt": stage.share_at,
        "metric": metric.chosen(),
    }
    return wire.digest(wire.dumps(about))[:16]


def status_of(metric: RolloutMetric, stage: StageStatus) -> MetricStatus | None:
    """What its looks in this stage have come to so far; None before the first."""
    return next((status for status in stage.metrics if status.name == metric.name), None)


def _is_due(world: World, metric: RolloutMetric, stage: StageStatus) -> bool:
    """Once in an interval; also where the newest look lies in the future, because the clock was set back."""
    status = status_of(metric, stage)
    last = max(stage.counting_since, status.asked_at if status else 0)
    return not 0 <= world.now - last < seconds(metric.interval)


def _call(world: World, metric: RolloutMetric, stage: StageStatus, service: PrometheusQuery | WebHook) -> MetricCall:
    return MetricCall(
        of=identity(world, metric, stage),
        url=_url(service, world.release.namespace),
        interval=float(seconds(metric.interval)),
        timeout=float(seconds(service.timeout)),
        query=_filled_in(world, service.query, stage) if isinstance(service, PrometheusQuery) else None,
        body=_body(world, metric, stage) if isinstance(service, WebHook) else None,
        service=service,
    )


def _url(service: MetricService, namespace: str) -> str:
    url = endpoint_url(service, namespace)
    return url if service.scheme == "HTTP" else f"https{url.removeprefix('http')}"


def _filled_in(world: World, query: str, stage: StageStatus) -> str:
    """Names and numbers only, none of which can end a text of PromQL."""
    cycle = world.status.cycle
    words = {
        "candidate": serving_name(cycle.candidate if cycle else None),
        "incumbent": serving_name(stage.incumbent),
        "stage": stage.name,
        "release": world.release.name,
        "namespace": world.release.namespace,
    }
    for word, value in words.items():
        query = query.replace("{{" + word + "}}", value)
    return query


def _body(world: World, metric: RolloutMetric, stage: StageStatus) -> str:
    cycle = world.status.cycle
    return wire.dumps(
        {
            "metric": metric.name,
            "release": world.release.name,
            "namespace": world.release.namespace,
            "cycle": cycle.number if cycle else 0,
            "revision": serving_name(cycle.candidate if cycle else None),
            "incumbent": serving_name(stage.incumbent),
            "stage": stage.name,
            "step": stage.step,
            "share": stage.share,
        }
    )
