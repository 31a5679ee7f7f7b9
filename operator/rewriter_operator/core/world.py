"""World: one frozen look at everything that a decision may depend on, `now` included.

cluster/observe.py fills it; plan() reads it; a test builds it. What could not be read is None, which is never the same
as zero, empty or false.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from rewriter_contract.messages import EvidenceRows, FusionTerm, SamplerState, ServingStats, WeightsRef, WorkReport
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.core.begun_spec import in_force

LEARNT_SECONDS: Final = 3
"""A pod counts as available only after the gateway had the time to learn its address."""


ENDED: Final = ("Failed", "Succeeded")
"""Phases of a pod that does nothing any more."""


class Role(StrEnum):
    """What a child is for; the value of its label."""

    PREPARE = "prepare"
    RECORD = "record"
    TRAINER = "trainer"
    SAMPLER = "sampler"
    SERVING = "serving"
    PASSTHROUGH = "passthrough"
    AGENT_TOKEN = "agent-token"
    ROUTE = "route"
    POOL = "pool"
    """The Deployment of capacity.mode InPlace, and its pods while they serve no revision."""
    REVISION = "revision"


@dataclass(frozen=True)
class Release:
    """The object itself."""

    namespace: str
    name: str
    uid: str
    generation: int
    created_at: float
    annotations: Mapping[str, str]
    spec: RewriterReleaseSpec
    status: RewriterReleaseStatus
    managers: Mapping[str, str] = field(default_factory=dict)
    """Annotation -> the field manager that wrote it last; for Events only."""


@dataclass(frozen=True)
class Child:
    """An object that the operator owns, as far as any decision needs it."""

    kind: str
    name: str
    uid: str
    role: Role
    cycle: int
    number: int
    """Sampler index, prepare attempt; 0 otherwise."""
    spec_hash: str
    """Digest of the manifest that it was applied from."""
    deleting: bool = False


@dataclass(frozen=True)
class Pod(Child):
    """A trainer, sampler, prepare, record or serving pod."""

    phase: str = "Pending"
    ready: bool = False
    ip: str = ""
    message: str = ""
    """Termination message, or why it waits."""
    exit_code: int | None = None
    created_at: float = 0
    gone_by: float = 0
    """When it should be gone at the latest, after somebody deleted it; 0 while nobody did."""
    made_for: WeightsRef | None = None
    """The weights that a sampler's template names; None: it was made empty."""
    pool: bool = False
    """A serving pod that can change revisions: `cycle` is the one that its label names, and counts for Role.SERVING
    only."""
    order: str = ""
    """Of a pool's pod: JSON of ServingOrder, what it was told to load last; empty for one that was told nothing."""
    released_at: float = 0
    """When its label was taken away, so that no new request reaches it; 0 for one that never had any."""
    assigned_at: float = 0
    """When it got the label that it has, or had last."""


@dataclass(frozen=True)
class Deployment(Child):
    """Serving or passthrough pods."""

    replicas: int = 0
    ready: int = 0
    """Available replicas of the current template."""
    others: int = 0
    """Those beside them: of the template before, or of one that its controller has not seen yet."""
    message: str = ""
    """Why pods cannot be made; empty while they can."""
    observed: bool = True
    """Its controller has seen its newest generation; until then `ready` is 0 because nobody knows."""
    rolls: bool = False
    """Pods of an older template are yet to be replaced, as far as anybody knows."""

    @property
    def answering(self) -> int:
        """Pods that answer requests, of whatever template."""
        return self.ready + self.others


@dataclass(frozen=True)
class Budget(Child):
    """A PodDisruptionBudget of serving pods."""

    spec: Mapping[str, Any] | None = None
    """As it is now, to compare with what it should be; None where nothing is to be compared."""


@dataclass(frozen=True)
class Revision(Child):
    """A RewriterRevision object; `cycle` is its number."""

    outcome: str = ""
    message: str = ""
    serving: tuple[str, ...] = ()
    weights: str = ""
    """Version of its weight set."""
    parent: str = ""
    """Version that its cycle started from."""
    kept: str = ""
    """What its status says of the weight set: Kept, Removed, or nothing yet."""


@dataclass(frozen=True)
class Route(Child):
    """What divides requests, read live."""

    accepted: bool | None = None
    """By the gateway, at the route's own generation; None while it has not said."""
    was_accepted: bool = False
    """By all that the gateway said last, of this generation or one before: that one is in force until it says more."""
    tells_acceptance: bool = True
    """Whether it ever will have to say. False: what nobody says is seen in the pods' counters (core/taken_over.py)."""
    message: str = ""
    shares: Mapping[str, int] = field(default_factory=dict)
    """Stage -> percent that the route sends to the candidate."""
    withdrawn: int | None = None
    """Revision that an urgent rollback took off the route, before status could say so."""
    mirrors: Mapping[str, int] = field(default_factory=dict)
    """Stage -> percent of its requests that the route copies to somebody; stages without are absent."""
    spec: Mapping[str, Any] | None = None
    """As it is now, to compare with what it should be; None where nothing is to be compared."""


