"""`status` of a RewriterRelease: everything that the next reconcile needs, and nothing that it can look up.

The operator keeps no truth in memory. Every timer is a stored time (Unix seconds in `*At` fields of the operator's own
bookkeeping, RFC 3339 in conditions), so a restart neither forgets nor advances anything.
"""

import operator
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from rewriter_operator.api.model import ApiModel, Digest, Name, Percent, ShortText
from rewriter_operator.api.states import State

MAX_BEGAN_WITH: Final = 32_768
"""Characters of the copy of a spec that a running cycle keeps; a spec that is larger is not kept."""

Metrics = Annotated[dict[str, float], Field(max_length=40)]


class Outcome(StrEnum):
    """How a cycle ended."""

    PROMOTED = "Promoted"
    REJECTED = "Rejected"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    FAILED = "Failed"


class Weights(ApiModel):
    """A weight set on the volume."""

    version: Annotated[str, Field(max_length=64)]
    digest: Digest
    """sha256 of its manifest."""


class Recipe(ApiModel):
    """How a revision's weights are asked: fixed with the revision, because the gate judged them together.

    A changed spec.model.prompt starts a cycle; it never reaches pods that serve a revision from before.
    """

    template: Annotated[str, Field(max_length=4096)]
    chat: bool = False
    stop: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=4)] = ["\n"]
    dtype: Annotated[str, Field(max_length=16)]
    max_length: int
    max_tokens: int


class Serving(ApiModel):
    """A revision that can serve."""

    revision: Annotated[int, Field(ge=0)]
    """Number of the cycle that made it; 0 is the base model."""
    weights: Weights
    recipe: Recipe | None = None
    """None only for one that was promoted before recipes were kept; the spec's is used then."""


class PhaseStep(StrEnum):
    """Where a phase is."""

    SYNCING = "Syncing"
    VALIDATING = "Validating"
    SAMPLING = "Sampling"
    TRAINING = "Training"


class Shard(ApiModel):
    """A finished shard of samples."""

    path: Annotated[str, Field(max_length=256)]
    rows: int
    sha256: Digest


class Takeover(ApiModel):
    """A shard of samples that another sampler draws too, because its own is slow with it."""

    shard: Annotated[int, Field(ge=0)]
    sampler: Annotated[int, Field(ge=0)]
    """The one that draws it a second time."""
    since: float


class Phase(ApiModel):
    """The training phase that runs."""

    number: Annotated[int, Field(ge=1)]
    step: PhaseStep
    weights: Weights
    """What the samplers sample with; the one version of this phase."""
    started_at: float
    since: float
    """Start of the current step."""
    shards: Annotated[list[Shard], Field(max_length=64)] = []
    """Samples that the trainer is to learn from."""
    takeovers: Annotated[list[Takeover], Field(max_length=64)] = []
    """Of this phase's sampling; each shard at most once."""
    progress: ShortText = ""
    progress_at: float = 0


class PhaseResult(ApiModel):
    """A finished phase."""

    number: int
    weights: Weights
    seconds: float
    metrics: Metrics = {}
    validation: Metrics = {}
    """What its weights do on spec.data.validation: queries, reward, gold_queries, ndcg10; empty: not measured."""


class GoldChange(ApiModel):
    """How much a candidate's gold differed from its incumbent's on the gate's queries."""

    check: Annotated[str, Field(max_length=64)]
    difference: float
    error: Annotated[float, Field(ge=0)]
    """Standard error of the difference."""
    margin: Annotated[float, Field(ge=0)]
    """The loss that the gate accepted at that time."""


class RewardSpread(ApiModel):
    """How much the gate's queries differ in what a candidate did to their reward."""

    deviation: Annotated[float, Field(gt=0)]
    """Standard deviation of the paired differences of log R."""
    queries: Annotated[int, Field(ge=1)]
    """That it was measured on."""


