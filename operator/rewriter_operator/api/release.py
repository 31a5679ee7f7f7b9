"""`spec` of a RewriterRelease: how a query rewriter is retrained, judged, and given traffic.

These models are the one source of crds/rewriter.dev_rewriterreleases.yaml. Everything has a bound, because CEL's cost
estimate needs them and because an unbounded field is an outage that waits for its first user. What is refused, and
with which sentence, is docs/bad-input.md.
"""

import operator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from rewriter_contract.buckets import BUCKET_HEADER
from rewriter_contract.expression import MAX_CHARACTERS
from rewriter_contract.messages import STAGE_HEADER
from rewriter_contract.reports import CheckName
from rewriter_operator.api.cron import CRON_RULES
from rewriter_operator.api.endpoint import ServiceEndpoint, ServiceName
from rewriter_operator.api.model import CallTimeout, Delay, Duration, Image, Name, SpecModel, VolumePath, rules
from rewriter_operator.api.resources import (
    GPUS,
    RESOURCE_RULES,
    TOLERATION_RULE,
    Labels,
    PodAnnotations,
    PodLabels,
    Resources,
    Toleration,
)
from rewriter_operator.api.rollout_metrics import METRIC_RULES, ROLLOUT_RULES, RolloutMetric
from rewriter_operator.api.stages import StageName
from rewriter_operator.api.value_rules import PRINTABLE, QUOTED, ValueRule, at_most, lasting, matching, sentence
from rewriter_operator.api.windows import FREEZE_RULES, Freeze, TimeZone, Window


class Schedule(SpecModel):
    """When cycles start by themselves. A change of the spec's model, data, reward, training or gate starts one too, but
    for one of where training's pods run and how long they may take."""

    cron: Annotated[str, StringConstraints(min_length=9, max_length=100), *CRON_RULES]
    """Five cron fields, e.g. `0 3 * * 1` for Mondays at three. At most once an hour."""
    time_zone: TimeZone = "UTC"
    """IANA time zone of the cron fields, e.g. Europe/Berlin."""
    starting_deadline: Duration = "1h"
    """A start that was missed (the operator was down) is made up for within this time, then skipped."""


class Volume(SpecModel):
    """The shared ReadWriteMany volume with base models, data, weights and evidence."""

    claim_name: Name
    """Name of a PersistentVolumeClaim in the release's namespace."""
    sub_path: VolumePath
    """Directory of this release on the volume. Never shared by two releases."""


class Prompt(SpecModel):
    """How a query becomes the model's prompt."""

    template: Annotated[
        str,
        StringConstraints(min_length=7, max_length=4096),
        ValueRule(
            "self.split('{query}').size() == 2",
            lambda text: text.count("{query}") == 1,
            "must contain {query} exactly once",
            shown="self.split('{query}').size() - 1",
        ),
        PRINTABLE,
    ] = "{query}"
    """Must contain `{query}` exactly once."""
    chat: bool = False
    """True: the template is the user message of the tokenizer's chat template. False: it is the whole prompt."""
    stop: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=16)]], Field(max_length=4)] = ["\n"]
    """A completion ends before the first of these strings."""


class Model(SpecModel):
    """The base model: where training starts in the first cycle."""

    path: VolumePath
    """Directory on the volume with config.json, tokenizer and *.safetensors. Pickles and custom code are refused."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of training and serving."""
    max_length: Annotated[int, Field(ge=32, le=32768)] = 512
    """Longest prompt plus completion, in tokens."""
    prompt: Prompt = Prompt()


class Data(SpecModel):
    """Files on the volume (JSON Lines; docs/data.md). Gate queries must not appear among training queries."""

    corpus: VolumePath
    """Documents: {_id, title, text}."""
    train: VolumePath
    """Training queries with shown documents: {id, query, positives, negatives}."""
    gate: VolumePath
    """Held-out queries with labels: {id, query, positives, negatives, labels, slice}."""
    validation: VolumePath | None = None
    """Further queries with labels, in neither of the other files: with them every phase is measured, and the best one
    becomes the candidate (spec.training.validation). Without: the last one."""


class RelevanceEndpoint(ServiceEndpoint):
    """The deployed relevance model's service."""

    api: Literal["Batch", "Rerank", "Score"] = "Batch"
    """How it is asked (docs/relevance-api.md). Batch: many queries a call, the fastest. Rerank, Score: the calls that
    vLLM serves for a cross-encoder."""


class FusionReference(SpecModel):
    """The serving fusion's constants, read from the config that serving itself uses."""

    config_map_name: Name
    """Name of a ConfigMap in the release's namespace."""
    key: Annotated[
        str,
        StringConstraints(max_length=253),
        matching(r"[A-Za-z0-9._-]+", "must be a key of the ConfigMap, e.g. fusion.json"),
    ] = "fusion.json"
    """Key with JSON {"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}}."""


Nats = Annotated[float, Field(ge=0, le=10)]


class Penalties(SpecModel):
    """Nats that a rewrite loses when it breaks what its query insists on; 0 asks for nothing. Judged by the text alone,
    as the gate's checks of the same names do."""

    numbers_kept: Nats = 0.0
    """Every number of the query."""
    units_kept: Nats = 0.0
    """The unit of every number that has one."""
    negations_kept: Nats = 0.0
    """`no`, `without`, `sugar-free`: in whichever word."""
    names_kept: Nats = 0.0
    """Model numbers and capitalised words."""
    script_kept: Nats = 0.0
    """The query's script, no look-alike letters."""
    format_ok: Nats = 0.0
    """One line without pieces of a template and invisible characters."""
    target_kept: Nats = 0.0
    """The words of the row's `target` (docs/data.md), side by side."""


