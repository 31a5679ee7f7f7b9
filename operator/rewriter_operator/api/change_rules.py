"""CEL rules of `spec.onChange: Reject`: a change that would end the running cycle is refused when it is written.

They stand at the root of the schema, where a rule sees spec and stored status side by side: the API server judges the
very object that it is about to replace, so no cycle can begin in between without its next status write being refused.
"""

from typing import Any, Final

from rewriter_operator.api.model import rules
from rewriter_operator.api.release import Gate
from rewriter_operator.api.states import State
from rewriter_operator.api.value_rules import sentence

AFTER_THE_VERDICT: Final = ("onInconclusive", "holdTimeout", "extension")
"""Of the gate. They say what follows from a verdict, not what it is: a person who needs another day changes no cycle.
Extend is no such thing: it decides which queries are asked and at which alpha they are judged."""

_WORK: Final = (State.TRAINING, State.GATING, State.HOLDING, State.DEPLOYING, State.ROLLING_OUT, State.BAKING)
"""Not while a cycle is prepared: what it waits for may be what the change mends."""
_ROLLOUT: Final = (State.ROLLING_OUT, State.BAKING)

_REMEDY: Final = (
    "spec.onChange is Reject: wait for the end of the cycle or abort it (kubectl rewriter abort), "
    "or set onChange to Queue or Supersede with the change"
)


def _refused(part: str, states: tuple[State, ...], is_unchanged: str) -> dict[str, str]:
    named = ", ".join(f"'{state}'" for state in states)
    runs = f"has(oldSelf.status) && has(oldSelf.status.cycle) && oldSelf.status.state in [{named}]"
    return sentence(
        f"self.spec.onChange != 'Reject' || !({runs}) || ({is_unchanged})",
        _REMEDY,
        shown="oldSelf.status.cycle.number, oldSelf.status.state",
        got="a change while cycle %d is %s",
        path=f".spec.{part}",
    )


def _same(path: str) -> str:
    return f"self.{path} == oldSelf.{path}"


def _same_gate() -> str:
    """But for what follows from a verdict; with Extend on either side, all of it."""
    fields = [field.alias or name for name, field in Gate.model_fields.items()]
    judged = " && ".join(_same(f"spec.gate.{name}") for name in fields if name not in AFTER_THE_VERDICT)
    extends = " || ".join(f"{side}.spec.gate.onInconclusive == 'Extend'" for side in ("self", "oldSelf"))
    return f"{_same('spec.gate')} || (!({extends}) && {judged})"


CHANGE_RULES: Final[dict[str, Any]] = rules(
    *(_refused(part, _WORK, _same(f"spec.{part}")) for part in ("model", "data", "reward", "training")),
    _refused("gate", _WORK, _same_gate()),
    _refused("rollout.stages", _ROLLOUT, _same("spec.rollout.stages")),
)
