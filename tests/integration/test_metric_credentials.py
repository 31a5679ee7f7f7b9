"""Credentials of a metrics service by the rights of the shipped Role, and no more: step by step as they are set up."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from rewriter_operator.api.rollout_metrics import PrometheusQuery
from rewriter_operator.cluster import metric_access
from rewriter_operator.core.metric_calls import MetricCall
from rewriter_operator.core.world import MetricAnswer
from rewriter_operator.reconcile import Reconciler
from tests.integration.conftest import Space
from tests.integration.test_site_faults import as_service_account, play
from tests.operator.certificates import Authority
from tests.operator.test_metric_access import CA, SHOWN_TOKEN, TOKEN
from tests.operator.test_metric_services import sample, service

pytestmark = pytest.mark.integration

LABEL, URLS, CAS = (f"rewriter.dev/metrics-{part}" for part in ("credentials", "urls", "ca"))


async def look(reconciler: Reconciler, call: MetricCall) -> MetricAnswer:
    while not (found := reconciler.metric_services.answers("shop", [call], time.time())):
        await asyncio.sleep(0.02)
    reconciler.metric_services.forget("shop")
    return found["q"]


def test_a_secret_that_is_set_up_step_by_step_is_sent_when_all_of_it_is_said(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_access, "KEPT_SECONDS", 0.0)
    kubeconfig, authority = as_service_account(space, tmp_path), Authority.made(tmp_path)
    host, look_up = f"thanos.{space.name}.svc", socket.getaddrinfo

    def here(name: str, *args: object, **named: object) -> object:
        return look_up("127.0.0.1" if name == host else name, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with service(body=sample("0.5"), tls=authority.server(host)) as (served, asked):
        url = f"https://{host}:{served.split(':')[2].split('/')[0]}/api/v1/query"
        fields = {"serviceName": "thanos", "scheme": "HTTPS", "query": "up", "authorization": SHOWN_TOKEN, **CA}
        call = MetricCall("q", url, 30, 10, query="up", service=PrometheusQuery.model_validate(fields))
        ready = (
            ("create", "configmap", "internal-ca", f"--from-literal=ca.crt={authority.bundle}"),
            ("create", "secret", "generic", "thanos-token", f"--from-literal=token={TOKEN}"),
            ("label", "secret", "thanos-token", f"{LABEL}=true"),
            ("annotate", "secret", "thanos-token", f"{URLS}={url}"),
            ("annotate", "secret", "thanos-token", f"{CAS}=internal-ca"),
        )
        unlabelled = "authorization.bearer: Secret thanos-token, key token: no such Secret has the label"
        said = (
            "caBundle: ConfigMap internal-ca, key ca.crt is not there; create it",
            unlabelled,
            unlabelled,
            f"authorization.bearer: Secret thanos-token, key token may not be sent to {url}; its owner names that",
            "authorization.bearer: Secret thanos-token, key token may not be sent by the CAs of ConfigMap internal-ca",
        )

        async def story(reconciler: Reconciler) -> None:
            for step, words in zip(ready, said, strict=True):
                answer = await look(reconciler, call)
                assert answer.value is None and answer.reason.startswith(words), answer.reason
                await asyncio.to_thread(space.kubectl, *step)
            assert asked == []
            assert (await look(reconciler, call)).value == 0.5
            assert asked[0]["headers"]["Authorization"] == f"Bearer {TOKEN}"
            await reconciler.metric_services.close()

        play(space, story, kubeconfig)
