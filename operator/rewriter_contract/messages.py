"""Bodies of every HTTP call between the operator and the pods (DESIGN, section 7), and of the pods' configuration.

Frozen values; `wire` turns them into JSON. Paths are relative to the volume root (see volume.py). A score that could
not be had is `None` with a reason beside it: missing is not zero, and is never imputed.
"""

from dataclasses import dataclass, field
from enum import StrEnum

PASSTHROUGH = "passthrough"
"""The revision name and weights version of the built-in backend that answers "no rewrites"."""

STAGE_HEADER = "x-rewriter-stage"
"""Request header by which a consumer says which stage it is; the route and the counters go by it."""

STAGES = ("finerank", "rawrank", "recall")
"""Consumption stages, from the smallest blast radius to the largest."""


VOLUME_FULL = "VolumeFull"
"""Reason of work that failed, and of a cycle that cannot start, for want of room on the volume."""

PEER_LOST = "PeerLost"
"""Reason of a trainer pod's work that failed because another one of the same phase was lost: both may be told again."""


class WorkState(StrEnum):
    """Where a piece of long work is."""

    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


# --- configuration of pods -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptConfig:
    """How a query becomes the model's prompt and a completion becomes a rewrite."""

    template: str
    """Contains `{query}` once. The completion is cut at the first stop string and stripped."""
    stop: tuple[str, ...] = ("\n",)
    chat: bool = False
    """True: `template` is the user message of the tokenizer's chat template; False: it is the whole prompt."""


@dataclass(frozen=True)
class EngineConfig:
    """How a sampler or serving pod builds its vLLM engine."""

    prompt: PromptConfig
    dtype: str = "float32"
    max_length: int = 512
    """Longest prompt plus completion, in tokens."""
    tensor_parallel: int = 1
    kv_cache_gib: int = 1
    """CPU only: memory for the key-value cache."""
    gpu_memory_utilization: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class ServingConfig:
    """What a serving pod serves. `weights` None is the passthrough: it answers with no rewrites."""

    revision: str
    """`r0007`, or `passthrough`."""
    weights: "WeightsRef | None" = None
    max_tokens: int = 24
    max_rewrites: int = 4
    request_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class ServingOrder:
    """What a pod of the pool (spec.serving.capacity.mode InPlace) is to serve from now on: an annotation of the pod,
    which it reads as a file, so that a container that restarts while no operator is there comes back with it."""

    serving: ServingConfig
    engine: EngineConfig
    load_seconds: float | None = None
    """How long it may take to load; then the process ends, and a new one begins anew. None: LOAD_SECONDS. Left out of
    the body where it is that, because a pod from before this field refuses it, and would go on with what it has."""


LOAD_SECONDS = 900.0
"""spec.serving.readyTimeout, where nobody sets it."""


@dataclass(frozen=True)
class WeightsRef:
    """A weight set on the volume: version, and the digest of its manifest."""

    version: str
    digest: str


# --- prepare and record (pods that run once and answer through their termination message) -----------------------------


@dataclass(frozen=True)
class PrepareOrder:
    """What must be there before a cycle starts. The prepare pod also writes cycles/NNNN/spec.json."""

    cycle: int
    model_path: str
    """Directory of the base model on the volume."""
    dtype: str
    data_files: dict[str, str]
    """Role (corpus, train, validation, gate) -> path on the volume."""
    services: dict[str, str]
    """Role (relevance, search) -> URL that must answer a GET of `health_path` with 200."""
    health_path: str
    resolved_spec: str
    """JSON text of the resolved spec; written to cycles/NNNN/spec.json."""
    seed: int = 0
    models_path: str | None = None
    """Where a relevance service of vLLM's kind lists its models, instead of naming its one at `health_path`. Left out
    of the body where it is not needed."""


@dataclass(frozen=True)
class Problem:
    """Something that a person has to mend before the cycle can start."""

    reason: str
    """CamelCase, a condition reason: ModelMissing, DataFileMissing, DataFileInvalid, ServiceUnreachable"""
    message: str


