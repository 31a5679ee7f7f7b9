"""Runs a RewriteApi until SIGTERM and ends it without losing a request. For serve and passthrough.

On SIGTERM readiness is withdrawn first, while everything is still answered: the gateway goes on sending until the
change of endpoints has reached it. Only then the listener closes, and what is in flight is finished.
"""

import asyncio
import logging
import signal

from aiohttp import web

from rewriter_sampler.rewrite_api import RewriteApi

DRAIN_SECONDS = 5.0
"""How long the pod keeps answering after it turned unready; longer than endpoints need to reach the gateway."""

FINISH_SECONDS = 10.0
"""Requests in flight get at least so long after that, and as long as they may take; with DRAIN_SECONDS well inside the
pod's grace period, which the operator makes 15 s longer than the timeout of a request."""

KEEP_ALIVE_SECONDS = 2 * 3600.0
"""Longer than gateways keep idle connections (Envoy: one hour). A connection that the pod closes first can be picked
for a request at that very moment, which then fails."""

log = logging.getLogger(__name__)


async def run_until_stopped(api: RewriteApi, port: int, request_seconds: float = 0.0) -> None:
    """Answer on `port` until SIGTERM or SIGINT, then drain; a request may take `request_seconds`."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(
        api.application(),
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=max(FINISH_SECONDS, request_seconds),
        keepalive_timeout=KEEP_ALIVE_SECONDS,
    )
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port, backlog=1024).start()
    log.info("answering on port %d", port)
    await stopped.wait()
    log.info("draining for %g s", DRAIN_SECONDS)
    api.draining = True
    await asyncio.sleep(DRAIN_SECONDS)
    await runner.cleanup()