class GateResult(ApiModel):
    """The verdict and where to read more."""

    verdict: Annotated[str, Field(max_length=16)]
    summary: ShortText
    report: Annotated[str, Field(max_length=256)]
    """Path of report.json on the volume."""
    findings: Annotated[list[ShortText], Field(max_length=32)] = []
    """One line per check, numbers included."""
    gold: Annotated[list[GoldChange], Field(max_length=4)] = []
    """What became of gold, for the series over releases; a check without numbers is absent."""
    reward: RewardSpread | None = None
    """For the plans of later cycles."""
    report_sha256: Annotated[str, Field(max_length=64)] = ""
    approvable: bool = False
    """Inconclusive, on whole evidence and by a gate that passed its self-test: all that a person may approve."""


class Hold(ApiModel):
    """A candidate that the gate could not decide on and that waits for a person."""

    token: Annotated[str, Field(max_length=64)]
    """What rewriter.dev/approve must say: the revision, and the first digits of the report that there is to read."""
    approved: bool = False


class PromotionHold(ApiModel):
    """A baked candidate that is promoted only when a person says so."""

    token: Annotated[str, Field(max_length=64)]
    """What rewriter.dev/approve must say."""
    since: float
    approved_at: float = 0


class Quiet(ApiModel):
    """A trainer or sampler pod that should be doing something and shows nothing."""

    uid: Annotated[str, Field(max_length=64)]
    name: Annotated[str, Field(max_length=253)]
    sign: Annotated[str, Field(max_length=64)]
    """What is seen of it."""
    since: float


class Stalls(ApiModel):
    """Pods without progress, counted anew in every phase and in the gate."""

    quiet: Annotated[list[Quiet], Field(max_length=65)] = []
    replaced: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=8)] = []
    """Uids of the pods that were given up."""


class Cycle(ApiModel):
    """The cycle that runs."""

    number: Annotated[int, Field(ge=0)]
    """0 is the bootstrap of a new release."""
    trigger: Annotated[str, Field(max_length=64)]
    """Created, SpecChanged, Scheduled or Requested."""
    started_at: float
    spec_digest: Digest
    began_with: Annotated[str, Field(max_length=MAX_BEGAN_WITH)] = ""
    """The parts of the spec that the cycle hangs on, as JSON, as they were when it began; its stages as it goes on
    with them. Empty in a cycle that an operator from before this began, until it is seen with an unchanged spec."""
    approval_round: Annotated[int, Field(ge=0)] = 0
    """Raised when the stages change while an approval of a step stands: it was given for another plan, and approves
    nothing. Above 0 it is the last part of what rewriter.dev/approve must say."""
    since: float
    """Start of the current state."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Of the prepare pod, then of the record pod."""
    attempt_at: float = 0
    fusion: Annotated[str, Field(max_length=4096)] = ""
    """The fusion's constants as JSON, as they were when the cycle was prepared: its reward stays what it was."""
    fusion_sha256: Annotated[str, Field(max_length=64)] = ""
    """Of that text; empty in a cycle that was prepared before it was recorded."""
    reward_revision: str = ""
    relevance_model: Annotated[str, Field(max_length=256)] = ""
    """What every score of the cycle must come from; empty only in a cycle that an operator from before this rule
    prepared, and then equal to nothing: its evidence is never complete."""
    contract: Annotated[int, Field(ge=1)] = 1
    """What its pods understand (core/cycle.py); 1 in a cycle that was prepared before there was such a number."""
    data_digests: Annotated[dict[str, str], Field(max_length=8)] = {}
    start: Weights | None = None
    """Weights that training starts from."""
    phase: Phase | None = None
    phases: Annotated[list[PhaseResult], Field(max_length=1000)] = []
    stalls: Stalls = Stalls()
    compared_with: Serving | None = None
    """The incumbent that the gate compares with; none is the passthrough."""
    gate_queries: Annotated[int, Field(ge=0)] = 0
    """Rows of spec.data.gate; 0: not known."""
    extensions: Annotated[int, Field(ge=0, le=3)] = 0
    """How often the gate has asked for more evidence."""
    gate_side: Annotated[str, Field(max_length=16)] = ""
    """Whose evidence is being gathered: candidate, incumbent, or done."""
    gate: GateResult | None = None
    hold: Hold | None = None
    """None: the gate decided by itself."""
    promotion: PromotionHold | None = None
    """None: it is promoted without being asked for, or is not baked yet."""
    candidate: Serving | None = None
    restore_record: bool = False
    """promoted.json may name the candidate, which is being taken back: what served before is to be written there."""
    outcome: Outcome | None = None
    """Decided, while the cycle is still being wound up."""
    reason: Annotated[str, Field(max_length=64)] = ""
    message: ShortText = ""


