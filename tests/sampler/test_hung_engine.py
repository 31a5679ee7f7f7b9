"""An engine that takes requests and never answers: each ends at the deadline, as an error that counts in a rollout."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from rewriter_contract.messages import STAGE_HEADER, ServingConfig, WeightsRef
from rewriter_operator.core.limits import crossed_limit
from rewriter_operator.core.traffic import Look, look
from rewriter_sampler.rewrite_api import RewriteApi
from rewriter_sampler.serve import ServedRevision, Serves
from tests.builders import make_spec, stage_status, stats

ASKED = 30


class HungThread:
    """Takes what it is given."""

    def draw(self, _: Any) -> "Future[Any]":
        return Future()


def hung() -> ServedRevision:
    """r0002, whose engine was ready and hangs since."""
    served = ServedRevision.__new__(ServedRevision)
    wanted = WeightsRef("r0002-p02", "0" * 64)
    serving = ServingConfig("r0002", wanted, max_tokens=8, max_rewrites=1, request_timeout_seconds=0.2)
    prompts = SimpleNamespace(prompt=lambda query: query, config=SimpleNamespace(stop=()))
    served._serves = Serves(serving, prompts)  # type: ignore[arg-type]
    served._revision, served._lives = "r0002", 0
    served._thread = HungThread()  # type: ignore[assignment]
    served._in_pod = 0
    return served


async def asked() -> tuple[list[int], dict[str, Any]]:
    """Statuses of many requests at once, and what is counted of them."""
    api = RewriteApi(hung(), "token", "boot")
    async with TestClient(TestServer(api.application())) as consumer:

        async def one() -> int:
            body = {"query": "red shoes", "stage": "finerank", "n": 1}
            async with consumer.post("/v1/rewrite", json=body, headers={STAGE_HEADER: "finerank"}) as answer:
                return answer.status

        statuses = await asyncio.gather(*(one() for _ in range(ASKED)))
    return list(statuses), api._counters.by_stage()


def test_requests_to_a_hung_engine_end_at_the_deadline_and_cross_the_candidates_limit(tmp_path: Path) -> None:
    statuses, told = asyncio.run(asyncio.wait_for(asked(), 10))
    assert statuses == [504] * ASKED
    counters = told["finerank"]
    assert (counters.requests, counters.errors, counters.timeouts) == (ASKED, ASKED, ASKED)
    seen: Look = look([stats("r0002", finerank=counters)], stage_status(share=10), "r0002")
    limits = make_spec(**{"rollout.limits": {"minRequests": 20}}).rollout.limits
    assert (crossed_limit(seen, limits) or "").startswith(f"error rate 1.000 > 0.01 ({ASKED} of {ASKED} requests)")
