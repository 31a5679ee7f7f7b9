"""What became of earlier cycles, how two revisions differ, and where the gate's report is. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rewriter_operator.api.revision import RewriterRevisionSpec, RewriterRevisionStatus
from rewriter_operator.cli.asking import Refusal
from rewriter_operator.core.decision import revision_name
from rewriter_operator.core.world import World
from rewriter_operator.workloads import names
from rewriter_operator.workloads.pods import VOLUME_MOUNT


@dataclass(frozen=True)
class Difference:
    """One thing that two revisions do not have in common."""

    what: str
    first: str
    second: str


def pick(revisions: Mapping[int, Any], name: str) -> int:
    """`r0007`, `7` or `shop-r0007` -> 7.

    Raises:
        Refusal: when there is no such RewriterRevision.
    """
    digits = name.rsplit("-", 1)[-1].removeprefix("r")
    number = int(digits) if digits.isdigit() else -1
    if number in revisions:
        return number
    known = ", ".join(revision_name(item) for item in sorted(revisions, reverse=True)) or "none"
    raise Refusal(f"got revision {name!r}; there is {known}")


def diff(first: RewriterRevisionSpec, second: RewriterRevisionSpec) -> list[Difference]:
    """Everything in which they differ: origin, training, verdict, each check's numbers."""
    a, b = dict(_facts(first)), dict(_facts(second))
    return [
        Difference(what, a.get(what, "-"), b.get(what, "-"))
        for what in dict.fromkeys([*a, *b])
        if a.get(what) != b.get(what)
    ]


def _facts(spec: RewriterRevisionSpec) -> Iterator[tuple[str, str]]:
    yield "weights", f"{spec.weights.version} {spec.weights.digest[:12]}"
    yield "trained from", spec.parent
    yield "spec", spec.spec_digest[:12]
    yield "reward", spec.reward_revision[:12]
    yield "fusion", spec.fusion_sha256[:12]
    yield "relevance model", spec.relevance_model
    yield from ((f"data {name}", digest[:12]) for name, digest in sorted(spec.data_digests.items()))
    yield "phases", str(len(spec.phases))
    yield "chosen", spec.chosen_because
    if spec.phases:
        yield from ((f"last phase: {name}", f"{value:.6g}") for name, value in sorted(spec.phases[-1].metrics.items()))
    yield "compared with", spec.compared_with
    if spec.gate:
        yield "verdict", spec.gate.verdict
        yield "summary", spec.gate.summary
        for finding in spec.gate.findings:
            verdict, _, rest = finding.partition(" ")
            check, _, numbers = rest.partition(": ")
            yield f"check {check}", f"{verdict}: {numbers}"


def where_the_report_is(world: World, report: str) -> str:
    """A sentence with a command: the volume has the whole report, and serving pods mount it."""
    volume, name = world.spec.volume, world.release.name
    page = report.removesuffix("json") + "html"
    there = f"the whole report is {volume.sub_path}/{report} (and .html) on claim {volume.claim_name}"
    serving = next((stage.incumbent for stage in world.status.stages if stage.incumbent), None)
    if serving is None:
        return there + "; mount the claim in a pod to read it: no pod that serves now mounts it"
    pod = f"-n {world.release.namespace} deploy/{names.serving(name, serving.revision)}"
    return f"{there}: kubectl exec {pod} -- cat {VOLUME_MOUNT}/{page} > report.html"


def row(spec: RewriterRevisionSpec, status: RewriterRevisionStatus) -> tuple[str, ...]:
    """For `history`: revision, verdict, outcome, stages that it serves, whether its weights are there, summary."""
    gate = spec.gate
    return (
        revision_name(spec.revision),
        gate.verdict if gate else "-",
        status.outcome.value if status.outcome else "-",
        ",".join(status.serving) or "-",
        status.weights or "-",
        gate.summary if gate else "",
    )