class CycleRecord(ApiModel):
    """A cycle that ended."""

    number: int
    outcome: Outcome
    reason: Annotated[str, Field(max_length=64)] = ""
    message: ShortText = ""
    started_at: Annotated[str, Field(max_length=32)]
    finished_at: Annotated[str, Field(max_length=32)]


class BaselineStep(ApiModel):
    """A candidate that was judged, what it would have done to gold, and whether it was let do so."""

    revision: int
    compared_with: int
    """Revision that its gate compared it with; -1 is the passthrough."""
    promoted: bool
    gold: Annotated[list[GoldChange], Field(max_length=4)] = []


class Rollback(ApiModel):
    """What became of the newest annotation rewriter.dev/rollback-to."""

    token: Annotated[str, Field(max_length=128)]
    """The annotation's value; the same value never acts again."""
    to: Serving | None = None
    refusal: ShortText = ""
    """Why the value is not acted on; what an earlier value asked for goes on."""
    since: float = 0
    switched: bool = False
    """It is every stage's incumbent; what is left is promoted.json."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Of the record pod."""
    attempt_at: float = 0
    message: ShortText = ""
    ended_at: Annotated[str, Field(max_length=32)] = ""


class Replaced(ApiModel):
    """Revisions that served until something else took their place, and whose pods are kept up without requests."""

    revisions: Annotated[list[Serving], Field(max_length=3)]
    since: float
    """When they were replaced."""


class RecordWriting(ApiModel):
    """How it goes with writing promoted.json."""

    order: Annotated[int, Field(ge=0)] = 0
    """Of the newest record pod; the volume takes only rising ones."""
    failures: Annotated[int, Field(ge=0)] = 0
    """Attempts in a row that failed."""
    reason: ShortText = ""
    """What the last one of them said."""


class RetentionStatus(ApiModel):
    """What of earlier cycles stays on the volume, as the newest prepare pod was told, and what it answered."""

    cycle: Annotated[int, Field(ge=0)]
    """The cycle that the pod prepares; only lower ones lose anything."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Of the prepare pod."""
    kept: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=64)] = []
    """Weight sets of earlier cycles that stay. A set that is not named is given up for good, before any is removed."""
    busy: Annotated[list[int], Field(max_length=100)] = []
    """Earlier cycles of which a pod still existed: nothing of theirs is removed."""
    removed: Annotated[int, Field(ge=0)] = 0
    """Weight sets, and parts of cycles, that the pod removed."""
    freed_bytes: Annotated[int, Field(ge=0)] = 0
    free_bytes: Annotated[int, Field(ge=0)] | None = None
    needed_bytes: Annotated[int, Field(ge=0)] | None = None
    """What a cycle writes at most."""
    left: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=8)] = []
    """On the volume and not known to the release: never removed. The first few."""
    trouble: ShortText = ""
    """Why nothing, or not everything, could be removed."""
    message: ShortText = ""


class Counters(ApiModel):
    """Requests of one revision in one stage, added over its pods."""

    requests: int = 0
    errors: int = 0
    empty: int = 0
    latency_ms: Annotated[dict[str, int], Field(max_length=32)] = {}


class PodCounters(ApiModel):
    """Counters of one life of one pod when a step began; a new bootId counts from zero."""

    boot_id: Annotated[str, Field(max_length=64)]
    counters: Counters


class PodRequests(ApiModel):
    """Requests of a stage that one life of a pod had answered."""

    boot_id: Annotated[str, Field(max_length=64)]
    requests: Annotated[int, Field(ge=0)] = 0


class Leaving(ApiModel):
    """Serving pods that should get no request any more, where nobody else tells that they get none."""

    since: float
    """When the last request of theirs was seen, or their counters could not be read."""
    pods: Annotated[list[PodRequests], Field(max_length=1024)] = []
    """All requests that each of them had answered then."""
    told: Annotated[str, Field(max_length=256)] = ""
    """What was seen then."""


