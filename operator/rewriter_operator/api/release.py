"""`spec` of a RewriterRelease: how a query rewriter is retrained, judged, and given traffic.

These models are the one source of crds/rewriter.dev_rewriterreleases.yaml. Everything has a bound, because CEL's cost
estimate needs them and because an unbounded field is an outage that waits for its first user.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from rewriter_contract.reports import CheckName
from rewriter_operator.api.model import (
    ApiModel,
    Duration,
    Image,
    Name,
    VolumePath,
    rule,
    rules,
)

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=16)]
Labels = Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=16)]


class Schedule(ApiModel):
    """When cycles start by themselves. A change of the spec's model, data, reward, training or gate starts one too."""

    cron: Annotated[str, StringConstraints(min_length=9, max_length=100, pattern=r"^\S+( \S+){4}$")]
    """Five cron fields, e.g. `0 3 * * 1` for Mondays at three. At most once an hour."""
    time_zone: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = "UTC"
    """IANA time zone of the cron fields, e.g. Europe/Berlin."""
    starting_deadline: Duration = "1h"
    """A start that was missed (the operator was down) is made up for within this time, then skipped."""


class Volume(ApiModel):
    """The shared ReadWriteMany volume with base models, data, weights and evidence."""

    claim_name: Name
    """Name of a PersistentVolumeClaim in the release's namespace."""
    sub_path: VolumePath
    """Directory of this release on the volume. Never shared by two releases."""


class Prompt(ApiModel):
    """How a query becomes the model's prompt."""

    template: Annotated[str, StringConstraints(min_length=7, max_length=4096)] = "{query}"
    """Must contain `{query}` exactly once."""
    chat: bool = False
    """True: the template is the user message of the tokenizer's chat template. False: it is the whole prompt."""
    stop: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=16)]], Field(max_length=4)] = ["\n"]
    """A completion ends before the first of these strings."""


class Model(ApiModel):
    """The base model: where training starts in the first cycle."""

    path: VolumePath
    """Directory on the volume with config.json, tokenizer and *.safetensors. Pickles and custom code are refused."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of training and serving."""
    max_length: Annotated[int, Field(ge=32, le=32768)] = 512
    """Longest prompt plus completion, in tokens."""
    prompt: Annotated[
        Prompt,
        Field(
            json_schema_extra=rules(
                rule(
                    "!has(self.template) || self.template.split('{query}').size() == 2",
                    "must contain {query} exactly once",
                )
            )
        ),
    ] = Prompt()


class Data(ApiModel):
    """Files on the volume (JSON Lines; docs/data.md). Gate queries must not appear among training queries."""

    corpus: VolumePath
    """Documents: {_id, title, text}."""
    train: VolumePath
    """Training queries with shown documents: {id, query, positives, negatives}."""
    gate: VolumePath
    """Held-out queries with labels: {id, query, positives, negatives, labels, slice}."""


class ServiceEndpoint(ApiModel):
    """An HTTP service in the release's own namespace."""

    service_name: Name
    """Name of a Service in the release's namespace."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]*$", max_length=256)]
    """Path of the call, e.g. /v1/score."""
    timeout: Duration = "10s"
    """Longest wait for one answer."""


class FusionReference(ApiModel):
    """The serving fusion's constants, read from the config that serving itself uses."""

    config_map_name: Name
    """Name of a ConfigMap in the release's namespace."""
    key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=253)] = "fusion.json"
    """Key with JSON {"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}}."""


class Reward(ApiModel):
    """The multiplicative ratio reward: log R(x,y) = sum_g gamma_g * [mean over positives of clip(log rho_g) - lambda *
    mean over negatives of clip(log rho_g)], rho_g = (b_g + a_g*rel(y,d)) / (b_g + a_g*rel(x,d)). Copying scores 0."""

    relevance: ServiceEndpoint
    """The deployed relevance model (docs/relevance-api.md)."""
    fusion: FusionReference
    """Constants a, b, gamma per stage."""
    lambda_: Annotated[float, Field(ge=0, le=10, alias="lambda")] = 0.5
    """Weight of the negatives. Above 0 it guards against rewrites that raise the relevance of everything."""
    clip: Annotated[float, Field(gt=0, le=10)] = 1.386
    """Each log ratio is clipped to plus or minus this (log 4)."""
    max_missing: Annotated[float, Field(ge=0, le=0.2)] = 0.02
    """Share of scores that may be missing before a phase fails. A missing score is never taken as zero."""


