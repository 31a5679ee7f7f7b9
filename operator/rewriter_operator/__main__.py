"""Starts the operator: settings, logs, metrics, then kopf's watches in a loop that outlives their failures."""

import asyncio
import logging
import random
import signal
import sys

import kopf
from prometheus_client import start_http_server

from rewriter_operator import handlers
from rewriter_operator.log import configure_logging
from rewriter_operator.settings import Settings, SettingsInvalid, from_environment

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Watch until told to stop. A watch error that kopf takes for fatal restarts the watching, not the pod."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        registry = kopf.OperatorRegistry()
        handlers.register(registry, settings)
        try:
            await kopf.operator(
                registry=registry,
                namespaces=[settings.namespace],
                standalone=True,
                stop_flag=stop,
                liveness_endpoint=f"http://0.0.0.0:{settings.probe_port}/healthz",
            )
        except Exception:  # the boundary of the process: watching starts again, state is all in the cluster
            log.exception("watching ended; it starts again")
            await asyncio.sleep(random.uniform(1, 3))


def main() -> None:
    """Entry point."""
    try:
        settings = from_environment()
    except SettingsInvalid as error:
        sys.exit(f"rewriter-operator: {error}")
    configure_logging(settings.log_format)
    start_http_server(settings.metrics_port)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