class ShareWatch(ApiModel):
    """What a verified share is watched with: its requests are counted in windows."""

    share: Percent = 0
    """The share that is watched."""
    number: Annotated[int, Field(ge=0)] = 0
    """Of the window, of all of this stage in this cycle: each has a smaller part of the false alarms than the last."""
    pods: Annotated[list[PodRequests], Field(max_length=1024)] = []
    """All that answer, at its beginning. With another pod, or another life of one, another window begins."""
    doubt: ShortText = ""
    """The numbers that showed another share than the set one; empty without a doubt."""
    doubt_since: float = 0
    """When the share was seen to be another; 0 without a doubt."""


class Silence(ApiModel):
    """Pods behind a share that tell no counters while the stage rests."""

    since: float
    """When a look first found it."""
    why: ShortText
    """The first pod, and what is wrong with it."""
    told: bool = False
    """It lasts, and people were told."""


class MetricVerdict(StrEnum):
    """What a look at a metric says."""

    INSIDE = "Inside"
    OUTSIDE = "Outside"
    UNKNOWN = "Unknown"


class MetricStatus(ApiModel):
    """What a metric of spec.rollout.metrics said, since the stage's share was taken over."""

    name: Name
    of: Annotated[str, Field(max_length=64)]
    """Digest of what it is about: candidate, stage, share, and the metric as the spec has it. Another begins anew."""
    verdict: MetricVerdict | None = None
    """Of the newest look; none before the first."""
    value: float | None = None
    asked_at: float = 0
    """When the newest look began."""
    inside: Annotated[int, Field(ge=0, le=10)] = 0
    """Looks in a row inside the bounds, up to successLimit."""
    outside: Annotated[int, Field(ge=0, le=10)] = 0
    """Looks outside, with none inside since."""
    doubted_since: float = 0
    """Since when it has not been inside for successLimit looks in a row; 0 while it is."""
    message: Annotated[str, Field(max_length=256)] = ""


class Shadow(ApiModel):
    """Copies of a stage's requests that its candidate gets, while the step lasts; they are no share."""

    percent: Percent
    """Percent of the stage's requests that are copied."""
    counting_since: float = 0
    """When the route was seen to copy them; mirrored requests are counted from then on."""
    baseline: Annotated[list[PodCounters], Field(max_length=1024)] = []
    """Counters of mirrored requests at that time."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Mirrored requests that the candidate answered since, when it was last looked at."""
    looked_at: float = 0


