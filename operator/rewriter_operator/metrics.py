"""Every Prometheus metric of the operator. Labels are bounded sets; names of objects go to logs and events."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

DEPTH: Final = Gauge("workqueue_depth", "Keys that wait for a worker")
RECONCILE_SECONDS: Final = Histogram(
    "reconcile_time_seconds",
    "Time of one reconcile",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
QUEUE_SECONDS: Final = Histogram(
    "workqueue_queue_duration_seconds",
    "From the event that woke a key to the start of its reconcile",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RECONCILE_ERRORS: Final = Counter("reconcile_errors_total", "Reconciles that raised", ["kind"])
WRITES: Final = Counter("rewriter_writes_total", "Writes to the API server and to pods", ["verb", "kind"])
RELEASES: Final = Gauge("rewriter_releases", "Releases by state", ["state"])
GOLD_DECAYS: Final = Gauge("rewriter_gold_decays", "Releases that lost gold little by little over several promotions")
CYCLES: Final = Counter("rewriter_cycles_total", "Cycles that ended", ["outcome"])
METRIC_LOOKS: Final = Counter("rewriter_metric_looks_total", "Looks at metrics of spec.rollout.metrics", ["verdict"])
LEADER: Final = Gauge("rewriter_leader", "1 while this process holds the lease, 0 on standby")
LEASE_EPOCH: Final = Gauge("rewriter_lease_epoch", "Epoch of this process's last term")
LEASE_RENEWALS: Final = Counter("rewriter_lease_renewals_total", "Attempts to renew the lease", ["outcome"])
FENCED: Final = Counter("rewriter_fenced_writes_total", "Writes that were not sent because the term was over")
