"""Names of the environment variables that the operator sets in the pods it starts.

The pods read them once, at start. Orders (what to train, what to sample) never come this way: they come by HTTP,
so that a pod that restarts is told again instead of acting on stale variables.
"""

from typing import Final

VOLUME_ROOT: Final = "REWRITER_VOLUME_ROOT"
"""Directory of this release on the shared volume, as the pod sees it."""

AGENT_TOKEN: Final = "REWRITER_AGENT_TOKEN"
"""Bearer token that every control call must carry."""

AGENT_PORT: Final = "REWRITER_AGENT_PORT"
"""TCP port of the control server, default 8080."""

POD_UID: Final = "REWRITER_POD_UID"
"""uid of the pod: names temporary directories, so that two writers never share one."""

RELEASE: Final = "REWRITER_RELEASE"
"""Name of the RewriterRelease, for log lines and metrics only."""

ENGINE: Final = "REWRITER_ENGINE"
"""JSON of messages.EngineConfig: how the sampler and serving pods build their vLLM engine."""

WEIGHTS: Final = "REWRITER_WEIGHTS"
"""JSON of messages.WeightsRef: what a sampler loads when it starts; only where spec.training.sync.method is Restart.
Never stale: a pod that is to hold other weights is replaced."""

SERVING: Final = "REWRITER_SERVING"
"""JSON of messages.ServingConfig: which revision a serving pod serves."""

SERVING_FILE: Final = "REWRITER_SERVING_FILE"
"""Path of a file with JSON of messages.ServingOrder, in place of the two above, in pods that change revisions
(spec.serving.capacity.mode InPlace). Empty while nothing is ordered; looked at again and again."""

PREPARE: Final = "REWRITER_PREPARE"
"""JSON of messages.PrepareOrder: what the prepare pod checks and imports."""

STORAGE: Final = "REWRITER_STORAGE"
"""JSON of messages.StorageOrder: what the prepare pod leaves of earlier cycles, and how much room it must find."""

RECORD: Final = "REWRITER_RECORD"
"""JSON of messages.PromotionRecord: what the record pod writes to promoted.json."""

RECORD_ORDER: Final = "REWRITER_RECORD_ORDER"
"""A whole number that rises with every record pod: one that is late finds a higher one on the volume, and gives up."""

TRAINER_DTYPE: Final = "REWRITER_TRAINER_DTYPE"
"""float32 or bfloat16."""

TRAINER_WORKERS: Final = "REWRITER_TRAINER_WORKERS"
"""Processes that train side by side, one for each GPU of the pod's limits; default 1."""

TRAINER_GROUP: Final = "REWRITER_TRAINER_GROUP"
"""JSON of messages.TrainerGroup: the pods that train a phase together, in those of spec.training.trainer.replicas
above 1."""