class StageStatus(ApiModel):
    """One consumer of rewrites."""

    name: Name
    incumbent: Serving | None = None
    """What serves the stage; none is the passthrough."""
    share: Percent = 0
    """Percent of requests that the candidate is meant to answer."""
    observed_share: Annotated[float, Field(ge=0, le=100)] | None = None
    """Percent that it did answer since the share was set, by the serving pods' counters."""
    step: Annotated[int, Field(ge=0)] = 0
    """Index of the step that is being worked on."""
    step_at: float = 0
    held: bool = False
    """Its next share, or the promotion, waits for a window to open or a freeze to end."""
    approved_at: float = 0
    """When the approval of its pause was seen, while what it would raise is in doubt; 0 otherwise."""
    pods_for: Annotated[Percent, Field(exclude_if=operator.not_)] = 0
    """With capacity.mode ScaleWithShare and InPlace: the share that the candidate's pods were last brought up for,
    here. It never falls while the candidate may have requests, so that no pod goes from under them."""
    pods_at: Annotated[float, Field(exclude_if=operator.not_)] = 0
    """Since when the pods for it are waited for; 0 otherwise."""
    share_at: float = 0
    verified: bool = False
    """The share was seen to be the set one, and told from none and from all."""
    requests: int = 0
    """Requests of the stage since the share was set."""
    counting_since: float = 0
    """When the route was seen to carry the share; requests are counted from then on."""
    baseline: Annotated[list[PodCounters], Field(max_length=1024)] = []
    """Counters at that time."""
    looked_at: float = 0
    """When observedShare was last written."""
    watch: ShareWatch | None = None
    """Since the first share of the cycle was verified."""
    silence: Silence | None = None
    """While pods that answer requests tell no counters, in a pause, the bake, or a wait for a person."""
    shadow: Shadow | None = None
    """While the stage's requests are copied to the candidate."""
    metrics: Annotated[
        list[MetricStatus],
        Field(
            max_length=8,
            exclude_if=operator.not_,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    """Those of spec.rollout.metrics that judge the stage's share."""
    message: ShortText = ""


class Measured(ApiModel):
    """What ended cycles measured, for the plan of the next one."""

    work: Annotated[str, Field(max_length=64)] = ""
    """Digest of what a phase's time depends on."""
    phase_seconds: Annotated[float, Field(ge=0)] | None = None
    """Mean time of the phases of the newest cycle that trained."""
    asked: Annotated[str, Field(max_length=64)] = ""
    """Digest of what the spread depends on: reward and data."""
    reward: RewardSpread | None = None


class TrainingPlan(ApiModel):
    """What will be trained."""

    phases: Annotated[int, Field(ge=1, le=1000)]
    """At most: validation may end training earlier."""
    queries: Annotated[int, Field(ge=1)]
    """Of each phase."""
    samples: Annotated[int, Field(ge=1)]
    """Of each phase: queries times samples per query."""
    phase_deadline: Annotated[str, Field(max_length=6)]
    phase_seconds: Annotated[float, Field(ge=0)] | None = None
    """What a phase of the same work took on average in an earlier cycle; absent where none was measured."""
    work: Annotated[str, Field(max_length=64)]
    """Digest of what a phase's time depends on."""


class GatePlan(ApiModel):
    """What the gate will ask and can tell."""

    queries: Annotated[int, Field(ge=1)] | None = None
    """Of the first look; absent until the prepare pod has counted the rows of spec.data.gate."""
    most_queries: Annotated[int, Field(ge=1)] | None = None
    """With every extension; absent without extensions."""
    minimum_queries: Annotated[int, Field(ge=1)]
    looks: Annotated[int, Field(ge=1, le=4)]
    """At most."""
    alpha: Annotated[float, Field(gt=0, le=1)]
    """Of each look."""
    reward_gain: float | None = None
    """Smallest true gain of the reward that the first look finds in 80 of 100 cycles; absent until one was judged."""
    reward_deviation: Annotated[float, Field(gt=0)] | None = None
    """Measured standard deviation between queries that rewardGain follows from."""
    asked: Annotated[str, Field(max_length=64)]
    """Digest of what the deviation depends on: reward and data."""


class StepPlan(ApiModel):
    """One step of a stage. What the requests tell, they tell in 80 of 100 rollouts."""

    does: Annotated[str, Field(max_length=16)]
    """SetShare, Pause, Approval, Analysis or Shadow."""
    share: Percent
    """Percent that the candidate has in it."""
    pods: Annotated[int, Field(ge=1)] | None = None
    """SetShare and Shadow, with capacity.mode ScaleWithShare and InPlace: pods of the candidate that are ready before,
    at least: what an earlier step needed stays. Absent: all are."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """SetShare: of both sides, that verify the share in 80 of 100 rollouts. Analysis, Shadow: of the candidate."""
    stage_requests: Annotated[int, Field(ge=1)] | None = None
    """Analysis, Shadow: about so many of the whole stage give the candidate that many."""
    mirrored: Annotated[int, Field(ge=1, le=100)] | None = None
    """Shadow: percent of the stage's requests that are copied to the candidate."""
    share_below: Annotated[float, Field(ge=0, le=100)] | None = None
    """Highest real share below the set one that the requests tell from it; absent: not even 0 is told."""
    share_above: Annotated[float, Field(ge=0, le=100)] | None = None
    """Lowest real share above the set one that the requests tell from it; absent: none is."""
    error_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest error rate that crosses limits.maxErrorRate on so many requests; absent: none does."""
    error_rate_increase: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest error rate that is worse than that of incumbents without errors, by the comparison; absent: none is, or
    nothing is compared."""
    seconds: Annotated[int, Field(ge=0)] | None = None
    """Of a timed pause, or of a shadow."""
    deadline: Annotated[str, Field(max_length=6)] | None = None
    waits_for_window: bool = False
    """It may begin only inside the plan's windows and outside its freezes."""


class StagePlan(ApiModel):
    """The steps of one consumer of rewrites."""

    name: Name
    depends_on: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=2)] = []
    steps: Annotated[list[StepPlan], Field(max_length=32)]
    metrics: Annotated[list[Annotated[str, Field(max_length=160)]], Field(max_length=8, exclude_if=operator.not_)] = []
    """Those of spec.rollout.metrics that judge it, with their bounds."""