class Reward(SpecModel):
    """The multiplicative ratio reward: log R(x,y) = sum_g gamma_g * [mean over positives of clip(log rho_g) - lambda *
    mean over negatives of clip(log rho_g)], rho_g = (b_g + a_g*rel(y,d)) / (b_g + a_g*rel(x,d)). Copying scores 0."""

    relevance: RelevanceEndpoint
    """The deployed relevance model (docs/relevance-api.md)."""
    fusion: FusionReference
    """Constants a, b, gamma per stage."""
    lambda_: Annotated[float, Field(ge=0, le=10, alias="lambda")] = 0.5
    """Weight of the negatives. Above 0 it guards against rewrites that raise the relevance of everything."""
    clip: Annotated[float, Field(gt=0, le=10)] = 1.386
    """Each log ratio is clipped to plus or minus this (log 4)."""
    max_missing: Annotated[float, Field(ge=0), at_most(0.2)] = 0.02
    """Share of scores that may be missing before a phase fails. A missing score is never taken as zero."""
    penalties: Penalties = Penalties()
    expression: Annotated[str, Field(max_length=MAX_CHARACTERS)] = ""
    """A CEL expression over the reward's terms (docs/reward.md) that gives the reward, e.g.
    `logR - (lengthRatio > 3.0 ? 0.5 : 0.0)`. It sees no text. Empty: the log ratio less the penalties."""


class Pods(SpecModel):
    """What pods of one role run and where."""

    image: Image | None = None
    """Defaults to the image that the operator was installed with."""
    resources: Annotated[Resources, *RESOURCE_RULES] = Resources()
    """E.g. limits: {nvidia.com/gpu: "1"}."""
    labels: Annotated[PodLabels, Field(exclude_if=operator.not_)] = {}
    """Put on the pods beside the operator's own, e.g. kueue.x-k8s.io/queue-name. Pods that take no GPU (prepare,
    record, passthrough) have them too, but for those of kueue.x-k8s.io: they must run even where no quota is free."""
    annotations: Annotated[PodAnnotations, Field(exclude_if=operator.not_)] = {}
    """The same for annotations."""
    node_selector: Labels = {}
    tolerations: Annotated[list[Annotated[Toleration, TOLERATION_RULE]], Field(max_length=16)] = []
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None


def _engine_fits(device: str) -> dict[str, str]:
    limit = f"self.resources.limits['{device}']"
    return sentence(
        f"!has(self.resources) || !has(self.resources.limits) || !('{device}' in self.resources.limits)"
        f" || !isQuantity({limit})"
        f" || !quantity({limit}).isInteger() || quantity({limit}).asInteger() >= self.tensorParallel",
        f"must be at most the number of {device} in resources.limits",
        shown="self.tensorParallel",
        path=".tensorParallel",
    )


_ENGINE_FITS = rules(*map(_engine_fits, GPUS))

_SERVING_RULES = rules(
    *map(_engine_fits, GPUS),
    sentence(
        "!has(self.replicas) || !has(self.maxUnavailable) || self.replicas == 1 || self.maxUnavailable < self.replicas",
        "must be below replicas, or a drain of nodes may take every pod of a revision",
        shown="self.maxUnavailable, self.replicas",
        got="%d of %d",
        path=".maxUnavailable",
    ),
    sentence(
        "!has(self.capacity) || !has(self.capacity.mode) || self.capacity.mode != 'InPlace' || !has(self.replicas)"
        " || self.replicas >= 2",
        "must be at least 2 with capacity.mode InPlace: one pod serves the incumbent while another one loads the "
        "candidate; raise it, or take capacity.mode ScaleWithShare or Surge",
        shown="self.replicas",
        got="%d",
        path=".replicas",
    ),
    sentence(
        "!has(self.capacity) || !has(self.capacity.mode) || self.capacity.mode != 'InPlace'"
        " || !has(self.scaleDownDelay) || self.scaleDownDelay == '0s'",
        "must be 0s with capacity.mode InPlace: what was replaced has no pods of its own to keep; take it away, or "
        "take capacity.mode ScaleWithShare or Surge",
        shown="self.scaleDownDelay",
        got=QUOTED,
        path=".scaleDownDelay",
    ),
)


class TrainerPods(Pods):
    """DeepSpeed trainer pods; they exist only while a cycle trains."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods that train together, each with a worker process for each GPU of its limits."""


class SamplerPods(Pods):
    """vLLM sampler pods; they exist only during a cycle."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    tensor_parallel: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs that one engine spans."""