class Toleration(ApiModel):
    """As in a pod."""

    key: Annotated[str, StringConstraints(max_length=253)] | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Annotated[str, StringConstraints(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Resources(ApiModel):
    """Requests and limits of the main container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = {}
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = {}


class Pods(ApiModel):
    """What pods of one role run and where."""

    image: Image | None = None
    """Defaults to the image that the operator was installed with."""
    resources: Resources = Resources()
    """E.g. limits: {nvidia.com/gpu: "1"}."""
    node_selector: Labels = {}
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = []
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None


class SamplerPods(Pods):
    """vLLM sampler pods; they exist only during a cycle."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    tensor_parallel: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs that one engine spans."""


class Sampling(ApiModel):
    """How rewrites are drawn for training."""

    queries_per_phase: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    """Queries drawn anew for each phase, without repeats until the file is used up."""
    samples_per_query: Annotated[int, Field(ge=2, le=64)] = 8
    temperature: Annotated[float, Field(gt=0, le=2)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 32


class Pairs(ApiModel):
    """How ranked samples become preference pairs: i-th best with i-th worst."""

    top_k: Annotated[int, Field(ge=1, le=16)] = 2
    margin: Annotated[float, Field(ge=0, le=10)] = 0.02
    """Least difference in log R between chosen and rejected."""
    rejected_at: Literal["min", "mu-2sigma"] = "min"
    """Which sample is the worst: the minimum, or the one nearest to mean - 2 standard deviations."""


class Mpo(ApiModel):
    """Mixed Preference Optimization (arXiv 2411.10442): w_p*DPO + w_q*BCO (running delta) + w_g*NLL of the chosen."""

    preference: Annotated[float, Field(ge=0, le=10)] = 0.8
    quality: Annotated[float, Field(ge=0, le=10)] = 0.2
    generation: Annotated[float, Field(ge=0, le=10)] = 1.0
    beta: Annotated[float, Field(gt=0, le=10)] = 0.1


class Optimizer(ApiModel):
    """AdamW and the batch."""

    learning_rate: Annotated[float, Field(gt=0, le=0.1)] = 5e-6
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    pairs_per_step: Annotated[int, Field(ge=1, le=4096)] = 32
    epochs: Annotated[int, Field(ge=1, le=10)] = 1
    zero_stage: Annotated[int, Field(ge=1, le=3)] = 2
    """DeepSpeed ZeRO stage."""


class Training(ApiModel):
    """The learning loop: phases of sample, score, pair, optimise, publish, and one weight sync per phase."""

    phases: Annotated[int, Field(ge=1, le=1000)] = 4
    start_from: Literal["Incumbent", "Base"] = "Incumbent"
    """Weights that a cycle starts from. Base also serves as the start while nothing was promoted."""
    reference: Literal["PhaseStart", "CycleStart"] = "PhaseStart"
    """pi_0 of the preference terms: PhaseStart follows the policy, CycleStart bounds the drift of a whole cycle."""
    sampling: Annotated[Sampling, Field()] = Sampling()
    pairs: Pairs = Pairs()
    mpo: Mpo = Mpo()
    optimizer: Optimizer = Optimizer()
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    trainer: Pods = Pods()
    samplers: SamplerPods = SamplerPods()
    phase_deadline: Duration = "6h"
    """A phase that takes longer fails the cycle; incumbents go on serving."""
    stall_timeout: Duration = "15m"
    """A pod that shows no progress for this long is replaced, at most three times in a phase."""


class Check(ApiModel):
    """Settings of one gate check; what is not set keeps the default of docs/gate.md."""

    name: CheckName
    disabled: bool = False
    """A disabled check is still measured and shown, and never decides."""
    margin: Annotated[float, Field(ge=0, le=100)] | None = None
    """Non-inferiority margin: the loss that is still acceptable."""
    min: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    max: Annotated[float, Field(ge=-1000, le=1000)] | None = None


class Gate(ApiModel):
    """The judge: candidate against incumbent on held-out queries, by reward, by gold and by stability metrics."""

    search: ServiceEndpoint
    """The real search, for gold (docs/search-api.md): it ranks documents for a query with given rewrites beside it."""
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    minimum_queries: Annotated[int, Field(ge=10, le=1_000_000)] = 30
    """Fewer paired queries than this make the verdict Inconclusive."""
    checks: Annotated[
        list[Check],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = []
    """Overrides by name."""


class Serving(Pods):
    """vLLM pods that answer POST /v1/rewrite, one Deployment per revision."""

    replicas: Annotated[int, Field(ge=1, le=256)] = 2
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 32
    max_rewrites: Annotated[int, Field(ge=1, le=8)] = 4
    request_timeout: Duration = "5s"
    tensor_parallel: Annotated[int, Field(ge=1, le=16)] = 1
    ready_timeout: Duration = "15m"
    """Candidate pods that are not ready by then end the cycle as Failed; incumbents go on serving."""


class Gateway(ApiModel):
    """The Gateway that consumers of rewrites call."""

    name: Name
    namespace: Name | None = None
    """Defaults to the release's namespace."""
    section_name: Name | None = None
    """Listener; all that allow the route when empty."""


class Traffic(ApiModel):
    """The HTTPRoute that the operator creates and owns."""

    gateway: Gateway
    hostnames: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]],
        Field(max_length=8),
    ] = []


class StageName(StrEnum):
    """Consumers of rewrites, from the smallest blast radius to the largest."""

    FINERANK = "finerank"
    RAWRANK = "rawrank"
    RECALL = "recall"


class Pause(ApiModel):
    """A wait: for a time, or until approved for this revision."""

    duration: Duration | None = None
    """Empty: until a person approves (annotation rewriter.dev/approve: "<revision>")."""


class AnalysisStep(ApiModel):
    """Wait until the candidate has answered enough requests in this stage and none of the limits is crossed."""

    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    deadline: Duration = "1h"
    """Too few requests by then is Inconclusive, which rolls back: missing data never promotes."""


class Step(ApiModel):
    """Exactly one of setShare, pause, analysis."""

    set_share: Annotated[int, Field(ge=1, le=100)] | None = None
    """Percent of the stage's requests that the candidate answers."""
    pause: Pause | None = None
    analysis: AnalysisStep | None = None


_ONE_KIND = rules(
    rule(
        "(has(self.setShare) ? 1 : 0) + (has(self.pause) ? 1 : 0) + (has(self.analysis) ? 1 : 0) == 1",
        "a step is exactly one of setShare, pause, analysis",
    )
)


class Stage(ApiModel):
    """One consumer of rewrites: its own incumbent, its own steps."""

    name: StageName
    depends_on: Annotated[
        list[StageName], Field(max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Stages that must be at full share first; a failure there takes this stage back too."""
    steps: Annotated[list[Annotated[Step, Field(json_schema_extra=_ONE_KIND)]], Field(min_length=1, max_length=32)]


_STAGE_RULES = rules(
    rule("!(self.name in self.dependsOn)", "a stage cannot depend on itself"),
    rule(
        "self.steps.filter(s, has(s.setShare)).map(s, s.setShare).isSorted()",
        "the shares of a stage's steps must rise, e.g. 5, 25, 100",
    ),
    rule(
        "self.steps.filter(s, has(s.setShare))"
        ".all(s, self.steps.exists_one(t, has(t.setShare) && t.setShare == s.setShare))",
        "the shares of a stage's steps must differ from each other",
    ),
    rule("self.steps.exists(s, has(s.setShare) && s.setShare == 100)", "the last setShare of a stage must be 100"),
)


class Limits(ApiModel):
    """What the candidate's own answers may look like; judged on the serving pods' counters at every look."""

    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Errors and time-outs over requests."""
    max_p95_latency_ms: Annotated[int, Field(ge=1, le=600_000)] = 1000
    max_empty_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Answers without any rewrite over requests."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """No limit is judged on fewer requests than this."""


class ShareVerification(ApiModel):
    """A share is verified by the serving pods' own counters, not assumed from the route."""

    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 50
    """Requests of the stage, on both sides together, that the binomial interval needs."""
    alpha: Annotated[float, Field(gt=0, le=0.1)] = 0.001
    """A share outside its 1-alpha binomial interval stops the rollout."""
    timeout: Duration = "15m"
    """A share that cannot be verified by then rolls the stage back."""


class Rollout(ApiModel):
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
    verification: ShareVerification = ShareVerification()
    bake: Duration = "1h"
    """All stages at full share for this long, limits still judged, before the candidate becomes the incumbent."""


class RewriterReleaseSpec(ApiModel):
    """How a search engine's query rewriter is retrained, judged and released."""

    suspend: bool = False
    """No new cycle starts; one that runs is finished. Incumbents go on serving."""
    schedule: Schedule | None = None
    """Without it, cycles start on spec changes and on request (annotation rewriter.dev/run)."""
    bootstrap: Literal["Passthrough", "BaseModel"] = "Passthrough"
    """What serves before the first promotion: no rewrites at all, or the untrained base model."""
    volume: Volume
    model: Model
    data: Data
    reward: Reward
    training: Training = Training()
    gate: Gate
    serving: Serving = Serving()
    traffic: Traffic
    rollout: Rollout
    history_limit: Annotated[int, Field(ge=2, le=20)] = 5
    """Finished revisions whose objects and weights are kept, beside incumbents and the candidate."""


SPEC_RULES: dict[str, Any] = rules(
    rule(
        "self.rollout.stages.all(s, s.dependsOn.all(d, self.rollout.stages.exists(t, t.name == d)))",
        "spec.rollout.stages[].dependsOn must name stages of this release",
    ),
    rule(
        "self.training.pairs.topK * 2 <= self.training.sampling.samplesPerQuery",
        "spec.training.pairs.topK must be at most half of spec.training.sampling.samplesPerQuery",
    ),
    rule(
        "self.training.sampling.maxTokens < self.model.maxLength",
        "spec.training.sampling.maxTokens must be below spec.model.maxLength",
    ),
    rule("self.serving.maxTokens < self.model.maxLength", "spec.serving.maxTokens must be below spec.model.maxLength"),
    rule("self.data.train != self.data.gate", "spec.data.gate must not be the training file"),
)

IMMUTABLE_VOLUME = rules(
    rule("self == oldSelf", "spec.volume cannot be changed; create a release with another name over the new volume")
)
