"""Starts the operator: settings, logs, metrics, the lease, and kopf's watches in a loop that outlives failures."""

import asyncio
import logging
import os
import random
import signal
import sys

import kopf
from prometheus_client import start_http_server

from rewriter_operator import handlers, tls_buffers
from rewriter_operator.cluster.kube import connect
from rewriter_operator.first_process import continue_as_child
from rewriter_operator.leading import Leading
from rewriter_operator.log import configure_logging
from rewriter_operator.settings import Settings, SettingsInvalid, from_environment
from rewriter_operator.watch_tasks import NotOfWatches

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Watch, and lead while the lease is ours, until told to stop."""
    stop = asyncio.Event()
    hear_signals(stop)
    ours = NotOfWatches()
    leading = Leading(settings)
    works = asyncio.create_task(leading.run(), name="leading")
    works.add_done_callback(lambda _: stop.set())  # whatever ended it: without it there is nothing to watch for
    watching = asyncio.create_task(watch(settings, leading, stop, ours), name="watching")
    await stop.wait()
    works.cancel()  # gives the lease back at once, while the watches are still being closed
    await asyncio.wait([works, watching])
    if not works.cancelled():
        await works


def hear_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stop`. kopf takes both for itself whenever it starts, so they are taken back then."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def watch(settings: Settings, leading: Leading, stop: asyncio.Event, ours: NotOfWatches) -> None:
    """Watch until told to stop. A watch error that kopf takes for fatal restarts the watching, not the pod."""
    ours.watch()
    while not stop.is_set():
        registry = kopf.OperatorRegistry()
        try:
            handlers.register(registry, leading, await has_istio(settings))
            tasks = await kopf.spawn_tasks(
                registry=registry,
                namespaces=[settings.namespace],
                standalone=True,
                stop_flag=stop,
                liveness_endpoint=f"http://0.0.0.0:{settings.probe_port}/healthz",
            )
            hear_signals(stop)
            await kopf.run_tasks(tasks, ignored=ours)
            stop.set()  # it only returns when it was told to stop, if by a signal that came before ours were heard
        except Exception:  # the boundary of the process: watching starts again, state is all in the cluster
            log.exception("watching ended; it starts again")
            await asyncio.sleep(random.uniform(1, 3))


async def has_istio(settings: Settings) -> bool:
    """Whether VirtualServices can be watched: asked whenever the watches begin."""
    kube = await connect(settings.namespace)
    try:
        return await kube.can_list("VirtualService")
    finally:
        await kube.close()


def main() -> None:
    """Entry point."""
    try:
        settings = from_environment()
    except SettingsInvalid as error:
        sys.exit(f"rewriter-operator: {error}")
    configure_logging(settings.log_format)
    if os.getpid() == 1:
        continue_as_child()
    tls_buffers.shrink()
    start_http_server(settings.metrics_port)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