class Sampling(SpecModel):
    """How rewrites are drawn for training."""

    queries_per_phase: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    """Queries drawn anew for each phase, without repeats until the file is used up."""
    samples_per_query: Annotated[int, Field(ge=2, le=64)] = 8
    temperature: Annotated[float, Field(gt=0, le=2)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 32


class Pairs(SpecModel):
    """How ranked samples become preference pairs: i-th best with i-th worst."""

    top_k: Annotated[int, Field(ge=1, le=16)] = 2
    margin: Annotated[float, Field(ge=0, le=10)] = 0.02
    """Least difference in log R between chosen and rejected."""
    rejected_at: Literal["min", "mu-2sigma"] = "min"
    """Which sample is the worst: the minimum, or the one nearest to mean - 2 standard deviations."""


class Mpo(SpecModel):
    """Mixed Preference Optimization (arXiv 2411.10442): w_p*DPO + w_q*BCO (running delta) + w_g*NLL of the chosen."""

    preference: Annotated[float, Field(ge=0, le=10)] = 0.8
    quality: Annotated[float, Field(ge=0, le=10)] = 0.2
    generation: Annotated[float, Field(ge=0, le=10)] = 1.0
    beta: Annotated[float, Field(gt=0, le=10)] = 0.1


class Optimizer(SpecModel):
    """AdamW and the batch."""

    learning_rate: Annotated[float, Field(gt=0), at_most(0.1)] = 5e-6
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    warmup_ratio: Annotated[float, Field(ge=0), at_most(0.5)] = 0.03
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    pairs_per_step: Annotated[int, Field(ge=1, le=4096)] = 32
    epochs: Annotated[int, Field(ge=1, le=10)] = 1
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    """DeepSpeed ZeRO stage: what the workers share out between them. 0: nothing; 1: the optimizer's state; 2: the
    gradients too; 3: the weights too. 0 is for float32 only. One float32 worker always trains at 0."""
    activation_checkpointing: Annotated[bool, Field(exclude_if=operator.not_)] = False
    """True: activations are computed again on the way back instead of kept. The same weights bit by bit, less memory,
    and a second forward pass of each layer."""


class Lora(SpecModel):
    """Low-rank adapters on every linear layer but the output's: W + alpha / rank * B A, where only A and B are trained.

    What is published are whole weights, with the adapters merged; each phase begins with new ones.
    """

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0, le=1024)] = 32.0


class Validation(SpecModel):
    """How the best phase is found among all that were trained: on the queries of spec.data.validation."""

    metric: Literal["Gold", "Reward"] = "Gold"
    """Gold: nDCG@10 of the real search, which training never sees. Reward: mean log R; for data without labels."""
    queries: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Rows of the file that are asked after each phase, always the same ones; all of a shorter file."""
    patience: Annotated[int, Field(ge=1, le=1000)] = 2
    """Training ends early after this many phases in a row that were no better than the best one before them."""


class Sync(SpecModel):
    """How samplers get what a phase published (docs/training.md)."""

    method: Literal["Reload", "Restart"] = "Reload"
    """Reload: the running engine loads the new weights in place. Restart: each sampler is replaced by a pod that comes
    up with them, for engines and models where a reload in place is not supported or not trusted; it costs the start of
    a pod, and twice more in the gate."""


class Training(SpecModel):
    """The learning loop: phases of sample, score, pair, optimise, publish, and one weight sync per phase."""

    phases: Annotated[int, Field(ge=1, le=1000)] = 4
    start_from: Literal["Incumbent", "Base"] = "Incumbent"
    """Weights that a cycle starts from. Base also serves as the start while nothing was promoted."""
    reference: Literal["PhaseStart", "CycleStart"] = "PhaseStart"
    """pi_0 of the preference terms: PhaseStart follows the policy, CycleStart bounds the drift of a whole cycle."""
    sampling: Sampling = Sampling()
    pairs: Pairs = Pairs()
    mpo: Annotated[
        Mpo,
        Field(
            json_schema_extra=rules(
                sentence(
                    "!has(self.preference) || self.preference + self.quality + self.generation > 0.0",
                    "one of preference, quality, generation must be above 0, or nothing is learnt",
                )
            )
        ),
    ] = Mpo()
    optimizer: Optimizer = Optimizer()
    lora: Lora | None = None
    """Train adapters in place of all weights: a fraction of the memory, at a learning rate of some 1e-4."""
    validation: Validation | None = None
    """What is not set has its default; only with spec.data.validation."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    trainer: TrainerPods = TrainerPods()
    """One worker process for each GPU (nvidia.com/gpu, amd.com/gpu) of a pod's limits, one without any."""
    samplers: Annotated[SamplerPods, Field(json_schema_extra=_ENGINE_FITS)] = SamplerPods()
    sync: Sync = Sync()
    phase_deadline: Duration = "6h"
    """A phase that takes longer fails the cycle; incumbents go on serving."""
    stall_timeout: Duration = "15m"
    """A pod that shows no progress for this long is replaced, at most three times in a phase."""


class Check(SpecModel):
    """Settings of one gate check; what is not set keeps the default of docs/gate.md."""

    name: Annotated[CheckName, Field(strict=False)]
    disabled: bool = False
    """A disabled check is still measured and shown, and never decides."""
    enforced: bool = False
    """A diagnostic check that is enforced decides, like a guardrail."""
    margin: Annotated[float, Field(ge=0, le=100)] | None = None
    """Non-inferiority margin: the loss that is still acceptable."""
    min: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    max: Annotated[float, Field(ge=-1000, le=1000)] | None = None


