"""The sampler pod's Prometheus metrics, made from its state whenever they are asked for."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rewriter_contract.messages import LoadState, SamplerState


class _SamplerCollector(Collector):
    def __init__(self, state: Callable[[], SamplerState], active_work: Callable[[], int]) -> None:
        self._state, self._active_work = state, active_work

    def collect(self) -> Iterator[Metric]:
        now = self._state()
        loading = GaugeMetricFamily("rewriter_sampler_state", "1 for the state of the engine.", labels=["state"])
        for state in LoadState:
            loading.add_metric([state.value], float(now.state is state))
        yield loading
        yield CounterMetricFamily("rewriter_sampler_reloads", "Weight sets loaded in place.", value=now.reloads)
        yield GaugeMetricFamily(
            "rewriter_sampler_paused_seconds", "How long drawing stood still for the last load.", now.paused_seconds
        )
        yield GaugeMetricFamily("rewriter_sampler_in_flight", "Queries that the engine works on.", now.in_flight)
        yield GaugeMetricFamily("rewriter_sampler_work", "Pieces of work running or waiting.", self._active_work())
        if now.canary_difference is not None:
            yield GaugeMetricFamily(
                "rewriter_sampler_canary_difference_nats",
                "Largest log-probability difference of the last canary.",
                now.canary_difference,
            )


def sampler_registry(state: Callable[[], SamplerState], active_work: Callable[[], int]) -> CollectorRegistry:
    """A registry that reads the given functions when it is scraped."""
    registry = CollectorRegistry()
    registry.register(_SamplerCollector(state, active_work))
    return registry