class CyclePlan(ApiModel):
    """What the cycle that runs will do at most, and what each step can tell. It decides nothing."""

    cycle: Annotated[int, Field(ge=0)]
    training: TrainingPlan
    gate: GatePlan
    stages: Annotated[
        list[StagePlan],
        Field(
            max_length=3, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ]
    bake: Annotated[str, Field(max_length=6)]
    windows: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=16)] = []
    """That shares may rise and a candidate may be promoted in; always, without any."""
    freezes: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=32)] = []
    """That nothing rises or is promoted in, over or not."""


class Condition(ApiModel):
    """As metav1.Condition."""

    type: Annotated[str, Field(max_length=64)]
    status: Annotated[str, Field(max_length=8)]
    reason: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=1024)] = ""
    observed_generation: int = 0
    last_transition_time: Annotated[str, Field(max_length=32)]


class RewriterReleaseStatus(ApiModel):
    """What the operator knows. Conditions are the contract; `state` is for people."""

    observed_generation: int = -1
    """-1: the operator has not looked yet."""
    operator_epoch: int = 0
    """Epoch of the operator that wrote last; one with a lower epoch writes nothing."""
    state: State = State.BOOTSTRAPPING
    message: ShortText = ""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = []
    cycle: Cycle | None = None
    plan: CyclePlan | None = None
    """Of the cycle that runs."""
    measured: Measured | None = None
    stages: Annotated[
        list[StageStatus],
        Field(
            max_length=3, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = []
    last_cycle_number: int = 0
    last_spec_digest: str = ""
    last_learnt_digest: Annotated[str, Field(max_length=64)] = ""
    """Of the parts of that spec that a cycle learns from and is judged by: only a change of them starts one by itself.
    Empty until an operator that knows it has seen the spec unchanged; any change starts one then."""
    last_run_token: Annotated[str, Field(max_length=128)] = ""
    last_approval: Annotated[str, Field(max_length=128)] = ""
    """The newest value of rewriter.dev/approve that acted: it has done what it was for."""
    last_scheduled_at: float = 0
    schedule_in_force: Annotated[str, Field(max_length=192)] = ""
    """Cron and time zone; empty without a schedule, and while suspended."""
    schedule_since: float = 0
    """Since when: times before this start nothing."""
    next_cycle_at: Annotated[str, Field(max_length=32)] | None = None
    draining_since: float = 0
    """When a serving Deployment last stopped being wanted; it is deleted after the drain time."""
    leaving: Leaving | None = None
    """With a VirtualService: when the pods that should get no request were last seen to answer one."""
    history: Annotated[list[CycleRecord], Field(max_length=10)] = []
    """Cycles that ended, newest first."""
    promoted: Annotated[list[Serving], Field(max_length=20)] = []
    """Revisions that served, newest first: what rewriter.dev/rollback-to may name while their weights are kept."""
    baseline: Annotated[list[BaselineStep], Field(max_length=52)] = []
    """Judged candidates and their change of gold, newest first: a year of weekly ones, longer than objects are kept."""
    rollback: Rollback | None = None
    replaced: Replaced | None = None
    """With spec.serving.scaleDownDelay: what can be rolled back to without loading a model."""
    record: RecordWriting | None = None
    retention: RetentionStatus | None = None
    change: ShortText = ""
    """What of the spec was changed and waits for the cycle that runs to end; empty without such a change."""
    notice: ShortText = ""
    """What annotations ask for and the operator does not do, and why."""
    serves: Annotated[str, Field(max_length=256)] = ""
    """For people: revision by stage."""
    shares: Annotated[str, Field(max_length=128)] = ""
    """For people: the candidate's share by stage."""
