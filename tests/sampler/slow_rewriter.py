"""A serving process whose one request takes longer than what every request gets at the end: SLOW_SECONDS, as told."""

import asyncio
import logging
import os

from rewriter_contract.agent import boot_id
from rewriter_sampler import serving_process
from rewriter_sampler.passthrough import Passthrough
from rewriter_sampler.rewrite_api import RewriteApi, Rewrites
from rewriter_sampler.settings import pod_settings

SLOW_SECONDS = 4.0
serving_process.DRAIN_SECONDS = 0.5
serving_process.FINISH_SECONDS = 0.5


class Slow(Passthrough):
    """Takes its time."""

    async def rewrite(self, query: str, n: int) -> Rewrites:
        await asyncio.sleep(SLOW_SECONDS)
        return await super().rewrite(query, n)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    settings = pod_settings(os.environ)
    api = RewriteApi(Slow(), settings.token, boot_id())
    asyncio.run(serving_process.run_until_stopped(api, settings.port, request_seconds=2 * SLOW_SECONDS))
