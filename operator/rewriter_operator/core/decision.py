"""What plan() answers with: the new status, the children that should exist, and at most one order to a pod.

These are values. workloads/ turns children into manifests, cluster/act.py does the writing, reconcile.py picks the one
write of this pass.
"""

from dataclasses import dataclass

from rewriter_contract.messages import (
    PASSTHROUGH,
    EngineConfig,
    EvidenceOrder,
    PhaseOrder,
    PrepareOrder,
    PromotionRecord,
    SamplesOrder,
    ServingConfig,
    StorageOrder,
    WeightsOrder,
    WeightsRef,
)
from rewriter_contract.reports import GateReport
from rewriter_operator.api.revision import RewriterRevisionSpec, RewriterRevisionStatus
from rewriter_operator.api.status import RewriterReleaseStatus, Serving
from rewriter_operator.core.world import Role


@dataclass(frozen=True)
class WantedPod:
    """A trainer or sampler pod, or one that runs once with an order (prepare, record)."""

    role: Role
    cycle: int
    number: int = 0
    prepare: PrepareOrder | None = None
    storage: StorageOrder | None = None
    """Beside the prepare order."""
    record: PromotionRecord | None = None
    order: int = 0
    """Of the record; 0 for one that was asked for before there were orders."""
    weights: WeightsRef | None = None
    """What a sampler comes up with; None: it comes up empty, and is told."""


@dataclass(frozen=True)
class WantedMeeting:
    """The headless Service by which trainer pods that train together find each other."""


@dataclass(frozen=True)
class WantedServing:
    """Serving pods of a revision with their Service. `config.weights` None: the passthrough."""

    revision: int
    config: ServingConfig
    engine: EngineConfig | None = None
    replicas: int | None = None
    """Of a candidate that has not all of them yet; None: as many as the spec says."""
    has_deployment: bool = True
    """False: pods of the pool bear the revision's label, and there is only the Service."""


@dataclass(frozen=True)
class WantedPool:
    """The pods of capacity.mode InPlace, whatever they serve."""

    held: bool = False
    """It is divided between revisions: nothing of it is changed now, because a pod that is replaced may be a
    revision's only one."""


@dataclass(frozen=True)
class WantedRoute:
    """Who answers each stage."""

    incumbents: tuple[tuple[str, int | None], ...]
    """(stage, revision), None = passthrough; also the catch-all's answer is the last stage's."""
    candidate: int | None = None
    shares: tuple[tuple[str, int], ...] = ()
    """(stage, percent to the candidate), stages with 0 left out."""
    idle: tuple[int, ...] = ()
    """Revisions (-1: the passthrough) that every stage lists at weight 0.

    A gateway learns of a new backend only with the route that already sends requests there, and drops what is under way
    when a backend vanishes; both showed as failed requests. So a backend is listed before its first request and for a
    while after its last one.
    """
    withdrawn: int | None = None
    mirrors: tuple[tuple[str, int], ...] = ()
    """(stage, percent of its requests that the candidate gets copies of), stages without left out."""


@dataclass(frozen=True)
class WantedRevision:
    """A RewriterRevision object."""

    spec: RewriterRevisionSpec


@dataclass(frozen=True)
class WantedToken:
    """The Secret with the agents' token."""


Wanted = WantedPod | WantedMeeting | WantedServing | WantedPool | WantedRoute | WantedRevision | WantedToken


@dataclass(frozen=True)
class OrderToPod:
    """A PUT to a trainer or sampler pod."""

    role: Role
    number: int
    path: str
    body: WeightsOrder | SamplesOrder | EvidenceOrder | PhaseOrder | GateReport


@dataclass(frozen=True)
class RevisionOutcome:
    """A write to a RewriterRevision's status."""

    revision: int
    status: RewriterRevisionStatus


@dataclass(frozen=True)
class PodChange:
    """A write to one pod of the pool: its label, or what it is to load, or both."""

    pod: str
    uid: str
    at: float
    why: str
    label: int | None = None
    """The revision that it serves from now on; None: none."""
    order: str | None = None
    """JSON of ServingOrder; None: what it was told before."""


@dataclass(frozen=True)
class Removal:
    """Delete one child, and only the one with this uid."""

    kind: str
    name: str
    uid: str
    why: str


@dataclass(frozen=True)
class Note:
    """A Kubernetes Event, written after the status write that it tells of."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Decision:
    """The answer."""

    status: RewriterReleaseStatus
    wanted: tuple[Wanted, ...] = ()
    order: OrderToPod | None = None
    assignment: PodChange | None = None
    """The next step of a pod of the pool from one revision to another."""
    outcomes: tuple[RevisionOutcome, ...] = ()
    replace: tuple[Removal, ...] = ()
    """Children that exist and are wanted, but are beyond repair: removed so that they are made anew."""
    notes: tuple[Note, ...] = ()
    urgent_route: bool = False
    """Write the route before anything else: traffic is being taken back."""
    wait_seconds: float = 60.0
    """Look again after this long, if nothing wakes the key before."""


@dataclass(frozen=True)
class Step:
    """What the function of one state answers; plan() adds the rest."""

    status: RewriterReleaseStatus
    order: OrderToPod | None = None
    notes: tuple[Note, ...] = ()
    replace: tuple[Removal, ...] = ()
    wait_seconds: float = 2.0


def serving_name(serving: Serving | None) -> str:
    """`r0007`, or `passthrough`."""
    return revision_name(serving.revision if serving else -1)


def revision_name(number: int) -> str:
    """The same, by number; the passthrough's is below 0."""
    return PASSTHROUGH if number < 0 else f"r{number:04d}"
