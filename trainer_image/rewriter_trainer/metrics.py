"""The trainer's Prometheus metrics: the last ordered phase as gauges. Labels are bounded; names of objects stay out."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from rewriter_contract.messages import WorkReport


def render_metrics(latest: tuple[int, int] | None, report: WorkReport | None, active: int) -> bytes:
    """Prometheus text of what the trainer does now."""
    registry = CollectorRegistry()
    _gauge(registry, "rewriter_trainer_active_phases", "Phases that run or wait.", active)
    _gauge(registry, "rewriter_trainer_cycle", "Cycle of the last order.", latest[0] if latest else 0)
    _gauge(registry, "rewriter_trainer_phase", "Phase of the last order.", latest[1] if latest else 0)
    if report:
        _gauge(registry, "rewriter_trainer_step", "Optimizer steps done in the last ordered phase.", report.done)
        _gauge(registry, "rewriter_trainer_steps", "Optimizer steps of the last ordered phase.", report.total)
        _gauge(
            registry,
            "rewriter_trainer_heartbeat_timestamp_seconds",
            "Unix time of the last sign of progress.",
            report.heartbeat_at,
        )
        training = Gauge(
            "rewriter_trainer_training",
            "Training metrics of the last ordered phase: its last step, or its means once it is done.",
            ["metric"],
            registry=registry,
        )
        for name, value in report.metrics.items():
            training.labels(metric=name).set(value)
    return generate_latest(registry)


def _gauge(registry: CollectorRegistry, name: str, help_text: str, value: float) -> None:
    Gauge(name, help_text, registry=registry).set(value)
