"""Stories of their own, which no plan strikes at: what they are about goes wrong in the story itself.

I7: a candidate with a share is taken back while nothing but the API server and the route is there. I9: releases with
which something is wrong all the time stand beside others, which come to the same end in the same time as without them.
"""

import asyncio
import shutil
from dataclasses import replace
from functools import partial
from typing import Any

from tests.faults.monitor import route_weights
from tests.faults.pod_programs import Behaviour
from tests.faults.poison import Poison
from tests.faults.workloads import ANALYSED, HELD, Teller, Workload, stages

METRIC = {
    "name": "ctr",
    "prometheus": {"serviceName": "prometheus", "query": 'ctr{revision="{{candidate}}"}'},
    "minimum": 0.9,
    "interval": "5s",
}
"""Of a service that nobody ever installed."""

PAUSED: tuple[dict[str, Any], ...] = ({"setShare": 20}, {"pause": {"duration": "1m"}}, {"setShare": 100})
REST_SECONDS = 45.0
"""Of the operator's clock: what served before is drained and gone."""
HEALTHY = ("shop", "store")
WORKERS = 16
"""As installed: fewer of them than poisoned releases would all be busy with those."""
POISON = Poison(hanging="hangs", erring="errs", unreadable="odd")


async def _dark(teller: Teller) -> None:
    """Only the API server and the gateway are left: no pod answers, the volume and its claim are gone."""
    silence = teller.kubelet.silence
    assert silence is not None
    silence.hangs = lambda pod: True
    await teller.kubelet.fall_silent()
    await asyncio.to_thread(shutil.rmtree, teller.kubelet.volume)
    await teller.client.delete("PersistentVolumeClaim", teller.namespace, "rewriter")


async def _until_taken_back(teller: Teller) -> None:
    """Until no route gives the candidate anything; notes how long it took."""
    began = teller.clock.time()
    await teller.until("the candidate has no share", lambda: not _candidates_share(teller))
    teller.notes["taken back after"] = teller.clock.time() - began


def _candidates_share(teller: Teller) -> int:
    weights = [of for route in teller.view.of("HTTPRoute") for of in route_weights(route).values()]
    return sum(of.get(f"{teller.name}-r0001", 0) for of in weights)


async def _held(teller: Teller, **changes: Any) -> None:
    teller.begin()
    await teller.create(**{"rollout.stages": stages(HELD), "rollout.metrics": [METRIC], **changes})
    await teller.until("the candidate is held at its first share", teller.holds)
    assert _candidates_share(teller) == 20


async def _aborted_in_the_dark(teller: Teller) -> None:
    await _held(teller)
    await _dark(teller)
    await teller.change({"metadata": {"annotations": {"rewriter.dev/abort": "1"}}})
    await _until_taken_back(teller)
    await teller.until("cycle 1 is aborted", lambda: teller.has_ended(1, "Aborted"))


async def _left_in_the_dark(teller: Teller) -> None:
    """Nobody aborts, and the operator that comes up has nothing to remember and nobody to ask."""
    changes = {"rollout.stages": stages(PAUSED), "rollout.verification": {"minRequests": 30, "timeout": "2m"}}
    await _held(teller, **changes)
    await _dark(teller)
    teller.kill()
    await _until_taken_back(teller)
    await teller.until("cycle 1 is rolled back", lambda: teller.has_ended(1, "RolledBack"))


async def _one_sampler_cut_off(teller: Teller) -> None:
    """Its shard fails whenever it is tried, in both phases."""
    teller.begin()
    await teller.create(**{"rollout.stages": stages(ANALYSED), "training.samplers.replicas": 2})
    for phase in (1, 2):
        await teller.until(f"the shard is taken over in phase {phase}", partial(_is_taken_over, teller, phase))
        teller.notes[f"taken over in phase {phase}"] = teller.clock.time()
    await teller.until("cycle 1 is promoted", lambda: teller.has_ended(1, "Promoted"))


def _is_taken_over(teller: Teller, phase: int) -> bool:
    running = (teller.status().get("cycle") or {}).get("phase") or {}
    taken = [(item["shard"], item["sampler"]) for item in running.get("takeovers", [])]
    return running.get("number") == phase and taken == [(1, 0)]


async def _side_by_side(teller: Teller) -> None:
    """The healthy ones, each to its promotion; the others exist before them."""
    await teller.create_inputs()
    teller.begin()
    for name in filter(None, (teller.poison.hanging, teller.poison.erring, teller.poison.unreadable)):
        await replace(teller, name=name).create_release()
    began = teller.clock.waited
    for name in HEALTHY:
        await replace(teller, name=name).create_release(**{"rollout.stages": stages(ANALYSED)})
    await asyncio.gather(*(_promoted(replace(teller, name=name), began) for name in HEALTHY))
    await teller.clock.sleep(REST_SECONDS)  # others go on for ever: nobody waits for them


async def _promoted(teller: Teller, began: float) -> None:
    await teller.until(f"{teller.name}: cycle 1 is promoted", lambda: teller.has_ended(1, "Promoted"))
    teller.notes[teller.name] = teller.clock.waited - began


STORIES = {
    story.name: story
    for story in (
        Workload("aborted-in-the-dark", _aborted_in_the_dark),
        Workload("left-in-the-dark", _left_in_the_dark),
        Workload("one-sampler-cut-off", _one_sampler_cut_off, lambda: Behaviour(unscored_shard=1)),
        Workload("among-themselves", _side_by_side, releases=HEALTHY, workers=WORKERS),
        Workload(
            "beside-poison", _side_by_side, releases=(*HEALTHY, "hangs", "errs", "odd"), poison=POISON, workers=WORKERS
        ),
    )
}
