"""Which pods are asked in which state: those that change revisions in every one, whatever else the state is about."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import LoadState, ServingStats
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Phase, PhaseStep
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.observe import Observation, asked
from rewriter_operator.core.children import orders
from rewriter_operator.core.pool import next_change
from rewriter_operator.core.states import CANDIDATE_STATES, CYCLE_STATES
from rewriter_operator.core.world import Pod, Role, World
from tests.builders import (
    NOW,
    make_cycle,
    make_route,
    make_spec,
    make_status,
    make_world,
    serving,
    stage_status,
    weights,
)

SPEC = make_spec(**{"serving.replicas": 3, "serving.capacity": {"mode": "InPlace"}})


class Answering(Agents):
    """Serving pods answer by their addresses, nobody else does."""

    def __init__(self, stats: Mapping[str, ServingStats]) -> None:
        self.stats = stats

    async def get(self, kind: type[Any], ip: str, token: str, path: str, seconds: float = 5.0) -> Any:
        return self.stats[ip] if path == "/v1/stats" else None


def in_state(state: State) -> World:
    """r0001 serves from one pod of three; another one was told to, and has loaded it."""
    phase = Phase(number=1, step=PhaseStep.TRAINING, weights=weights(), started_at=NOW, since=NOW)
    candidate = serving(2) if state in CANDIDATE_STATES else None
    cycle = make_cycle(SPEC, candidate=candidate, phase=phase) if state in CYCLE_STATES else None
    status = make_status(SPEC, state=state, cycle=cycle, stages=[stage_status(incumbent=serving(1))])
    order = wire.dumps(orders(make_world(SPEC, status))[1])
    there = Pod("Pod", "a", "uid-a", Role.SERVING, 1, 0, "", phase="Running", ready=True, ip="10.0.0.1", pool=True)
    there = replace(there, order=order, assigned_at=1.0)
    coming = replace(there, name="b", uid="uid-b", role=Role.POOL, cycle=0, ip="10.0.0.2", assigned_at=0)
    return make_world(SPEC, status, children=(there, coming))


def observed(world: World) -> World:
    ready = ServingStats("boot", "r0001", LoadState.READY, orders(world)[1].serving.weights, {})
    answering = Answering({"10.0.0.1": ready, "10.0.0.2": ready})
    return asyncio.run(asked(Observation(world, token="t"), answering, NOW)).world


@pytest.mark.parametrize("state", State)
def test_a_pod_that_has_loaded_gets_its_label_in_every_state(state: State) -> None:
    change = next_change(observed(in_state(state)))
    assert change is not None and (change.pod, change.label) == ("b", 1)


@pytest.mark.parametrize("state", [State.IDLE, State.TRAINING, State.GATING])
def test_what_drains_is_asked_also_while_the_next_cycle_works(state: State) -> None:
    """Where nobody says that a route is in force, the counters of pods are all that tells."""
    world = in_state(state)
    status = world.status.model_copy(update={"draining_since": NOW - 60})
    silent = make_route(kind="VirtualService", accepted=None, tells_acceptance=False)
    alone = replace(world, release=replace(world.release, status=status), children=(world.children[0], silent))
    assert set(observed(alone).stats) == {"a"}


def test_a_pod_that_was_evicted_is_not_asked_because_its_address_may_be_anothers() -> None:
    world = in_state(State.ROLLING_OUT)
    there, coming = (child for child in world.children if isinstance(child, Pod))
    evicted = replace(there, name="c", phase="Failed", ready=False, ip=coming.ip)
    assert set(observed(replace(world, children=(there, coming, evicted))).stats) == {"a", "b"}


@pytest.mark.parametrize("state", [State.IDLE, State.PREPARING, State.TRAINING, State.GATING])
def test_pods_that_serve_are_asked_nothing_while_nothing_hangs_on_it(state: State) -> None:
    world = in_state(state)
    assert observed(replace(world, children=world.children[:1])).stats == {}