CHECKS_THAT_READ: Final = {
    "margin": (
        *("GoldNdcg", "GoldRecall", "NoRewardHacking", "SliceRegressions", "CopyRate", "Repetition", "Format"),
        *("LookAlikeLetters", "ScriptKept", "NumbersKept", "UnitsKept", "NegationsKept", "NamesKept"),
        *("AddedWord", "UnrelatedRewrites", "UniqueRewrites", "Vocabulary", "CopiesLost", "TopRewardGold"),
        *("SliceRewards", "QueriesSuffice", "Truncated", "SampledReward", "SampledGold", "SampledVariety"),
    ),
    "min": (
        *("RewardGain", "TailLoss", "LengthRatio", "RewardAgreesWithGold", "UniqueRewrites", "Vocabulary"),
        "SampledVariety",
    ),
    "max": (
        *("EvidenceIsComplete", "LengthRatio", "LengthTail", "CopyRate", "Repetition", "Format", "DistinctRewrites"),
        *("LookAlikeLetters", "ScriptKept", "NumbersKept", "UnitsKept", "NegationsKept", "NamesKept", "TargetKept"),
        *("AddedWord", "UnrelatedRewrites", "ChangedRewrites", "CopiesLost", "Truncated", "Surprise", "Divergence"),
    ),
}
"""Number of a check -> the checks that look at it; to set it on another would look like a limit and be none."""

DECIDING: Final = (
    *("RewardGain", "GoldNdcg", "GoldRecall", "NoRewardHacking", "TailLoss", "SliceRegressions", "LengthRatio"),
    *("LengthTail", "CopyRate", "Repetition", "Format", "DistinctRewrites", "LookAlikeLetters", "AddedWord"),
    *("UnrelatedRewrites", "SampledVariety"),
)
"""Checks that refuse a candidate without being enforced, beside EvidenceIsComplete, which refuses only evidence."""


LENGTH_RATIO: Final = (0.4, 2.0)
"""Default min and max of LengthRatio: a bound that is set alone meets the other one's default."""


def _read(number: str) -> dict[str, str]:
    readers = CHECKS_THAT_READ[number]
    return sentence(
        f"!has(self.{number}) || self.name in [{', '.join(repr(name) for name in readers)}]",
        f"this check does not look at {number}; those that do: {', '.join(readers)}",
        shown=f"self.{number}",
        path=f".{number}",
    )


_CHECK_RULES = rules(
    *(_read(number) for number in CHECKS_THAT_READ),
    sentence(
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "min must be at most max",
        shown="self.min, self.max",
        got="min %s and max %s",
        path=".min",
    ),
    sentence(
        f"self.name != 'LengthRatio' || !has(self.min) || has(self.max) || self.min <= {LENGTH_RATIO[1]}",
        f"must be at most {LENGTH_RATIO[1]}, the default max of this check, or no candidate can pass; set max, too",
        shown="self.min",
        path=".min",
    ),
    sentence(
        f"self.name != 'LengthRatio' || !has(self.max) || has(self.min) || self.max >= {LENGTH_RATIO[0]}",
        f"must be at least {LENGTH_RATIO[0]}, the default min of this check, or no candidate can pass; set min, too",
        shown="self.max",
        path=".max",
    ),
    sentence(
        "self.name != 'Surprise' || !has(self.max) || self.max >= 1.0",
        "must be at least 1: nats per token may be at most max times the incumbent's, and at least a max-th of them",
        shown="self.max",
        path=".max",
    ),
    sentence(
        "!self.disabled || self.name != 'EvidenceIsComplete'",
        "EvidenceIsComplete cannot be disabled: a verdict without evidence is none; raise its max instead",
        path=".disabled",
    ),
    sentence(
        f"!self.enforced || !(self.name in ['EvidenceIsComplete', {', '.join(repr(name) for name in DECIDING)}])",
        "this check decides anyway; enforced is for diagnostics (docs/gate.md)",
        path=".enforced",
    ),
    sentence("!self.enforced || !self.disabled", "a check is disabled or enforced, not both", path=".enforced"),
)

_CHECKS_RULE = sentence(
    f"![{', '.join(repr(name) for name in DECIDING)}].all(n, self.exists(c, c.name == n && c.disabled))",
    "must leave at least one check that decides, e.g. RewardGain; all of them are disabled",
)


HoldTimeout = Annotated[str, StringConstraints(max_length=6), lasting("720h")]
"""How long a cycle may wait for a person: longer than a month, and it is another model that is wanted."""


class Extension(SpecModel):
    """More evidence where a bound does not tell yet: further held-out queries, never the same ones once more."""

    queries: Annotated[int, Field(ge=10, le=1_000_000)] = 200
    """Queries of spec.data.gate that each look adds. The file must hold (maxExtensions + 1) times as many."""
    max_extensions: Annotated[int, Field(ge=1, le=3)] = 1
    """Every look judges at alpha / (maxExtensions + 1), so that looking again raises no error rate."""


OF_DRAWS: Final = ("SampledReward", "SampledGold", "SampledVariety", "Surprise", "Divergence")
"""Checks that judge rewrites which were drawn with chance, and nothing else."""

_GATE_RULES = rules(
    sentence(
        "self.onInconclusive != 'Extend' || self.extension.queries >= self.minimumQueries",
        "must be at least spec.gate.minimumQueries, or the first look is always Inconclusive",
        shown="self.extension.queries, self.minimumQueries",
        got="%d below %d",
        path=".extension.queries",
    ),
    sentence(
        f"self.sampledRewrites >= 1 || !self.checks.exists(c, c.name in [{', '.join(map(repr, OF_DRAWS))}]"
        " && !c.disabled)",
        f"must be at least 1 for checks of drawn rewrites ({', '.join(OF_DRAWS)})",
        shown="self.sampledRewrites",
        path=".sampledRewrites",
    ),
    sentence(
        "self.sampledRewrites != 1 || !self.checks.exists(c, c.name == 'SampledVariety' && !c.disabled)",
        "must be at least 2 for SampledVariety, which compares the draws of a query with each other",
        shown="self.sampledRewrites",
        path=".sampledRewrites",
    ),
)


