"""Plays one plan: a namespace, an operator behind a proxy, stand-ins, a workload, a fault; and looks at the end."""

import asyncio
import json
import os
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import yaml

from rewriter_contract import agent
from tests.faults.clock import Clock
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import WITH_ISTIO, ClusterView
from tests.faults.end_state import Counts, end_state
from tests.faults.gateway import Gateway
from tests.faults.kubelet import Kubelet
from tests.faults.monitor import Monitor
from tests.faults.operator_process import OperatorProcess, environment
from tests.faults.plans import NO_END, WITHHOLDING, Fault, Plan, Played
from tests.faults.proxy import FaultProxy, Injector
from tests.faults.settled import settled
from tests.faults.silence import Silence
from tests.faults.stories import STORIES
from tests.faults.unsettled import Unsettled
from tests.faults.weight_files import fill_volume
from tests.faults.workloads import RELEASE, WORKLOADS, WORLD_SECONDS, Teller, TooLate, Workload

SPEED = 20.0
LIMIT_SECONDS = 1200.0
"""Of the operator's clock, for one chapter of a workload: undisturbed, it takes a tenth of this."""
QUIET_SECONDS = 12.0
"""Of the operator's clock: this long without a write is a steady state."""
LONG_QUIET_SECONDS = 70.0
"""The same where events were withheld: the operator looks at everything once a minute."""
RESTART_SECONDS = 1.0
"""Of the operator's clock."""


async def play(kubeconfig: Path, plan: Plan) -> Played:
    """One run, from an empty namespace to its end."""
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    clock = Clock.create(directory / "clock", SPEED)
    _live_by(clock)
    async with AsyncExitStack() as stack:
        client = ClusterClient.of(kubeconfig)
        stack.push_async_callback(client.close)
        stage = await _Stage.set_up(stack, client, plan, clock, directory)
        played = await stage.perform()
    played.seconds = time.monotonic() - started
    played.directory = str(directory)
    return played


def _live_by(clock: Clock) -> None:
    """The stand-ins' heartbeats, and the header Date by which the operator corrects a pod's clock that is wrong."""
    agent.time = clock  # type: ignore[attr-defined, assignment]
    agent._Handler.date_time_string = (  # type: ignore[method-assign]
        lambda handler, timestamp=None: formatdate(timestamp or clock.time(), usegmt=True)
    )