@dataclass(frozen=True)
class PrepareResult:
    """Termination message of the prepare pod (at most 4 KiB of JSON)."""

    problems: tuple[Problem, ...] = ()
    base: WeightsRef | None = None
    """The base model, imported as a weight set."""
    data_digests: dict[str, str] = field(default_factory=dict)
    train_queries: int = 0
    gate_queries: int = 0
    relevance_model: str = ""
    promoted: "PromotionRecord | None" = None
    """promoted.json as it stands on the volume, for a release that was re-created over it."""
    last_cycle: int = 0
    """Highest cycle number on the volume: a re-created release numbers on from there, because the directories and
    weight sets of its earlier cycles are never overwritten."""
    storage: "StorageResult | None" = None
    """What became of the StorageOrder; left out by a pod that was given none."""


@dataclass(frozen=True)
class StorageOrder:
    """Beside the PrepareOrder: what of earlier cycles stays on the volume, and what the cycle that begins will write.

    A variable of its own, so that a prepare image from before it removes nothing and still prepares.
    """

    release: str
    claim: str
    """The volume, as a sentence for people names it."""
    cycle: int
    """The cycle that begins; those with lower numbers have ended. 0 is the bootstrap: nothing has ended."""
    weights: tuple[str, ...] = ()
    """Versions that stay, whatever cycle made them."""
    busy: tuple[int, ...] = ()
    """Cycles of which a pod still exists: nothing of theirs is removed."""
    reports: tuple[int, ...] = ()
    """Cycles whose evidence stays, however old."""
    sample_cycles: int = 2
    """Newest ended cycles whose samples and pairs stay."""
    report_cycles: int = 52
    """Newest ended cycles whose evidence stays."""
    phases: int = 0
    """Phases that the cycle may train."""
    phase_bytes: int = 0
    """Samples, pairs and validation of one phase, estimated."""


@dataclass(frozen=True)
class StorageResult:
    """What the prepare pod did to the volume, and the room that it found. Names are paths on the volume."""

    removed: tuple[str, ...] = ()
    """The first of what was removed."""
    removed_count: int = 0
    freed_bytes: int = 0
    left: tuple[str, ...] = ()
    """The first of what is neither known nor removed, each with the reason."""
    left_count: int = 0
    trouble: str = ""
    """Why nothing, or not everything, could be removed."""
    free_bytes: int | None = None
    """None: the file system does not tell."""
    needed_bytes: int | None = None
    """None: not known, because the model could not be read."""


@dataclass(frozen=True)
class PromotionRecord:
    """promoted.json: what serves each stage."""

    release: str
    revision: int
    stages: dict[str, WeightsRef]
    history: tuple[WeightsRef, ...] = ()
    recipe: str = ""
    """JSON text of the operator's own: how the weights are asked for rewrites."""


@dataclass(frozen=True)
class RecordResult:
    """Termination message of the record pod."""

    ok: bool
    message: str = ""
    newer: int = 0
    """A higher order than the pod's own, where one was on the volume: the reason for writing nothing."""


# --- sampler: weights -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightsOrder:
    """PUT /v1/weights: load this version, or refuse and keep the one that is loaded."""

    version: str
    digest: str
    pause_timeout_seconds: float = 30.0


class LoadState(StrEnum):
    """What a sampler or serving pod's engine is doing."""

    EMPTY = "Empty"
    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"


@dataclass(frozen=True)
class SamplerState:
    """GET /v1/state of a sampler. A changed boot_id means: push the weights again."""

    boot_id: str
    state: LoadState
    weights: WeightsRef | None
    message: str = ""
    """Why the last load failed; empty otherwise."""
    in_flight: int = 0
    reloads: int = 0
    paused_seconds: float = 0.0
    """How long generation stood still for the last reload."""
    canary_difference: float | None = None
    """Largest absolute log-probability difference of the last canary."""


# --- sampler: samples and scores --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FusionTerm:
    """One stage's factor of the production fusion: (b + a*rel)^gamma."""

    stage: str
    a: float
    b: float
    gamma: float


@dataclass(frozen=True)
class Penalty:
    """What a rewrite pays that breaks a term."""

    term: str
    """One of terms.TRUTHS."""
    nats: float


