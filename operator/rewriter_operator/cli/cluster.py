"""The few calls that the plugin makes, with the rights and the kubeconfig of whoever runs it.

Annotations are written as a merge patch on exactly the version that was read, so that no wish is carried over to a
release that has moved on in between.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import urllib3
from kubernetes import client, config

from rewriter_operator.api.model import API_VERSION
from rewriter_operator.cli.asking import Refusal
from rewriter_operator.workloads import names

FIELD_MANAGER: Final = "kubectl-rewriter"
TIMEOUT_SECONDS: Final = 15

Body = dict[str, Any]


class Changed(Exception):
    """409: the object was written in between."""


@dataclass(frozen=True)
class Call:
    """One request to the API server."""

    method: str
    path: str
    body: object = None
    query: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    timeout: object = TIMEOUT_SECONDS
    """Seconds, or seconds to connect and seconds to read."""


@dataclass(frozen=True)
class Cluster:
    """One namespace as its user sees it."""

    api: client.ApiClient
    namespace: str

    def release(self, name: str) -> Body:
        """
        Raises:
            Refusal: when there is none.
        """
        return self._ask(Call("GET", self._path("rewriterreleases", name)))

    def releases(self) -> list[Body]:
        """All of the namespace."""
        return list(self._ask(Call("GET", self._path("rewriterreleases")))["items"])

    def revisions(self, release: str) -> list[Body]:
        """A release's RewriterRevisions, oldest first."""
        found = self._ask(Call("GET", self._path("rewriterrevisions")))["items"]
        own = [item for item in found if item["spec"]["releaseName"] == release]
        return sorted(own, key=lambda item: int(item["spec"]["revision"]))

    def pods(self, release: str) -> list[Body]:
        """A release's pods."""
        query = (("labelSelector", f"{names.LABEL_RELEASE}={release}"),)
        return list(self._ask(Call("GET", f"/api/v1/namespaces/{self.namespace}/pods", query=query))["items"])

    def watch(self, name: str, seconds: int) -> Iterator[Body]:
        """The release now and after each change, for a while; it ends early where the API server ends the watch."""
        query = (("watch", "true"), ("fieldSelector", f"metadata.name={name}"), ("timeoutSeconds", str(seconds)))
        patience = (TIMEOUT_SECONDS, seconds + 15)
        response = self._send(Call("GET", self._path("rewriterreleases"), query=query, timeout=patience))
        rest = b""
        for chunk in response.stream():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "DELETED":
                    raise Refusal(f"rewriterrelease {name} was deleted")
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]

    def annotate(self, live: Mapping[str, Any], annotations: Mapping[str, str]) -> Body:
        """
        Raises:
            Changed: when the object is not the one that was read any more.
        """
        metadata = {"annotations": dict(annotations), "resourceVersion": live["metadata"]["resourceVersion"]}
        path = self._path("rewriterreleases", live["metadata"]["name"])
        query = (("fieldManager", FIELD_MANAGER),)
        return self._ask(Call("PATCH", path, {"metadata": metadata}, query, "application/merge-patch+json"))

    def tell(self, live: Mapping[str, Any], reason: str, note: str, now: datetime) -> None:
        """Post an Event about the release."""
        name = live["metadata"]["name"]
        regarding = {"apiVersion": API_VERSION, "kind": "RewriterRelease", "name": name, "uid": live["metadata"]["uid"]}
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{secrets.token_hex(8)}", "namespace": self.namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "rewriter.dev/kubectl-rewriter",
            "reportingInstance": FIELD_MANAGER,
            "action": reason,
            "reason": reason,
            "note": note[:1024],
            "type": "Normal",
            "regarding": regarding | {"namespace": self.namespace},
        }
        self._ask(Call("POST", f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events", event))

    def who(self) -> str:
        """The name that the API server knows the caller by."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._ask(Call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body))
        return str(answer["status"]["userInfo"].get("username", "")) or "unknown"

    def _path(self, plural: str, name: str = "") -> str:
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{name}" if name else path

    def _ask(self, call: Call) -> Body:
        found: Body = json.loads(self._send(call).data)
        return found

    def _send(self, call: Call) -> urllib3.HTTPResponse:
        request = self.api.param_serialize(
            call.method,
            call.path,
            query_params=list(call.query),
            header_params={"Accept": "application/json", "Content-Type": call.content_type},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self.api.call_api(*request, _request_timeout=call.timeout)
        except (urllib3.exceptions.HTTPError, client.ApiException) as error:
            raise Refusal(f"the API server cannot be reached: {' '.join(str(error).split())}") from error
        response: urllib3.HTTPResponse = answer.response
        if response.status >= 400:
            raise _refusal(call.path, response.status, response.data)
        return response


def _refusal(path: str, status: int, data: bytes) -> Exception:
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, KeyError):
        message = f"{path}: {status} {data[:200].decode(errors='replace')}"
    return Changed(message) if status == 409 else Refusal(message)


def connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
    """As kubectl would: the kubeconfig's current context and its namespace, unless told otherwise.

    Raises:
        Refusal: when there is no usable kubeconfig.
    """
    try:
        api = config.new_client_from_config(kubeconfig, context)  # type: ignore[no-untyped-call]
        contexts, active = config.list_kube_config_contexts(kubeconfig)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise Refusal(f"no usable kubeconfig: {error}; give --kubeconfig or set KUBECONFIG") from error
    chosen = next((item for item in contexts if item["name"] == context), active)
    return Cluster(api, namespace or chosen["context"].get("namespace") or "default")