AFTER_THE_VERDICT: Final = ("onInconclusive", "holdTimeout", "extension")
"""Of the gate. They say what follows from a verdict, not what it is: a person who needs another day changes no cycle.
Extend is no such thing: it decides which queries are asked and at which alpha they are judged."""


class Gate(SpecModel):
    """The judge: candidate against incumbent on held-out queries, by reward, by gold and by stability metrics."""

    search: ServiceEndpoint
    """The real search, for gold (docs/search-api.md): it ranks documents for a query with given rewrites beside it."""
    alpha: Annotated[float, Field(gt=0), at_most(0.2)] = 0.05
    minimum_queries: Annotated[int, Field(ge=10, le=1_000_000)] = 30
    """Fewer paired queries than this make the verdict Inconclusive."""
    sampled_rewrites: Annotated[int, Field(ge=0, le=16)] = 4
    """Rewrites that each side also draws per query, as training draws them: what is left to learn from, and how the
    model does where it is not at its surest. 0: none, and the checks of them have nothing to judge."""
    on_inconclusive: Literal["Reject", "Hold", "Extend"] = "Reject"
    """Reject: the cycle ends and incumbents stay. Hold: the candidate waits for a person's approval, bound to this
    report, until holdTimeout; then it is rejected. Extend: further queries are asked first. A Fail, a failed
    self-test and incomplete evidence are neither held nor extended."""
    extension: Extension = Extension()
    """Of use only with onInconclusive: Extend."""
    hold_timeout: HoldTimeout = "72h"
    """Longest wait for an approval. Cycles that the schedule starts meanwhile are skipped."""
    checks: Annotated[
        list[Annotated[Check, Field(json_schema_extra=_CHECK_RULES)]],
        Field(
            max_length=40,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                **rules(_CHECKS_RULE),
            },
        ),
    ] = []
    """Overrides by name."""


class Capacity(SpecModel):
    """How many serving pods a candidate has until all stages are at full share, and whose."""

    mode: Literal["Surge", "ScaleWithShare", "InPlace"] = "Surge"
    """Surge: a second set of pods, all of replicas, before the first share. ScaleWithShare: of replicas the part that
    its largest share is, over all stages, rounded up; one at least. A share rises only when the pods for it are ready.
    How much each stage asks is not known, so the largest share is what is safe. A change to ScaleWithShare takes no pod
    from a candidate that has them. InPlace: as many, but of the replicas that there are: the candidate's weights are
    loaded into pods that served the incumbent, one after the other, and back again when it is taken back. There are
    never more than replicas pods, two at least. The incumbent keeps one until the promotion, and with Surge and
    ScaleWithShare all."""


class Serving(Pods):
    """vLLM pods that answer POST /v1/rewrite, one Deployment per revision."""

    replicas: Annotated[int, Field(ge=1, le=256)] = 2
    max_unavailable: Annotated[int, Field(ge=1, le=255)] = 1
    """Pods of a revision that a drain of nodes may take at once (PodDisruptionBudget). With one replica there is no
    budget: a drain takes the only pod, and the stage is not served until another one is ready."""
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 32
    max_rewrites: Annotated[int, Field(ge=1, le=8)] = 4
    request_timeout: CallTimeout = "5s"
    tensor_parallel: Annotated[int, Field(ge=1, le=16)] = 1
    ready_timeout: Duration = "15m"
    """Candidate pods that are not ready by then end the cycle as Failed; incumbents go on serving. With ScaleWithShare
    and InPlace those for each later share have as long, and take the candidate back."""
    capacity: Capacity = Capacity()
    scale_down_delay: Delay = "0s"
    """Pods of a revision that was replaced are kept for this long, without a request, so that a rollback to it loads
    no model. They go earlier when a candidate's pods come up, or a pod finds no node. 0s: they go when they have
    drained. A change acts at once, on those that are kept."""


class Gateway(SpecModel):
    """The Gateway that consumers of rewrites call."""

    name: Name
    namespace: Name | None = None
    """Defaults to the release's namespace."""
    section_name: Name | None = None
    """Listener; all that allow the route when empty."""


class FrontService(SpecModel):
    """The Service that consumers of rewrites call, in a mesh that takes HTTPRoutes for Services (GAMMA)."""

    name: ServiceName
    """In the release's namespace, so that the route holds for callers of all namespaces. None of the operator's own."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The port that consumers call. Other ports of the Service are left alone."""


_HostName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    matching(
        r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
        "must be a host name in lower case without port, e.g. rewrites.shop.example",
    ),
]


class VirtualService(SpecModel):
    """The Istio VirtualService that the operator creates and owns in place of an HTTPRoute."""

    hosts: Annotated[list[_HostName], Field(min_length=1, max_length=8)]
    """What consumers call: the name of a Service in the release's namespace, or host names of a gateway. No Service of
    the operator's own."""
    gateways: Annotated[
        list[
            Annotated[
                str,
                StringConstraints(min_length=1, max_length=127),
                matching(
                    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?",
                    "must be mesh, or the name of an Istio Gateway, with its namespace before it where that is "
                    "another, e.g. gateways/internal",
                ),
            ]
        ],
        Field(min_length=1, max_length=8),
    ] = ["mesh"]
    """Istio Gateways that consumers call, and `mesh` for callers with the mesh's own proxy."""