@dataclass(frozen=True)
class RewardConfig:
    """The ratio reward (DESIGN, section 8), with everything that its revision digest covers."""

    relevance_url: str
    """POST here; see docs/relevance-api.md."""
    fusion: tuple[FusionTerm, ...]
    negatives_weight: float
    """lambda: weight of the negatives' mean log ratio."""
    clip: float
    """Each log ratio is clipped to +-clip."""
    revision: str
    """Digest over fusion, weights and the relevance model; rewards of different revisions are never compared."""
    timeout_seconds: float = 10.0
    max_missing: float = 0.02
    """Share of samples without a score above which a shard fails."""
    penalties: tuple[Penalty, ...] | None = None
    """Left out of the body where there are none, like the expression: a sampler from before both takes the order."""
    relevance_api: str | None = None
    """`Rerank` or `Score`, the calls that vLLM serves; None: `Batch`."""
    expression: str | None = None
    """Gives the reward from the terms (expression.py); None: the log ratio less the penalties."""
    relevance_model: str | None = None
    """`name@digest` that every score must come from: the one that `revision` was computed with. None only in orders of
    a cycle whose pods are from before this field (they would refuse it, so it is left out of the body): then the first
    answer's model counts for the order, and that it is the cycle's is for the gate to see. None equals no name: an
    order that names a model and one that does not are two orders, and the shard of one is never taken for the other's.
    """


@dataclass(frozen=True)
class GenerationConfig:
    """How rewrites are drawn."""

    n: int
    temperature: float
    top_p: float = 1.0
    max_tokens: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Selection:
    """Rows of a requests file, named without knowing their ids (the operator never reads the volume).

    The rows are put into an order that only the seed and their ids decide; the selection is `count` rows of it from
    `offset` on, going round, and of these every `shards`-th row from `shard` on. count 0 means all rows once.
    """

    seed: int
    offset: int = 0
    count: int = 0
    shard: int = 0
    shards: int = 1


@dataclass(frozen=True)
class SamplesOrder:
    """PUT /v1/samples/{cycle}/{phase}/{shard}; 412 when the loaded weights are not `weights`."""

    weights: WeightsRef
    requests_file: str
    """JSONL of DataRow."""
    requests_sha256: str
    corpus_file: str
    selection: Selection
    """Which rows of the requests file this shard covers; see selection.py."""
    generation: GenerationConfig
    reward: RewardConfig
    out: str


@dataclass(frozen=True)
class DataRow:
    """One row of a train, validation or gate file (the user's data; docs/data.md)."""

    id: str
    query: str
    positives: tuple[str, ...] = ()
    """Document ids that were shown and liked (D+)."""
    negatives: tuple[str, ...] = ()
    """Document ids that were shown and skipped, or sampled near the query (D-)."""
    labels: dict[str, float] = field(default_factory=dict)
    """Document id -> grade; gold for the gate, never seen by training."""
    slice: str = ""
    """Kind of query, for the gate's slices."""
    target: str = ""
    """What a navigational query is after, e.g. a name; the words that a rewrite must keep side by side."""


@dataclass(frozen=True)
class Sample:
    """One drawn rewrite."""

    text: str
    score: float | None
    """log R(x, y); None when it could not be had."""
    missing: str = ""
    """Why the score is missing."""
    finished: bool = True
    """False when the completion was cut at max_tokens."""
    token_ids: tuple[int, ...] = ()
    """The completion as the engine drew it, its terminator included. Training uses it as it is; where it is empty,
    training tokenises `text` and the stop string again, which can differ from what was drawn (a leading space)."""


@dataclass(frozen=True)
class SampleRow:
    """One row of a samples shard."""

    id: str
    query: str
    prompt: str
    """The exact prompt text, so that training sees what sampling saw."""
    samples: tuple[Sample, ...]
    reward_revision: str | None = None
    """Digest of the reward that scored the row, the same as its shard's. None in rows from before it was recorded, and
    in those of a cycle whose trainer is from before: it would refuse the field."""


@dataclass(frozen=True)
class TrainerGroup:
    """Where a trainer pod stands among those that train a phase together."""

    pods: int
    number: int
    """This pod's, from 0."""
    host: str
    """Name by which the others reach it."""
    meeting: str
    """Where they find each other: name and port of pod 0."""


@dataclass(frozen=True)
class WorkReport:
    """GET of any long work (samples, evidence, phases)."""

    state: WorkState
    done: int = 0
    total: int = 0
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    heartbeat_at: float = 0.0
    """Unix seconds of the last sign of progress."""
    shard: "ShardRef | None" = None
    """Samples and evidence: what was written."""
    weights: WeightsRef | None = None
    """Phases: the weight set that was published."""
    reason: str | None = None
    """VOLUME_FULL or PEER_LOST, where that is why the work failed."""


