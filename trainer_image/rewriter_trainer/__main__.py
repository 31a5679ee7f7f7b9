"""The trainer pod's control server: takes phase orders, one at a time, and tells how they go.

    PUT    /v1/phases/{cycle}/{phase}   PhaseOrder -> WorkReport (202 while it runs; 409 for another body); of pods that
                                        train together: .../{phase}/{pod}, and each is given the same order
    GET    /v1/phases/{cycle}/{phase}   WorkReport
    DELETE /v1/phases/{cycle}/{phase}   stop after a checkpoint
    GET    /v1/state                    TrainerState
    GET    /healthz, /readyz, /metrics  open; ready as long as orders are taken (503 once it stops)

SIGTERM stops the running phase after a checkpoint; the process is gone within STOP_SECONDS.
"""

import logging
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

from rewriter_contract import agent, env, wire
from rewriter_contract.messages import PhaseOrder, TrainerGroup, TrainerState, WorkReport, WorkState
from rewriter_trainer.metrics import render_metrics
from rewriter_trainer.phase import Job
from rewriter_trainer.phase_process import run_phase

STOP_SECONDS: Final = 18.0
"""Time for a checkpoint after SIGTERM; what is not written by then is trained again from the checkpoint before."""

PHASE_PATH: Final = r"/v1/phases/(\d{1,6})/(\d{1,3})(?:/\d{1,2})?"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the pod's environment says."""

    root: Path
    token: str
    port: int
    pod_uid: str
    workers: int
    group: TrainerGroup | None = None
    """The pods that train together, in one of several."""


class Trainer:
    """The calls of the control server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._boot_id = agent.boot_id()
        self._latest: tuple[int, int] | None = None
        self._stopping = threading.Event()
        self.work = agent.WorkTable()

    def routes(self) -> list[agent.Route]:
        """What the server answers."""
        return [
            agent.Route("PUT", PHASE_PATH, self.put_phase),
            agent.Route("GET", PHASE_PATH, lambda match, _: self.work.get(_key(match))),
            agent.Route("DELETE", PHASE_PATH, lambda match, _: self.work.cancel(_key(match))),
            agent.Route("GET", "/v1/state", lambda *_: self.state()),
            agent.Route("GET", "/healthz", lambda *_: {"ok": True}, open=True),
            agent.Route("GET", "/readyz", lambda *_: self.ready(), open=True),
            agent.Route("GET", "/metrics", lambda *_: self.metrics(), open=True),
        ]

    def ready(self) -> agent.Reply:
        """Whether an order would be taken up: from the first answer until the pod is told to stop."""
        ready = not self._stopping.is_set()
        return agent.Reply(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, {"ready": ready})

    def put_phase(self, match: re.Match[str], body: bytes) -> agent.Reply:
        """Start a phase, or answer with the one that was started by the same order."""
        order = wire.loads(PhaseOrder, body)
        cycle, phase = int(match[1]), int(match[2])
        job = Job(root=self._settings.root, cycle=cycle, phase=phase, writer=self._settings.pod_uid)
        work = partial(run_phase, job, order, self._settings.workers, group=self._settings.group)
        report = self.work.put(_key(match), wire.dumps(order), work)
        self._latest = (cycle, phase)
        return agent.Reply(HTTPStatus.ACCEPTED if report.state is WorkState.RUNNING else HTTPStatus.OK, report)

    def state(self) -> TrainerState:
        """What was ordered last, and how far it is; phase 0 before the first order."""
        if self._latest is None:
            return TrainerState(boot_id=self._boot_id, heartbeat_at=time.time())
        report = self._latest_report()
        cycle, phase = self._latest
        return TrainerState(self._boot_id, report.heartbeat_at, cycle, phase, step=report.done, of=report.total)

    def metrics(self) -> agent.Reply:
        """Prometheus text."""
        report = self._latest_report() if self._latest else None
        body = render_metrics(self._latest, report, self.work.active())
        return agent.Reply(HTTPStatus.OK, body, content_type="text/plain; version=0.0.4; charset=utf-8")

    def stop(self, seconds: float) -> bool:
        """Stop all work; whether it ended within `seconds`."""
        self._stopping.set()
        self.work.cancel_all()
        deadline = time.monotonic() + seconds
        while self.work.active() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.work.active()

    def _latest_report(self) -> WorkReport:
        assert self._latest is not None
        return self.work.get(_key_of(*self._latest))


def _key(match: re.Match[str]) -> str:
    return _key_of(int(match[1]), int(match[2]))


def _key_of(cycle: int, phase: int) -> str:
    return f"phase {cycle}/{phase}"


def read_settings() -> Settings:
    """The pod's settings.

    Raises:
        SystemExit: naming a variable that is missing, or cannot be read.
    """
    missing = [name for name in (env.VOLUME_ROOT, env.AGENT_TOKEN, env.POD_UID) if not os.environ.get(name)]
    if missing:
        raise SystemExit(f"set {', '.join(missing)}; the operator does so in the pods that it starts")
    try:
        group = wire.loads(TrainerGroup, os.environ[env.TRAINER_GROUP]) if env.TRAINER_GROUP in os.environ else None
    except wire.WireError as error:
        raise SystemExit(f"{env.TRAINER_GROUP}: {error}") from error
    return Settings(
        root=Path(os.environ[env.VOLUME_ROOT]),
        token=os.environ[env.AGENT_TOKEN],
        port=int(os.environ.get(env.AGENT_PORT, "8080")),
        pod_uid=os.environ[env.POD_UID],
        workers=int(os.environ.get(env.TRAINER_WORKERS, "1")),
        group=group,
    )


def main() -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = read_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    trainer = Trainer(settings)
    server = agent.serve(settings.port, settings.token, trainer.routes())
    log.info("control server answers on port %d", settings.port)
    stop.wait()
    ended = trainer.stop(STOP_SECONDS)
    server.shutdown()
    log.info("stopped" if ended else "stopped before the checkpoint was written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
