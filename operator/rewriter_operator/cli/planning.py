"""`kubectl rewriter plan`: what a cycle will do and what each step can tell. Pure: values in, branches out."""

from collections.abc import Iterator

from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.status import Cycle, CyclePlan, GatePlan, RewriterReleaseStatus, StepPlan, TrainingPlan
from rewriter_operator.cli.tree import Branch
from rewriter_operator.core.cycle_plan import planned


def plan_of(spec: RewriterReleaseSpec, status: RewriterReleaseStatus) -> CyclePlan:
    """Of the cycle that runs; else of the next one, as things are now."""
    if status.plan is not None:
        return status.plan
    following = Cycle(
        number=status.last_cycle_number + 1, trigger="Requested", started_at=0, spec_digest="0" * 64, since=0
    )
    return planned(spec, status.cycle if status.cycle and status.cycle.number else following, status.measured)


def plan_branch(name: str, plan: CyclePlan) -> Branch:
    """The whole plan."""
    stages = [
        Branch(
            stage.name + (f", after {', '.join(stage.depends_on)}" if stage.depends_on else ""),
            below=tuple(
                Branch(text) for text in (*map(_step, stage.steps), *(f"metric {told}" for told in stage.metrics))
            ),
        )
        for stage in plan.stages
    ]
    times = (Branch(_training(plan.training)), Branch(_gate(plan.gate)), *stages, *_hours(plan))
    return Branch(f"{name}  plan of cycle {plan.cycle}", below=times)


def _training(plan: TrainingPlan) -> str:
    text = f"training: {plan.phases} phases of {plan.queries} queries, {plan.samples} samples each; "
    if plan.phase_seconds is None:
        return f"{text}time not known yet, at most {plan.phase_deadline} a phase"
    total = plan.phase_seconds * plan.phases
    known = f"about {plan.phase_seconds:.0f} s a phase as measured before, {total:.0f} s in all"
    return f"{text}{known}, at most {plan.phase_deadline} a phase"


def _gate(plan: GatePlan) -> str:
    if plan.queries is None:
        asked = f"as many queries as spec.data.gate holds, at least {plan.minimum_queries}"
    else:
        asked = f"{plan.queries} queries" + (
            f", with extensions up to {plan.most_queries}" if plan.most_queries else ""
        )
        asked += (
            f" (fewer than the {plan.minimum_queries} that it needs)" if plan.queries < plan.minimum_queries else ""
        )
    found = "the gain that it finds is not known before a candidate was judged and the queries are counted"
    if plan.reward_gain is not None:
        found = (
            f"finds a reward gain of {plan.reward_gain:+.4f} (deviation {plan.reward_deviation:.4f} measured before)"
        )
    return f"gate: {asked}, alpha {plan.alpha:g}; {found}"


def _step(step: StepPlan) -> str:
    match step.does:
        case "SetShare":
            below = "no lower one" if step.share_below is None else f"{step.share_below:g} % and less"
            above = "no higher one" if step.share_above is None else f"{step.share_above:g} % and more"
            told = below if step.share == 100 else f"{below}, {above}"
            waits = "; waits for a window" if step.waits_for_window else ""
            verified = f"verified on about {step.requests} requests within {step.deadline}"
            return f"set {step.share} %: {_pods(step)}{verified}; tells from it {told}{waits}"
        case "Pause":
            return f"pause {step.seconds} s at {step.share} %"
        case "Approval":
            return f"pause at {step.share} % until a person approves"
        case "Shadow":
            return f"shadow: {_pods(step)}{', '.join(_shadow(step))}"
    return f"analysis at {step.share} %: {', '.join(_analysis(step))}"


def _pods(step: StepPlan) -> str:
    return f"with {step.pods} pod{'s' * (step.pods > 1)} ready, " if step.pods else ""


def _analysis(step: StepPlan) -> Iterator[str]:
    yield f"{step.requests} requests of the candidate within {step.deadline}"
    if step.stage_requests and step.deadline:
        yield f"about {step.stage_requests} of the stage, {step.stage_requests / seconds(step.deadline):.2g} a second"
    yield "no error rate crosses the limit" if step.error_rate is None else f"finds errors of {step.error_rate:.2%}"
    if step.error_rate_increase is not None:
        yield f"of {step.error_rate_increase:.2%} beside incumbents without errors"


def _shadow(step: StepPlan) -> Iterator[str]:
    yield f"{step.mirrored} % of the requests mirrored for {step.seconds} s, no answer of them used"
    yield f"at least {step.requests} of them, about {step.stage_requests} of the stage"
    yield (
        "no error rate crosses the limit on so many"
        if step.error_rate is None
        else (f"finds errors of {step.error_rate:.2%} on so many")
    )
    yield f"what is in doubt then has {step.deadline} more"


def _hours(plan: CyclePlan) -> Iterator[Branch]:
    yield Branch(f"bake: {plan.bake} at full share")
    if plan.windows:
        yield Branch(f"windows: {'; '.join(plan.windows)}")
    if plan.freezes:
        yield Branch(f"freezes: {'; '.join(plan.freezes)}")
