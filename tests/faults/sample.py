"""The sample: what is played of each workload where all plans would take too long. Each is a test of its own name.

Every fault is in it, every kind of write that moves a release on, and every workload. `make faults` plays all the rest.
"""

from dataclasses import dataclass

from tests.faults.plans import Fault, Plan


@dataclass(frozen=True)
class Sampled:
    """A fault at, or from, the first write of a kind (signatures.kind_of); without `at`, from the beginning."""

    workload: str
    fault: Fault
    at: str = ""
    code: int = 0
    events: str = ""

    def __str__(self) -> str:
        detail = " ".join(str(part) for part in (self.code or "", self.events) if part)
        return f"{self.workload}: {self.fault}{f' {detail}' if detail else ''}{f' @ {self.at}' if self.at else ''}"

    def plan(self) -> Plan:
        """The same as a plan, which needs no run to learn its write from."""
        return Plan(self.workload, self.fault, code=self.code, kind=self.events, at=self.at)


SAMPLE = (
    Sampled("promote", Fault.KILLED_BEFORE, "POST secrets"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "POST deployments"),
    Sampled("promote", Fault.KILLED_AFTER, "POST services"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "POST httproutes"),
    Sampled("promote", Fault.KILLED_BEFORE, "POST pods"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "PUT rewriterreleases Bootstrapping"),
    Sampled("promote", Fault.KILLED_AFTER, "PUT rewriterreleases Training"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "ORDER weights"),
    Sampled("promote", Fault.TERMINATED, "ORDER samples"),
    Sampled("promote", Fault.ANSWER_LOST, "ORDER phases"),
    Sampled("promote", Fault.KILLED_BEFORE, "ORDER report"),
    Sampled("promote", Fault.KILLED_AFTER, "POST rewriterrevisions"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "PUT rewriterreleases Deploying"),
    Sampled("promote", Fault.KILLED_BEFORE, "PUT rewriterreleases RollingOut"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "PATCH httproutes share"),
    Sampled("promote", Fault.ANSWER_LOST, "PUT rewriterreleases Baking"),
    Sampled("promote", Fault.KILLED_AFTER, "PUT rewriterreleases Promoting"),
    Sampled("promote", Fault.KILLED_UNANSWERED, "PUT rewriterreleases Idle"),
    Sampled("promote", Fault.KILLED_AFTER, "PUT rewriterrevisions"),
    Sampled("promote", Fault.ANSWER_LOST, "DELETE pods"),
    Sampled("promote", Fault.ERRORS, code=500),
    Sampled("promote", Fault.ERRORS, "PATCH httproutes share", code=503),
    Sampled("promote", Fault.KILLED_BEFORE, "PATCH httproutes"),
    Sampled("promote", Fault.WATCHES_CUT),
    Sampled("promote", Fault.EVENTS_DROPPED, events="pods MODIFIED"),
    Sampled("gate-refuses", Fault.TERMINATED, "PUT rewriterreleases Preparing"),
    Sampled("gate-refuses", Fault.KILLED_UNANSWERED, "ORDER validation"),
    Sampled("gate-refuses", Fault.KILLED_UNANSWERED, "ORDER evidence"),
    Sampled("gate-refuses", Fault.ANSWER_LOST, "PUT rewriterreleases Gating"),
    Sampled("gate-refuses", Fault.ERRORS, code=409),
    Sampled("gate-refuses", Fault.ERRORS, code=422),
    Sampled("rolled-back", Fault.KILLED_BEFORE, "PATCH httproutes share"),
    Sampled("rolled-back", Fault.ANSWER_LOST, "PATCH httproutes withdrawn"),
    Sampled("rolled-back", Fault.KILLED_UNANSWERED, "PUT rewriterreleases Withdrawing"),
    Sampled("rolled-back", Fault.KILLED_AFTER, "DELETE deployments"),
    Sampled("rolled-back", Fault.ERRORS, "PUT rewriterreleases RollingOut", code=429),
    Sampled("rolled-back", Fault.WATCHES_FROZEN, "PUT rewriterreleases RollingOut"),
    Sampled("rolled-back", Fault.LISTS_STALE),
    Sampled("rolled-back", Fault.EVENTS_TWICE),
    Sampled("edited", Fault.KILLED_AFTER, "PATCH httproutes withdrawn"),
    Sampled("edited", Fault.ANSWER_LOST, "DELETE services"),
    Sampled("edited", Fault.WATCHES_BROKEN),
    Sampled("edited", Fault.EVENTS_REORDERED),
    Sampled("edited", Fault.EVENTS_OLD),
    Sampled("deleted", Fault.RELEASE_DELETED, "POST httproutes"),
    Sampled("deleted", Fault.RELEASE_DELETED, "ORDER samples"),
    Sampled("deleted", Fault.RELEASE_DELETED, "PUT rewriterreleases RollingOut"),
    Sampled("deleted", Fault.EVENTS_DROPPED, events="rewriterreleases DELETED"),
    Sampled("second-cycle", Fault.KILLED_UNANSWERED, "PATCH httproutes share"),
    Sampled("istio", Fault.KILLED_UNANSWERED, "POST virtualservices"),
    Sampled("istio", Fault.KILLED_UNANSWERED, "PATCH virtualservices"),
    Sampled("istio", Fault.KILLED_UNANSWERED, "PATCH virtualservices share"),
    Sampled("istio", Fault.ANSWER_LOST, "PATCH virtualservices withdrawn"),
    Sampled("second-cycle", Fault.ERRORS, code=403),
    Sampled("second-cycle", Fault.WATCHES_EXPIRED),
)