class Assignment(SpecModel):
    """Users who stay with the revision that they have: whoever sends a bucket is answered by it (docs/sticky-users.md).

    While a candidate has a share, it answers the buckets below it and nobody else's; requests without a bucket are
    divided by chance, as without this.
    """

    header: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64),
        matching(
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            f"must be the name of a request header in lower case, e.g. {BUCKET_HEADER}",
        ),
        ValueRule(
            f"!(self in ['{STAGE_HEADER}', 'host'])",
            lambda name: name not in (STAGE_HEADER, "host"),
            f"must be a header that says nothing else, e.g. {BUCKET_HEADER}",
            got=QUOTED,
        ),
    ] = BUCKET_HEADER
    """Request header with the bucket, two digits from 00 to 99, that consumers compute from a user's key."""


class Traffic(SpecModel):
    """What divides requests, made and owned by the operator: an HTTPRoute behind a Gateway or behind a Service, or an
    Istio VirtualService."""

    gateway: Gateway | None = None
    """The Gateway that consumers of rewrites call. Exactly one of gateway, service and virtualService."""
    service: FrontService | None = None
    """The Service that consumers call instead, in a mesh that takes HTTPRoutes for Services (GAMMA). Whatever is asked
    of this port, the route answers (docs/operations.md)."""
    virtual_service: VirtualService | None = None
    """Istio, whose VirtualServices nobody declares accepted: the pods' counters must show that one is in force
    (docs/operations.md). A release keeps the kind that it was created with."""
    hostnames: Annotated[list[_HostName], Field(max_length=8)] = []
    """With a Gateway: the host names that consumers call. A Service has only its own."""
    assignment: Assignment | None = None
    """The same user, the same revision, for consumers that send a bucket. A change acts at once."""

    @property
    def route_kind(self) -> str:
        """Of the object that divides requests."""
        return "HTTPRoute" if self.virtual_service is None else "VirtualService"

    @property
    def is_called_before(self) -> bool:
        """Whether consumers may call the address before the operator's route is there, and somebody answers them."""
        return self.gateway is None


_PARENTS: Final = ("gateway", "service", "virtualService")

_TRAFFIC_RULES = rules(
    sentence(
        "[" + ", ".join(f"has(self.{name})" for name in _PARENTS) + "].filter(named, named).size() == 1",
        "must name what consumers call: exactly one of gateway, service and virtualService, e.g. gateway: "
        "{name: internal}",
        shown=" + ".join(f"(has(self.{name}) ? ['{name}'] : [])" for name in _PARENTS),
    ),
    sentence(
        "has(self.virtualService) == has(oldSelf.virtualService)",
        "cannot be changed between HTTPRoute and VirtualService, because what is left behind would go on dividing "
        "requests; delete the release and create it again: what was promoted serves first",
        shown="has(self.virtualService) ? 'virtualService' : 'gateway or service'",
    ),
    sentence(
        "has(self.gateway) || !has(self.hostnames) || self.hostnames.size() == 0",
        "must be empty without a gateway: a Service is called by its own names, a VirtualService has its hosts",
        shown="self.hostnames",
        path=".hostnames",
    ),
)


class Pause(SpecModel):
    """A wait: for a time, or until approved for this revision."""

    duration: Duration | None = None
    """Empty: until a person approves: kubectl rewriter approve NAME STAGE, or the annotation rewriter.dev/approve with
    revision, stage and index of this step, e.g. "r0007/finerank/2", as status.message says it."""


class AnalysisStep(SpecModel):
    """Wait until the candidate has answered enough requests in this stage and none of the limits is crossed."""

    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    deadline: Duration = "1h"
    """Too few requests by then is Inconclusive, which rolls back: missing data never promotes."""


class ShadowStep(SpecModel):
    """The candidate gets copies of the stage's requests before its first share, and nobody sees its answers. What its
    pods count of them must stay inside rollout.limits, on at least limits.minRequests; its share is 0."""

    percent: Annotated[int, Field(ge=1, le=100)]
    """Percent of the stage's requests that are copied to the candidate. Its pods work for them as for any other."""
    duration: Duration
    """Copies are counted for at least this long. What is in doubt then, or too little, has verification.timeout."""


class Step(SpecModel):
    """Exactly one of setShare, pause, analysis, shadow."""

    set_share: Annotated[int, Field(ge=1, le=100)] | None = None
    """Percent of the stage's requests that the candidate answers."""
    pause: Pause | None = None
    analysis: AnalysisStep | None = None
    shadow: ShadowStep | None = None
    """Only before the stage's first setShare."""


_KINDS = " + ".join(f"(has(self.{kind}) ? 1 : 0)" for kind in ("setShare", "pause", "analysis", "shadow"))

_ONE_KIND = rules(
    sentence(
        f"{_KINDS} == 1",
        "a step is exactly one of setShare, pause, analysis, shadow",
        shown=_KINDS,
        got="%d of them",
    )
)


