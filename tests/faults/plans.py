"""A plan: one workload, and what goes wrong in it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from tests.faults.signatures import Write


class Fault(StrEnum):
    """What goes wrong. The first six happen at one write, the others go on for a while."""

    KILLED_BEFORE = "killed before the write"
    KILLED_UNANSWERED = "killed after the commit, before the answer"
    KILLED_AFTER = "killed after the answer"
    ANSWER_LOST = "answer lost after the commit"
    TERMINATED = "SIGTERM at the write"
    RELEASE_DELETED = "release deleted at the write"
    ERRORS = "every other write is answered with an error"
    WATCHES_CUT = "watches cut"
    WATCHES_FROZEN = "watches frozen"
    WATCHES_EXPIRED = "watches end with 410"
    WATCHES_BROKEN = "watches end with 500"
    EVENTS_DROPPED = "events dropped"
    EVENTS_TWICE = "every event comes twice"
    EVENTS_REORDERED = "events come in another order"
    EVENTS_OLD = "old events come again"
    LISTS_STALE = "lists are stale"


WITHHOLDING = frozenset(
    {
        Fault.WATCHES_CUT, Fault.WATCHES_FROZEN, Fault.WATCHES_EXPIRED, Fault.WATCHES_BROKEN, Fault.EVENTS_DROPPED,
        Fault.EVENTS_REORDERED, Fault.EVENTS_OLD, Fault.LISTS_STALE,
    }
)  # fmt: skip
"""The operator does not learn of everything at once."""

NO_END = "I6: no end"
"""What begins a violation of a story that did not get where it should have."""

AT_ONE_WRITE = (Fault.KILLED_BEFORE, Fault.KILLED_UNANSWERED, Fault.KILLED_AFTER, Fault.ANSWER_LOST)


@dataclass(frozen=True)
class Plan:
    """One run. Without a fault it is a reference run."""

    workload: str
    fault: Fault | None = None
    writes: tuple[Write, ...] = ()
    """Where it strikes: at each of these once, in one run. Without any: a fault that lasts begins with the workload."""
    code: int = 0
    """HTTP status of ERRORS."""
    kind: str = ""
    """`pods DELETED`: what EVENTS_DROPPED drops."""
    at: str = ""
    """In place of writes: the first one of this kind (signatures.kind_of) that is the workload's own."""

    @property
    def strikes(self) -> int:
        """How often it is to strike."""
        return max(len(self.writes), 1 if self.fault else 0)

    def alone(self, write: Write) -> "Plan":
        """The same with one strike only."""
        return replace(self, writes=(write,))

    def __str__(self) -> str:
        detail = " ".join(str(part) for part in (self.code or "", self.kind) if part)
        at = [str(write) for write in self.writes] or [self.at] * bool(self.at)
        where = f" @ {at[0]}{f' and {len(at) - 1} more' if len(at) > 1 else ''}" if at else ""
        return f"{self.workload}: {self.fault or 'undisturbed'}{f' {detail}' if detail else ''}{where}"


@dataclass
class Played:
    """What came of a plan."""

    plan: Plan
    writes: list[Write] = field(default_factory=list)
    """Effective writes, in order."""
    end: dict[str, object] = field(default_factory=dict)
    """The end state, masked."""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Object -> (created, deleted)."""
    violations: list[str] = field(default_factory=list)
    struck: int = 0
    """How often the fault did happen."""
    missed: tuple[Write, ...] = ()
    """Writes of the plan that never came."""
    seconds: float = 0.0
    lives: int = 1
    notes: dict[str, float] = field(default_factory=dict)
    """What a story measured on its way."""
    directory: str = ""
    """The operator's log, its writes and the volume; kept when something is wrong."""