@dataclass(frozen=True)
class ShardRef:
    """A finished shard."""

    path: str
    rows: int
    sha256: str


# --- sampler: gate evidence -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvidenceOrder:
    """PUT /v1/evidence/{cycle}/{side}/{shard}: answer the held-out queries with the loaded weights and measure.

    PUT /v1/validation/{cycle}/{phase}/{shard} takes the same, for the weights that a phase published.

    `weights` None is the passthrough side: no rewrites, reward 0, gold of the original query alone.
    """

    weights: WeightsRef | None
    requests_file: str
    requests_sha256: str
    corpus_file: str
    selection: Selection
    generation: GenerationConfig
    reward: RewardConfig
    search_url: str
    """POST here for gold; see docs/search-api.md."""
    out: str
    prompt: PromptConfig | None = None
    """What the side's revision serves with; None: the pod's own. Left out of the body where it is the pod's own, so
    that a sampler image from before this field still takes the order."""
    sampled: GenerationConfig | None = None
    """Draw rewrites with chance too, as training does, and measure them beside the others. None: only `generation`."""

    first_results: int | None = None
    """How many documents of a ranking a row keeps, for people to see; None: none. Left out of the body for pods that
    would refuse it, like the next one; rows have the fields for it only where the order asks."""
    query_alone: bool | None = None
    """The search is asked without rewrites too, once for both sides: where no side is the passthrough."""
    weigh: str | None = None
    """Evidence file of the other side over the same selection: how probable are its drawn rewrites to these weights?"""


@dataclass(frozen=True)
class SampledDraw:
    """What the weights say to one query when they are drawn from with chance. None = could not be measured."""

    rewrites: tuple[str, ...]
    reward: float | None
    """Mean log R over the rewrites."""
    ndcg10: float | None
    """Of the real search with all of them beside the query, as `recall100`."""
    recall100: float | None
    nats: float | None
    """Mean -log p of the drawn tokens, at temperature 1: at that temperature an unbiased estimate of the entropy."""
    cut: int
    """Rewrites that were cut at max_tokens."""
    token_ids: tuple[tuple[int, ...], ...] = ()
    """Of each rewrite as it was drawn, its terminator included."""
    logprobs: tuple[float, ...] | None = None
    """log p of each rewrite by the weights that drew it, at temperature 1, in nats."""


@dataclass(frozen=True)
class EvidenceRow:
    """What is known of one query on one side. None = could not be measured."""

    id: str
    slice: str
    rewrites: tuple[str, ...]
    reward: float | None
    """Mean log R over the rewrites; 0.0 exactly where there are none."""
    ndcg10: float | None
    recall100: float | None
    length_ratio: float | None
    """Words of the rewrite over words of the query, mean."""
    copy: bool
    """The rewrite equals the query after normalisation."""
    repetition: float
    """Largest share that one word has among a rewrite's words (0 for rewrites of under 4 words)."""
    format_ok: bool
    """One line, no control or zero-width characters, no template words, not empty, not cut."""
    query: str = ""
    """What was asked; empty in evidence from before it was recorded."""
    target_first: bool | None = None
    """The first document of the real search has the best grade that the query's labels give."""
    reward_revision: str | None = None
    """As in SampleRow."""
    cut: int | None = None
    """Rewrites that were cut at max_tokens; None without rewrites, and in evidence from before it was recorded."""
    target: str | None = None
    """As in DataRow, where the query has one."""
    sampled: SampledDraw | None = None
    """None where the order asked for none, and without weights."""

    results: tuple[str, ...] | None = None
    """First documents of the real search with the rewrites, best first; None: not asked for, or no ranking."""
    alone_results: tuple[str, ...] | None = None
    """The same of the query alone."""
    alone_ndcg10: float | None = None
    weighed: tuple[float, ...] | None = None
    """log p of the other side's drawn rewrites by this side's weights, as `SampledDraw.logprobs`; None where the order
    named no file, and for a query whose rewrites do not fit behind this side's prompt."""


