"""Argo CD's own API, as its page and its command line call it: the actions of a resource."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TIMEOUT_SECONDS: Final = 60.0
RELEASE: Final = {"group": "rewriter.dev", "version": "v1alpha1", "kind": "RewriterRelease"}


class Refused(Exception):
    """Argo CD said no; the message is its own."""


@dataclass(frozen=True)
class Api:
    """Of one argocd-server without sign-in."""

    url: str

    def actions(self, application: str, namespace: str, release: str) -> dict[str, bool]:
        """Action -> whether it may be pressed now, as its page shows the menu."""
        resource = {**RELEASE, "namespace": namespace, "resourceName": release}
        path = f"/api/v1/applications/{application}/resource/actions?{urllib.parse.urlencode(resource)}"
        answer = self._call("GET", path)
        return {action["name"]: not action.get("disabled", False) for action in answer.get("actions", [])}

    def act(self, application: str, namespace: str, release: str, action: str) -> None:
        """Press an action.

        Raises:
            Refused: when Argo CD does not carry it out.
        """
        body = {**RELEASE, "name": application, "namespace": namespace, "resourceName": release, "action": action}
        self._call("POST", f"/api/v1/applications/{application}/resource/actions/v2", body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(f"{error.code} {error.read().decode(errors='replace')}") from None
        return found
