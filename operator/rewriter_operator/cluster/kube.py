"""The few verbs of the Kubernetes API that the operator uses, as plain dictionaries, every call with a deadline.

`kubernetes.aio` provides configuration, authentication and the connection; its models and its dynamic client are not
used: they cost memory and discovery calls, and hide what is on the wire.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.config import incluster_config
from pydantic_core import from_json

from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.own_writes import OwnWrites
from rewriter_operator.errors import Retry

FIELD_MANAGER: Final = "rewriter-operator"
FIELD_MANAGER_OF_MARKS: Final = "rewriter-operator-lease"
"""Marks are no part of what is applied."""

TIMEOUT_SECONDS: Final = 15.0

_NO_SUCH_PATH: Final = b"404 page not found"
"""What an API server answers, in place of a Status, to a path that it does not serve."""

_CORE = "/api/v1"
_PATHS: Final = {
    "Pod": (_CORE, "pods"),
    "Service": (_CORE, "services"),
    "Secret": (_CORE, "secrets"),
    "ConfigMap": (_CORE, "configmaps"),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
    "VirtualService": ("/apis/networking.istio.io/v1", "virtualservices"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "RewriterRelease": ("/apis/rewriter.dev/v1alpha1", "rewriterreleases"),
    "RewriterRevision": ("/apis/rewriter.dev/v1alpha1", "rewriterrevisions"),
}


OPTIONAL: Final = ("VirtualService",)
"""Kinds that a cluster need not have."""


class Conflict(Retry):
    """409: somebody wrote in between; read again."""


class Forbidden(Retry):
    """403: the operator's Role lacks a verb; the message names it."""


class Invalid(Retry):
    """422: the API server refuses the object; the message is its own."""


class UnknownKind(Invalid):
    """404 to a create or a list: the API server has no such kind."""