@dataclass
class _Stage:
    """Everything that takes part."""

    plan: Plan
    workload: Workload
    clock: Clock
    client: ClusterClient
    view: ClusterView
    kubelet: Kubelet
    gateway: Gateway
    monitor: Monitor
    counts: Counts
    injector: Injector
    proxy: FaultProxy
    unsettled: Unsettled
    operator: OperatorProcess
    volume: Path

    @classmethod
    async def set_up(
        cls, stack: AsyncExitStack, client: ClusterClient, plan: Plan, clock: Clock, directory: Path
    ) -> "_Stage":
        namespace = f"f-{os.getpid()}-{time.monotonic_ns() % 10**9}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client.create("Namespace", "", body)
        stack.push_async_callback(_clear, client, namespace)
        volume = directory / "volume"
        workload = (WORKLOADS | STORIES)[plan.workload]
        for name in workload.releases:
            fill_volume(volume / name)
        view = ClusterView(client, namespace, WITH_ISTIO)
        injector = Injector(
            plan,
            clock,
            kill=lambda: operator.kill(),
            terminate=lambda: operator.kill(signal.SIGTERM),
            delete_release=lambda: client.delete("RewriterRelease", namespace, RELEASE),
        )
        silence = Silence(clock, workload.poison.hangs)
        block = 16 + os.getpid() % 200
        kubelet = Kubelet(view, volume, workload.behaviour(), block, injector.at_orders, silence)
        gateway, monitor, counts = Gateway(view, kubelet, clock), Monitor(), Counts()
        view.listeners += [monitor.see, counts.see]
        for part in (kubelet, gateway, view):
            part.start()
            stack.push_async_callback(part.stop)
        proxy = FaultProxy(client, injector, clock, workload.poison)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        unsettled = Unsettled(view, proxy.newest)
        operator = OperatorProcess(
            _environment(namespace, proxy.port, directory, workload.workers), directory / "operator.log", clock
        )
        return cls(
            plan,
            workload,
            clock,
            client,
            view,
            kubelet,
            gateway,
            monitor,
            counts,
            injector,
            proxy,
            unsettled,
            operator,
            volume,
        )

    async def perform(self) -> Played:
        """Start the operator, keep it alive, tell the story, look at the end."""
        played = Played(self.plan)
        teller = Teller(
            self.client,
            self.view,
            self.clock,
            LIMIT_SECONDS,
            self.injector.begin,
            self.kubelet,
            self.operator.kill,
            self.workload.poison,
        )
        ticking = asyncio.create_task(self.clock.run(self._everybody_waits))
        await self._begin_life()
        keeper = asyncio.create_task(self._keep_alive())
        try:
            await self.workload.tell(teller)
            if not self.workload.poison:
                await self._quiet(played)
        except TooLate as error:
            played.violations.append(f"{NO_END}: {error}")
            self.operator.kill(signal.SIGUSR1)  # it writes beside its log where each of its threads is
            leases = await self.client.call("GET", self.client.path("Lease", self.view.namespace))
            (self.operator.log.parent / "leases.json").write_text(json.dumps(leases["items"], indent=1))
            await asyncio.sleep(1.0)
        finally:
            for task in (keeper, ticking):
                task.cancel()
            await asyncio.gather(keeper, ticking, return_exceptions=True)
            self.operator.kill()
            await self.operator.reap()
        played.writes = self.injector.own_writes()
        (self.operator.log.parent / "writes").write_text(self.injector.told())
        played.struck = len(self.injector.struck) or int(self.injector.struck_at is not None)
        played.missed = tuple(write for write in self.plan.writes if write not in self.injector.struck)
        played.lives, played.notes = self.operator.lives, teller.notes
        played.end = end_state(self.view, self.volume)
        played.counts = self.counts.table()
        played.violations += self._judged()
        return played

    async def _begin_life(self) -> None:
        self.clock.begin_life()
        await self.operator.start()

    def _everybody_waits(self) -> bool:
        """No call is under way, and neither a stand-in nor the control plane has anything to do."""
        busy = self.proxy.under_way or self.kubelet.busy or self.gateway.busy
        return not (busy or self.unsettled.remains())

    async def _keep_alive(self) -> None:
        """As a kubelet does: what ended is started again."""
        while True:
            await asyncio.sleep(0.05)
            if self.operator.is_late():
                self.kubelet.failures.append("the operator did not end within 30 s of SIGTERM")
                self.operator.kill()
            if not self.operator.is_alive():
                await self.operator.reap()
                self.clock.end_life()
                await self.clock.sleep(RESTART_SECONDS)
                await self._begin_life()

    async def _quiet(self, played: Played) -> None:
        """Wait until nothing is written any more; then look whether it stays so (I10), and whether all is seen."""
        end, world_end = self.clock.time() + 40 * QUIET_SECONDS, time.monotonic() + WORLD_SECONDS
        quiet = LONG_QUIET_SECONDS if self.plan.fault in WITHHOLDING else QUIET_SECONDS
        count, since = -1, 0.0
        while self.clock.time() < end and time.monotonic() < world_end:
            now = sum(effective for _, effective in self.injector.writes)
            if now != count:
                count, since = now, self.clock.time()
            elif self.clock.time() - since > quiet and not self.unsettled.remains() and await self.view.is_current():
                return
            await asyncio.sleep(0.05)
        last = [str(write) for write, effective in self.injector.writes if effective][-3:]
        rest = list(self.unsettled.things())
        played.violations.append(f"I10: no rest long after the story's end; written last: {last}; unsettled: {rest}")

    def _judged(self) -> list[str]:
        log = self.operator.log.read_text(errors="replace")
        found = [
            *self.monitor.violations(),
            *self.monitor.leaks([log]),
            *_errors(log, self.plan.fault),
            *self.kubelet.failures,
        ]
        if not self.workload.gone:  # whoever deletes a release wants no answers any more
            found += [f"I1: {number} requests of {stage} found no pod" for stage, number in self.gateway.failed.items()]
        at_rest = [item for item in self.view.of("RewriterRelease") if not self.workload.poison.holds_up(item)]
        return found + [line for item in at_rest for line in settled(item)]


async def _clear(client: ClusterClient, namespace: str) -> None:
    """Delete the namespace, and its pods without the word of a kubelet that is gone: nothing must be left to retry."""
    await client.delete("Namespace", "", namespace)
    for pod in (await client.call("GET", client.path("Pod", namespace)))["items"]:
        await client.delete("Pod", namespace, pod["metadata"]["name"], gracePeriodSeconds=0)


def _errors(log: str, fault: Fault | None) -> list[str]:
    """Lines that no operator should write; kopf may tell of a watch that the plan broke, and of nothing else."""
    told_by_kopf = fault in (Fault.WATCHES_BROKEN, Fault.WATCHES_EXPIRED)
    found = []
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            found.append(f"log: {line[:200]}")
            continue
        if told_by_kopf and entry["logger"].startswith("kopf."):
            continue
        if "traceback" in entry and "watching ended" not in entry["message"]:
            found.append(f"log: {entry['message'][:200]}: {entry['traceback'].splitlines()[-1][:300]}")
    return list(dict.fromkeys(found))[:5]


def _environment(namespace: str, port: int, directory: Path, workers: int) -> dict[str, str]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "operator", "user": {"token": "the-proxy-has-its-own"}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
        "current-context": "proxy",
    }
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return {**environment(kubeconfig, namespace), "WORKERS": str(workers)}