@dataclass(frozen=True)
class EvidenceRows:
    """GET /v1/evidence/{cycle}/{side}/{shard}/rows: the rows themselves, for the operator's gate."""

    rows: tuple[EvidenceRow, ...]
    sha256: str
    reward_revision: str
    relevance_model: str


# --- trainer ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairsConfig:
    """How ranked samples become preference pairs."""

    top_k: int = 2
    margin: float = 0.02
    """Least difference in log R between chosen and rejected."""
    rejected_at: str = "min"
    """`min` or `mu-2sigma`."""


@dataclass(frozen=True)
class MpoConfig:
    """Mixed Preference Optimization: w_p*DPO + w_q*BCO(running delta) + w_g*NLL(chosen)."""

    preference: float = 0.8
    quality: float = 0.2
    generation: float = 1.0
    beta: float = 0.1


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and the batch."""

    learning_rate: float = 5e-6
    weight_decay: float = 0.05
    warmup_ratio: float = 0.03
    max_grad_norm: float = 1.0
    pairs_per_step: int = 8
    epochs: int = 1
    zero_stage: int = 2
    activation_checkpointing: bool | None = None
    """Compute activations again on the way back instead of keeping them. Left out of the body where it is not asked
    for, so that a trainer image from before this field still takes the order."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters on every linear layer but the output's (Hu et al. 2021): W + alpha / rank * B A."""

    rank: int = 16
    alpha: float = 32.0


@dataclass(frozen=True)
class PhaseOrder:
    """PUT /v1/phases/{cycle}/{phase}."""

    base: WeightsRef
    """The policy starts from this set (the one that the samples were drawn from)."""
    reference: WeightsRef
    """pi_0 of the preference terms."""
    samples: tuple[ShardRef, ...]
    pairs: PairsConfig
    mpo: MpoConfig
    optimizer: OptimizerConfig
    dtype: str
    seed: int
    reward_revision: str
    out_version: str
    """Version under which the result is published."""
    checkpoint_every: int = 20
    """Optimizer steps between checkpoints."""
    stop: str = "\n"
    """What ends a rewrite (the prompt's first stop string); empty: the tokenizer's end-of-sequence token. A finished
    completion is trained with it, because a rewriter that never learns to end is cut at max_tokens."""
    lora: LoraConfig | None = None
    """Train adapters only, and publish the weights with them merged; None: train all weights."""


@dataclass(frozen=True)
class TrainerState:
    """GET /v1/state of the trainer."""

    boot_id: str
    heartbeat_at: float
    cycle: int = 0
    phase: int = 0
    step: int = 0
    of: int = 0


# --- serving ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RewriteRequest:
    """POST /v1/rewrite"""

    query: str
    stage: str = ""
    """Falls back to the x-rewriter-stage header, then to `unknown`."""
    n: int = 1


@dataclass(frozen=True)
class Rewrite:
    """One parallel signal."""

    text: str
    score: float | None = None
    """Mean token log-probability, where the engine gives it."""


@dataclass(frozen=True)
class RewriteResponse:
    """An empty list is a valid answer: the consumer goes on with the original query alone."""

    rewrites: tuple[Rewrite, ...]
    revision: str


@dataclass(frozen=True)
class StageCounters:
    """Totals of one stage since the pod's start."""

    requests: int = 0
    errors: int = 0
    """Requests that were not answered with 200."""
    empty: int = 0
    """Answers without a rewrite."""
    timeouts: int = 0
    latency_ms: dict[str, int] = field(default_factory=dict)
    """Cumulative histogram: upper bound in ms ("50", "100", ..., "+Inf") -> count."""


@dataclass(frozen=True)
class ServingStats:
    """GET /v1/stats of a serving or passthrough pod."""

    boot_id: str
    revision: str
    state: LoadState
    weights: WeightsRef | None
    stages: dict[str, StageCounters]
    message: str = ""
    shadowed: dict[str, StageCounters] = field(default_factory=dict)
    """Mirrored requests by stage, which are in none of `stages`: nobody sees their answers, so they are no share."""
    order: str = ""
    """wire.digest of the ServingOrder that was carried out, as it was written. Left out of the body while there is
    none, as in a pod that never changes revisions: an operator from before this field refuses it."""


LATENCY_BUCKETS_MS = (10, 25, 50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000)
"""Upper bounds of the latency histogram, the same in every serving pod so that they can be added."""