@dataclass
class Kube:
    """One namespace of one cluster."""

    api: client.ApiClient
    namespace: str
    timeout: float = TIMEOUT_SECONDS
    term: Term | None = None
    """The leadership that writes are made under; None only for the Lease itself."""
    own_writes: OwnWrites | None = None
    """Told of every write that was answered."""

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, read from etcd (no resourceVersion: never a stale cache); None where there is none."""
        return await self._call("GET", self._path(kind, name), missing_is_none=True)

    async def list(self, kind: str, selector: str = "") -> "list[dict[str, Any]]":
        """All objects of a kind with these labels."""
        query = [("labelSelector", selector)] if selector else []
        try:
            found = await self._call("GET", self._path(kind), query=query)
        except UnknownKind:
            if kind not in OPTIONAL:
                raise
            return []  # there are none; whoever wants one is told when it is created
        assert found is not None
        items: list[dict[str, Any]] = found["items"]
        return [{"kind": kind, **item} for item in items]

    async def can_list(self, kind: str) -> bool:
        """Whether the cluster has the kind and lets us list it; also False while nobody answers."""
        try:
            await self._call("GET", self._path(kind), query=[("limit", "1")])
        except Retry:
            return False
        return True

    async def apply(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        """Server-side apply: own exactly the fields that are given, on the version of the object that was read; the
        object as it is then.

        Raises:
            Conflict: when the object changed since, or is gone.
        """
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        path = self._path(body["kind"], body["metadata"]["name"])
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        written = await self._call("PATCH", path, body=body, query=query, content_type="application/apply-patch+yaml")
        assert written is not None
        return written

    async def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Create; None where the object is there already, which is fine, because names say what they are."""
        try:
            return await self._call(
                "POST", self._path(body["kind"]), body=body, query=[("fieldManager", FIELD_MANAGER)]
            )
        except Conflict:
            return None

    async def replace(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Replace exactly the version that was read (resourceVersion inside); None where there is none any more.

        Raises:
            Conflict: when the object changed since.
        """
        return await self._call(
            "PUT", self._path(body["kind"], body["metadata"]["name"]), body=body, missing_is_none=True
        )

    async def annotate(self, live: dict[str, Any], annotations: dict[str, str]) -> None:
        """Set annotations on the version of the object that was read; nothing where it is gone.

        Raises:
            Conflict: when the object changed since.
        """
        await self._merge(live, {"annotations": annotations})

    async def mark(
        self, live: dict[str, Any], labels: dict[str, str | None], annotations: dict[str, str | None]
    ) -> None:
        """Set labels and annotations, or take away those that are None, on the version of the object that was read;
        nothing where it is gone.

        Raises:
            Conflict: when the object changed since.
        """
        await self._merge(live, {"labels": labels, "annotations": annotations})

    async def own_by_apply(self, live: dict[str, Any]) -> dict[str, Any]:
        """Turn the ownership of fields that `create` gave us into that of `apply`; the object as it is afterwards.

        A create cannot be a server-side apply, which would change an object that another leader just made; and without
        this, a field that a later apply leaves out would stay, owned by the create.

        Raises:
            Conflict: when the object changed since, or is gone.
        """
        fields = live["metadata"].get("managedFields", [])
        made = [item for item in fields if _is_ours(item) and item["operation"] == "Update"]
        if not made:
            return live
        others = [item for item in fields if not _is_ours(item)]
        owned = await self._merge(live, {"managedFields": [{**made[0], "operation": "Apply"}, *others]})
        if owned is None:
            raise Conflict(f"{live['kind']} {live['metadata']['name']} is gone")
        return owned

    async def delete(self, kind: str, name: str, uid: str, version: str) -> None:
        """Delete this version of the object with this uid, and no other that took its name since.

        Raises:
            Conflict: when the object changed since.
        """
        preconditions = {"uid": uid, "resourceVersion": version}
        options = {"preconditions": preconditions, "propagationPolicy": "Background"}
        await self._call("DELETE", self._path(kind, name), body=options, missing_is_none=True)

    async def put_status(self, body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        """Write the status of exactly the version that was read (resourceVersion inside); the object as it is then.

        `dry_run`: only ask what it would be.

        Raises:
            Conflict: when the object changed since.
        """
        path = self._path(body["kind"], body["metadata"]["name"]) + "/status"
        written = await self._call("PUT", path, body=body, query=[("dryRun", "All")] if dry_run else [])
        assert written is not None
        return written

    async def event(self, body: dict[str, Any]) -> None:
        """Post an Event."""
        await self._call("POST", self._path("Event"), body=body)

    async def close(self) -> None:
        """Close the connections."""
        await self.api.close()  # type: ignore[no-untyped-call]

    async def _merge(self, live: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any] | None:
        body = {"metadata": {**metadata, "resourceVersion": live["metadata"]["resourceVersion"]}}
        path = self._path(live["kind"], live["metadata"]["name"])
        query = [("fieldManager", FIELD_MANAGER_OF_MARKS)]
        kind = "application/merge-patch+json"
        return await self._call("PATCH", path, body=body, query=query, content_type=kind, missing_is_none=True)

    def _path(self, kind: str, name: str = "") -> str:
        group, plural = _PATHS[kind]
        path = f"{group}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{name}" if name else path

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
        missing_is_none: bool = False,
    ) -> dict[str, Any] | None:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = await self.api.param_serialize(
            method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            with self.term.writing() if self.term and method != "GET" else nullcontext(self.timeout) as left:
                response = await self.api.call_api(*request, _request_timeout=min(self.timeout, left))
                data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Retry(f"{method} {path}: {type(error).__name__}: {error}") from error
        if response.status == 404 and missing_is_none:
            return None
        if response.status >= 400:
            raise _error(method, path, response.status, data)
        found: dict[str, Any] = from_json(data)  # in half the time of json.loads: what is listed is most of it
        if self.own_writes and method != "GET":
            self.own_writes.note(found)
        return found


async def connect(namespace: str, timeout: float = TIMEOUT_SECONDS) -> Kube:
    """A client with the pod's service account, or with KUBECONFIG outside of a cluster."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        configuration.refresh_api_key_hook = _with_token_of_now  # type: ignore[assignment]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    # aiohttp looks for ~/.netrc at every request of a session that trusts the environment, a fifteenth of our time
    configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
    return Kube(client.ApiClient(configuration), namespace, timeout)


def _with_token_of_now(configuration: client.Configuration) -> None:
    """The kubelet rotates the token's file. Read for each call: the library's own minute is one of the wall clock,
    and after that was set back an operator would sign in with a token that has expired."""
    token = Path(incluster_config.SERVICE_TOKEN_FILENAME).read_text()
    configuration.api_key["BearerToken"] = f"bearer {token}"


def is_owned_by(live: dict[str, Any], uid: str) -> bool:
    """Whether the object names an owner with this uid."""
    return any(owner["uid"] == uid for owner in live["metadata"].get("ownerReferences", []))


def _is_ours(entry: dict[str, Any]) -> bool:
    return entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")


def _error(method: str, path: str, status: int, data: bytes) -> Retry:
    try:
        message = str(json.loads(data).get("message", ""))
    except ValueError:
        message = data[:300].decode(errors="replace")
    text = f"{method} {path}: {status} {message[:800].strip()}"
    if status == 404 and data.startswith(_NO_SUCH_PATH):
        return UnknownKind(f"{text}: the cluster does not know this kind; install its CRD")
    return {403: Forbidden, 409: Conflict, 422: Invalid}.get(status, Retry)(text)