@dataclass(frozen=True)
class Claim:
    """The PersistentVolumeClaim of spec.volume."""

    phase: str
    access_modes: tuple[str, ...]


@dataclass(frozen=True)
class Fusion:
    """The fusion constants, or why they cannot be used."""

    terms: tuple[FusionTerm, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class MetricAnswer:
    """What a look at a metric gave: a value, a verdict, or neither, which is unknown."""

    asked_at: float
    """By the operator's clock; tells one look from another."""
    value: float | None = None
    passes: bool | None = None
    """A web hook's own verdict."""
    reason: str = ""
    """Why it is unknown; of a web hook's verdict, the hook's words."""


@dataclass(frozen=True)
class World:
    """All of it."""

    now: float
    release: Release
    claim: Claim | None = None
    fusion: Fusion | None = None
    """None: the ConfigMap is missing."""
    children: tuple[Child, ...] = ()
    samplers: Mapping[int, SamplerState] = field(default_factory=dict)
    """By index; a sampler that does not answer is absent."""
    works: Mapping[str, WorkReport] = field(default_factory=dict)
    """By path of the call; what the pod does not know, or did not answer, is absent."""
    unknown_works: frozenset[str] = frozenset()
    """Paths that the pod answered "never ordered": only these may be ordered (again)."""
    evidence: Mapping[str, tuple[EvidenceRows, ...]] = field(default_factory=dict)
    """Side -> rows by shard, once all its shards are done."""
    report_digest: str = ""
    """sha256 of the report that the volume has for this cycle."""
    stats: Mapping[str, ServingStats] = field(default_factory=dict)
    """Serving pod name -> its counters; a pod that does not answer is absent."""
    unauthorised: frozenset[str] = frozenset()
    """Serving pods that refuse the agents' token."""
    answers: Mapping[str, MetricAnswer] = field(default_factory=dict)
    """Digest of what was asked (core/metric_calls.py) -> the answer; of what is still under way, nothing."""
    refusal: str = ""
    """Why the API server did not take the last child that it was given; empty once it took one."""
    contest: str = ""
    """Which child somebody else changes again and again; empty while nobody does."""

    @cached_property
    def spec(self) -> RewriterReleaseSpec:
        """The spec in force: as it is written (release.spec), but for a change that waits for a cycle's end."""
        return in_force(self.release.spec, self.release.status)

    @property
    def status(self) -> RewriterReleaseStatus:
        """The release's status."""
        return self.release.status

    def pods(self, role: Role) -> list[Pod]:
        """Pods of a role, by number."""
        found = [child for child in self.children if isinstance(child, Pod) and child.role is role]
        return sorted(found, key=lambda pod: (pod.cycle, pod.number))

    def pod(self, role: Role, cycle: int, number: int = 0) -> Pod | None:
        """One pod, if it is there and not on its way out."""
        for pod in self.pods(role):
            if (pod.cycle, pod.number) == (cycle, number) and not pod.deleting:
                return pod
        return None

    def deployment(self, role: Role, revision: int = 0) -> Deployment | None:
        """The serving pods of a revision, or the passthrough's: of its own Deployment, and those that the pool lends.

        What the pool lends counts as one that exists, with the pods that bear the revision's label.
        """
        own = self.own_deployment(role, revision)
        lent = [pod for pod in self.pool if pod.role is role and pod.cycle == revision]
        if not lent:
            return own
        up = sum(self.answers_from_pool(pod) for pod in lent)
        if own is not None:
            return replace(own, replicas=own.replicas + len(lent), ready=own.ready + up)
        return Deployment("Deployment", lent[0].name, "", role, revision, 0, "", replicas=len(lent), ready=up)

    def own_deployment(self, role: Role, revision: int = 0) -> Deployment | None:
        """The Deployment that makes pods for this alone."""
        for child in self.children:
            if isinstance(child, Deployment) and (child.role, child.cycle) == (role, revision) and not child.deleting:
                return child
        return None

    @cached_property
    def pool(self) -> list[Pod]:
        """Pods that can change revisions, whatever they serve now, by name; without those on their way out, and without
        those that have ended: an evicted pod keeps its labels, and another one has its place."""
        found = [child for child in self.children if isinstance(child, Pod) and child.pool and not child.deleting]
        return sorted((pod for pod in found if pod.phase not in ENDED), key=lambda pod: pod.name)

    def answers_from_pool(self, pod: Pod) -> bool:
        """Whether requests for its label's revision reach it: the gateway has had the time to learn of it."""
        return pod.role is Role.SERVING and pod.ready and self.now - pod.assigned_at >= LEARNT_SECONDS

    @property
    def route(self) -> Route | None:
        """What divides requests."""
        return next((child for child in self.children if isinstance(child, Route)), None)

    @property
    def revisions(self) -> list[Revision]:
        """RewriterRevision objects, oldest first."""
        found = [child for child in self.children if isinstance(child, Revision) and not child.deleting]
        return sorted(found, key=lambda revision: revision.cycle)
