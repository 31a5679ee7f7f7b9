"""Uploads an image to the local cluster's registry as it is: uncompressed, and only what the registry lacks.

Debian's buildah compresses every layer that it sends to a registry, whatever it is told; for gigabytes that never
leave the machine this costs minutes. So the store is read layer by layer here, and what is new goes through the
registry's own HTTP API (OCI distribution specification 1.1). A change of code moves kilobytes.
"""

import http.client
import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.errors import ClusterError

TIMEOUT_SECONDS = 300
OTHER_IMAGES = ("sampler", "trainer", "demo", "operator")


@dataclass(frozen=True)
class Repository:
    """One image's name in a plain-HTTP registry."""

    registry: str
    """HOST:PORT"""
    path: str
    """rewriter/sampler"""

    def upload(self, manifest: bytes, tag: str, write_blob: Callable[[str, Path], None], scratch: Path) -> None:
        """Upload an image whose manifest is `manifest`; `write_blob(digest, file)` is asked for what is lacking.

        Raises:
            ClusterError: with the registry's answer.
        """
        content = json.loads(manifest)
        for blob in [*content["layers"], content["config"]]:
            if not self._has(blob["digest"]) and not self._mounted(blob["digest"]):
                file = scratch / "blob"
                write_blob(blob["digest"], file)
                self._send(file, blob)
                file.unlink()
        headers = {"Content-Type": content["mediaType"]}
        self._call("PUT", f"/v2/{self.path}/manifests/{tag}", manifest, headers, expected=(201,))

    def _has(self, digest: str) -> bool:
        status, _ = self._call("HEAD", f"/v2/{self.path}/blobs/{digest}", expected=(200, 404))
        return status == 200

    def _mounted(self, digest: str) -> bool:
        """Whether another image of ours has the blob, which is then shared (the torch layer is)."""
        namespace = self.path.rpartition("/")[0]
        for other in OTHER_IMAGES:
            source = f"{namespace}/{other}"
            if source == self.path:
                continue
            query = urllib.parse.urlencode({"mount": digest, "from": source})
            status, location = self._call("POST", f"/v2/{self.path}/blobs/uploads/?{query}", expected=(201, 202))
            if status == 201:
                return True
            self._call("DELETE", location, expected=(204, 404))
        return False

    def _send(self, file: Path, blob: dict[str, Any]) -> None:
        _, location = self._call("POST", f"/v2/{self.path}/blobs/uploads/", expected=(202,))
        parts = urllib.parse.urlsplit(location)
        query = [*urllib.parse.parse_qsl(parts.query), ("digest", blob["digest"])]
        target = f"{parts.path}?{urllib.parse.urlencode(query)}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob["size"])}
        with file.open("rb") as content:
            self._call("PUT", target, content, headers, expected=(201,))

    def _call(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        expected: tuple[int, ...] = (200,),
    ) -> tuple[int, str]:
        """Status and Location of the answer."""
        parts = urllib.parse.urlsplit(target)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection(self.registry, timeout=TIMEOUT_SECONDS, blocksize=1 << 20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            text = answer.read(2000).decode(errors="replace")
        except OSError as error:
            raise ClusterError(f"the registry {self.registry} does not answer {method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status not in expected:
            raise ClusterError(f"the registry {self.registry} answered {answer.status} to {method} {path}: {text}")
        return answer.status, answer.headers.get("Location", "")