class Stage(SpecModel):
    """One consumer of rewrites: its own incumbent, its own steps."""

    name: Annotated[StageName, Field(strict=False)]
    depends_on: Annotated[
        list[Annotated[StageName, Field(strict=False)]],
        Field(max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Stages that must be at full share first; a failure there takes this stage back too."""
    steps: Annotated[list[Annotated[Step, Field(json_schema_extra=_ONE_KIND)]], Field(min_length=1, max_length=32)]


_SHARES = "self.steps.filter(s, has(s.setShare)).map(s, s.setShare)"

_SHARES_AND_ANALYSES = "self.steps.filter(s, has(s.setShare) || has(s.analysis))"
_SHADOWS_AND_SHARES = "self.steps.filter(s, has(s.shadow) || has(s.setShare))"

_STAGE_RULES = rules(
    sentence(
        "!(self.name in self.dependsOn)",
        "a stage cannot depend on itself; name another stage or none",
        shown="self.name",
        path=".dependsOn",
    ),
    sentence(
        f"{_SHARES}.isSorted()",
        "the shares of a stage must rise from step to step, e.g. 5, 25, 100",
        shown=_SHARES,
        path=".steps",
    ),
    sentence(
        "self.steps.filter(s, has(s.setShare))"
        ".all(s, self.steps.exists_one(t, has(t.setShare) && t.setShare == s.setShare))",
        "the shares of a stage must differ from each other, e.g. 5, 25, 100",
        shown=_SHARES,
        path=".steps",
    ),
    sentence(
        "self.steps.exists(s, has(s.setShare) && s.setShare == 100)",
        "the last setShare of a stage must be 100, e.g. 5, 25, 100",
        shown=_SHARES,
        path=".steps",
    ),
    sentence(
        f"{_SHARES_AND_ANALYSES}.size() == 0 || !has({_SHARES_AND_ANALYSES}[0].analysis)",
        "an analysis needs a setShare before it: without a share the candidate answers nothing",
        path=".steps",
    ),
    sentence(
        f"{_SHADOWS_AND_SHARES}.map(s, has(s.setShare) ? 1 : 0).isSorted()",
        "a shadow must stand before the first setShare of its stage: what users see already is judged by their "
        "requests; move it to the front, or make it an analysis",
        shown=f"{_SHADOWS_AND_SHARES}.map(s, has(s.setShare) ? 'setShare' : 'shadow')",
        path=".steps",
    ),
)


class Limits(SpecModel):
    """What the candidate's own answers may look like; judged on the serving pods' counters at every look.

    Beyond a limit by more than chance explains, the candidate is taken back at once. Beyond it by what may be chance,
    no step advances until more requests tell, or the step's deadline takes it back.
    """

    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Errors and time-outs over requests."""
    max_p95_latency_ms: Annotated[int, Field(ge=1, le=600_000)] = 1000
    max_empty_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Answers without any rewrite over requests."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """No limit is judged on fewer requests than this."""


class Comparison(SpecModel):
    """The candidate's answers beside the incumbents' of the same stage and time.

    Worse than them by more than this and chance together: the candidate is taken back at once. By what may be chance:
    no step advances before its deadline, after which it goes on. Not judged while either side has answered fewer than
    limits.minRequests, nor at a share of 100.
    """

    max_error_rate_increase: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Candidate's rate of errors and time-outs less the incumbents'. 1: not compared."""
    max_empty_rate_increase: Annotated[float, Field(ge=0, le=1)] = 1
    """Candidate's rate of answers without any rewrite less the incumbents'. 1: not compared."""


class ShareVerification(SpecModel):
    """A share is verified by the serving pods' own counters, not assumed from the route."""

    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 50
    """Requests of the stage, on both sides together, that the first look needs. A small share needs more by itself:
    until it is told from none, and from all (docs/operations.md)."""
    alpha: Annotated[float, Field(gt=0), at_most(0.1)] = 0.001
    """A share that is the set one is called another with at most this probability, at all looks together."""
    timeout: Duration = "15m"
    """A share that cannot be verified by then rolls the stage back."""


class Rollout(SpecModel):
    """How a candidate that passed the gate gets traffic, stage by stage."""

    stages: Annotated[
        list[Annotated[Stage, Field(json_schema_extra=_STAGE_RULES)]],
        Field(
            min_length=1,
            max_length=3,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    limits: Limits = Limits()
    comparison: Comparison = Comparison()
    verification: ShareVerification = ShareVerification()
    auto_promote: bool = True
    """False: after the bake the candidate keeps its full share and waits until a person approves its promotion."""
    approval_timeout: HoldTimeout | None = None
    """Longest wait of a pause, or of a promotion, for a person's approval; then the candidate is taken back. Empty: as
    long as it takes. A change acts at once and ends no cycle."""
    bake: Duration = "1h"
    """All stages at full share for this long, limits still judged, before the candidate becomes the incumbent."""
    windows: Annotated[list[Window], Field(max_length=16)] = []
    """Hours of the week in which shares may rise and a candidate may be promoted; always, without any. When a window
    closes, a candidate keeps the share that it has, is watched on, and can be taken back at any time."""
    freezes: Annotated[list[Annotated[Freeze, Field(json_schema_extra=FREEZE_RULES)]], Field(max_length=32)] = []
    """Times in which no share rises and nothing is promoted, whatever the windows say."""
    metrics: Annotated[
        list[Annotated[RolloutMetric, Field(json_schema_extra=METRIC_RULES)]],
        Field(
            max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = []
    """Numbers of your own that judge a candidate beside limits and comparison (docs/rollout-metrics.md). A change acts
    at once and ends no cycle."""


class Retention(SpecModel):
    """What of ended cycles stays on the volume. The rest is removed when the next cycle starts (docs/operations.md)."""

    weights: Annotated[int, Field(ge=1, le=20)] = 3
    """Promoted revisions whose weights are kept beside those that serve, newest first: what rewriter.dev/rollback-to
    may name. Weights of other phases, and of candidates that were not promoted, go when the next cycle starts."""
    samples: Annotated[int, Field(ge=0, le=1000)] = 2
    """Ended cycles whose samples and pairs are kept, newest first."""
    reports: Annotated[int, Field(ge=1, le=1000)] = 52
    """Ended cycles whose evidence, reports and metrics are kept, newest first; those of kept revisions always are."""


_RETENTION_RULES = rules(
    sentence(
        "!has(self.samples) || !has(self.reports) || self.samples <= self.reports",
        "must be at most reports: the samples of a cycle go with everything else of it",
        shown="self.samples, self.reports",
        got="%d of %d",
        path=".samples",
    )
)


class RewriterReleaseSpec(SpecModel):
    """How a search engine's query rewriter is retrained, judged and released."""

    suspend: bool = False
    """No new cycle starts; one that runs is finished. Incumbents go on serving."""
    on_change: Literal["Supersede", "Queue", "Reject"] = "Supersede"
    """What a change of volume, model, data, reward, training or gate does to a cycle that runs. Supersede: the cycle
    ends, its candidate is taken back, and another begins. Queue: it goes on with what it began with; another begins
    when it has ended. Reject: from training to the bake the API server refuses the change. A change of rollout.stages
    before the first share never ends a cycle; see docs/operations.md."""
    schedule: Schedule | None = None
    """Without it, cycles start on spec changes and on request (annotation rewriter.dev/run)."""
    bootstrap: Literal["Passthrough", "BaseModel"] = "Passthrough"
    """What serves before the first promotion: no rewrites at all, or the untrained base model."""
    volume: Volume
    model: Model
    data: Data
    reward: Reward
    training: Training = Training()
    gate: Annotated[Gate, Field(json_schema_extra=_GATE_RULES)]
    serving: Annotated[Serving, Field(json_schema_extra=_SERVING_RULES)] = Serving()
    traffic: Annotated[Traffic, Field(json_schema_extra=_TRAFFIC_RULES)]
    rollout: Annotated[Rollout, Field(json_schema_extra=ROLLOUT_RULES)]
    history_limit: Annotated[int, Field(ge=2, le=20)] = 5
    """Finished revisions whose objects are kept, beside incumbents, the candidate and those to roll back to."""
    retention: Annotated[Retention, Field(json_schema_extra=_RETENTION_RULES)] = Retention()


SPEC_RULES: dict[str, Any] = rules(
    sentence(
        "self.rollout.stages.all(s, s.dependsOn.all(d, self.rollout.stages.exists(t, t.name == d)))",
        "dependsOn must name stages of this release",
        shown="self.rollout.stages.map(s, {s.name: s.dependsOn})",
        path=".rollout.stages",
    ),
    sentence(  # for three stages, all cycles: one of two stages, or every stage waits for another
        "self.rollout.stages.exists(s, s.dependsOn.size() == 0) && self.rollout.stages.all(s, s.dependsOn.all(d,"
        " s.name == d || !self.rollout.stages.exists(t, t.name == d && s.name in t.dependsOn)))",
        "no stage may wait for one that waits for it; take one dependsOn away",
        shown="self.rollout.stages.map(s, {s.name: s.dependsOn})",
        path=".rollout.stages",
    ),
    sentence(
        "self.training.pairs.topK * 2 <= self.training.sampling.samplesPerQuery",
        "topK best and topK worst samples make pairs: topK must be at most half of "
        "spec.training.sampling.samplesPerQuery",
        shown="self.training.pairs.topK, self.training.sampling.samplesPerQuery",
        got="%d of %d samples",
        path=".training.pairs.topK",
    ),
    sentence(
        "self.training.optimizer.zeroStage > 0 || self.model.dtype != 'bfloat16'",
        "must be 1, 2 or 3 with spec.model.dtype bfloat16: stage 0 keeps no float32 copy of the weights, and bfloat16 "
        "cannot hold what a step changes",
        shown="self.training.optimizer.zeroStage",
        path=".training.optimizer.zeroStage",
    ),
    sentence(
        "self.training.sampling.maxTokens < self.model.maxLength",
        "must be below spec.model.maxLength, which prompt and completion share",
        shown="self.training.sampling.maxTokens, self.model.maxLength",
        got="%d of %d",
        path=".training.sampling.maxTokens",
    ),
    sentence(
        "self.serving.maxTokens < self.model.maxLength",
        "must be below spec.model.maxLength, which prompt and completion share",
        shown="self.serving.maxTokens, self.model.maxLength",
        got="%d of %d",
        path=".serving.maxTokens",
    ),
    sentence(
        "self.data.train != self.data.gate",
        "must not be the training file: the gate judges on queries that were never trained on",
        shown="self.data.gate",
        path=".data.gate",
    ),
    sentence(
        "!has(self.data.validation) || !(self.data.validation in [self.data.corpus, self.data.train, self.data.gate])",
        "must be a file of its own: its queries choose the phase, so they may neither train nor judge",
        shown="self.data.validation",
        path=".data.validation",
    ),
    sentence(
        "!has(self.training.validation) || has(self.data.validation)",
        "nothing is validated without a file of queries: set spec.data.validation, or take this away",
        path=".training.validation",
    ),
    sentence(
        "self.data.corpus != self.data.train && self.data.corpus != self.data.gate",
        "must be the file of documents, not of queries",
        shown="self.data.corpus",
        path=".data.corpus",
    ),
)

IMMUTABLE_VOLUME = rules(
    sentence(
        "self == oldSelf",
        "cannot be changed; create a release with another name over the new volume",
        shown="self.claimName, self.subPath, oldSelf.claimName, oldSelf.subPath",
        got="%s/%s instead of %s/%s",
    )
)
