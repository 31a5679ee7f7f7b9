"""The harness's own way to the API server: never through the proxy, so that no fault touches what judges."""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

PATHS = {
    "Node": "/api/v1/nodes",
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "RewriterRelease": "/apis/rewriter.dev/v1alpha1/namespaces/{}/rewriterreleases",
    "RewriterRevision": "/apis/rewriter.dev/v1alpha1/namespaces/{}/rewriterrevisions",
    "Rollout": "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts",
    "Application": "/apis/argoproj.io/v1alpha1/namespaces/{}/applications",
    "VirtualService": "/apis/networking.istio.io/v1alpha3/namespaces/{}/virtualservices",
}

TRIES = 6
"""Of a call that nobody answered, or that a busy API server put off: the harness is not what is under test."""
PUT_OFF = (429, 500, 503, 504)

CLOSING_SECONDS = 1.0
"""aiohttp ends connections with TLS a moment after their session; a loop that ends sooner leaves them open."""


class Refused(Exception):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


@dataclass
class ClusterClient:
    """An administrator's session."""

    server: str
    session: aiohttp.ClientSession

    @classmethod
    def of(cls, kubeconfig: Path) -> "ClusterClient":
        """From a kubeconfig with inline certificates. Must be called inside a running loop."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            tls.load_cert_chain(pair.name)
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, connect=30)
        return cls(
            cluster["server"], aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        )

    def path(self, kind: str, namespace: str, name: str = "", sub: str = "") -> str:
        """The path of a collection, an object or its subresource."""
        return "/".join(part for part in (PATHS[kind].format(namespace), name, sub) if part)

    async def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One call; the answer's object. Tried again where it may still work: a POST may then find its own object.

        Raises:
            Refused: for any status from 400 on.
        """
        for failures in range(TRIES):
            try:
                return await self._call_once(method, path, body, content_type)
            except Refused as error:
                if error.status not in PUT_OFF or failures + 1 == TRIES:
                    raise
            except (aiohttp.ClientConnectionError, TimeoutError):
                if failures + 1 == TRIES:
                    raise
            await asyncio.sleep(0.1 * 2**failures)
        raise AssertionError("the last try raises")

    async def _call_once(self, method: str, path: str, body: Any, content_type: str) -> Any:
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method, self.server + path, data=data, headers={"Content-Type": content_type}
        ) as response:
            text = await response.read()
            if response.status >= 400:
                raise Refused(response.status, text.decode(errors="replace")[:500])
            return json.loads(text)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """The object; None where there is none."""
        try:
            found: dict[str, Any] = await self.call("GET", self.path(kind, namespace, name))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return found

    async def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object."""
        created: dict[str, Any] = await self.call("POST", self.path(kind, namespace), body)
        return created

    async def patch(self, kind: str, namespace: str, name: str, body: Any, sub: str = "") -> dict[str, Any]:
        """A merge patch."""
        path = self.path(kind, namespace, name, sub)
        patched: dict[str, Any] = await self.call("PATCH", path, body, "application/merge-patch+json")
        return patched

    async def delete(self, kind: str, namespace: str, name: str, **options: Any) -> None:
        """Delete; one that is gone is fine."""
        try:
            await self.call("DELETE", self.path(kind, namespace, name), options)
        except Refused as error:
            if error.status != 404:
                raise

    async def watch(self, kind: str, namespace: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """(ADDED | MODIFIED | DELETED, object) from the first object on; never ends by itself."""
        path = self.path(kind, namespace)
        listed = await self.call("GET", path)
        for item in listed["items"]:
            yield "ADDED", {"kind": kind, **item}
        version = listed["metadata"]["resourceVersion"]
        while True:
            url = f"{self.server}{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}"
            async with self.session.get(url) as response:
                async for line in lines(response):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Refused(410, f"watch of {kind}: {event['object']}")
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], {"kind": kind, **event["object"]}

    async def close(self) -> None:
        """End the session."""
        await self.session.close()
        await asyncio.sleep(CLOSING_SECONDS)


def plural_of(kind: str) -> str:
    """`pods` of `Pod`, as paths have it."""
    return PATHS[kind].rsplit("/", 1)[1]


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an endless answer, however long each is."""
    rest = b""
    async for chunk in response.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
    await asyncio.sleep(0)
