"""What the trainer is asked to learn, as the spec says it."""

from rewriter_contract import wire
from rewriter_contract.messages import PhaseOrder
from rewriter_operator.api.status import Phase, PhaseStep
from rewriter_operator.core.training import phase_order
from tests.builders import NOW, make_cycle, make_spec, make_status, make_world, weights


def order(**changes: object) -> PhaseOrder:
    spec = make_spec(**changes)
    phase = Phase(number=1, step=PhaseStep.TRAINING, weights=weights(), started_at=NOW, since=NOW)
    return phase_order(make_world(spec, make_status(spec, cycle=make_cycle(spec))), phase)


def test_the_optimizer_is_the_specs() -> None:
    optimizer = order(**{"training.optimizer": {"zeroStage": 3, "activationCheckpointing": True}}).optimizer
    assert (optimizer.zero_stage, optimizer.activation_checkpointing) == (3, True)


def test_without_activation_checkpointing_the_order_is_as_it_was_before_the_field() -> None:
    for written in ({}, {"training.optimizer": {"activationCheckpointing": False}}):
        assert "activationCheckpointing" not in wire.dumps(order(**written))
