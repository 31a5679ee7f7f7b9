"""Certificates of one cluster: an authority, the API server's, and one per client identity.

Made once per cluster and kept, so that a kubeconfig stays valid over restarts. They protect a test cluster that only
loopback reaches; never use them for anything else.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.network import API_SERVICE_IP, NODE_IP

DAYS = "3650"
SERVER_NAMES = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    f"DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{API_SERVICE_IP},IP:{NODE_IP}"
)


@dataclass(frozen=True)
class Identity:
    """A client of the API server: `group` decides what it may do."""

    name: str
    user: str
    group: str


def identities(node: str) -> tuple[Identity, ...]:
    """All client identities of a cluster with one node of this name."""
    return (
        Identity("admin", "admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler", "system:kube-scheduler"),
        Identity("kube-proxy", "system:kube-proxy", "system:node-proxier"),
        Identity("kubelet", f"system:node:{node}", "system:nodes"),
        # The API server's own identity towards the kubelet.
        Identity("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
    )


@dataclass(frozen=True)
class Pki:
    """The directory of the certificates; `NAME.crt` and `NAME.key` of each."""

    directory: Path

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    @property
    def authority(self) -> Path:
        return self.certificate("ca")


def ensure_pki(directory: Path, node: str) -> Pki:
    """Returns the cluster's certificates, made on first use."""
    pki = Pki(directory)
    made = directory / "made"
    if made.exists():
        return pki
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _openssl("req", "-x509", *_new_key(pki, "ca"), "-subj", "/CN=rewriter-e2e-ca", "-days", DAYS)
    _sign(pki, "apiserver", "/CN=kube-apiserver", f"subjectAltName={SERVER_NAMES}\nextendedKeyUsage=serverAuth\n")
    for identity in identities(node):
        subject = f"/O={identity.group}/CN={identity.user}"
        _sign(pki, identity.name, subject, "extendedKeyUsage=clientAuth\n")
    # `ecparam` writes the one format from which the API server also reads the public half.
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pki.key("service-accounts")))
    made.touch()
    return pki


def _sign(pki: Pki, name: str, subject: str, extensions: str) -> None:
    request, extension_file = pki.directory / f"{name}.csr", pki.directory / f"{name}.ext"
    extension_file.write_text(extensions)
    _openssl("req", "-new", *_new_key(pki, name)[:-2], "-subj", subject, "-out", str(request))
    authority = ("-CA", str(pki.authority), "-CAkey", str(pki.key("ca")), "-CAcreateserial")
    files = ("-in", str(request), "-extfile", str(extension_file), "-out", str(pki.certificate(name)))
    _openssl("x509", "-req", *authority, *files, "-days", DAYS)


def _new_key(pki: Pki, name: str) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    return (*curve, "-keyout", str(pki.key(name)), "-out", str(pki.certificate(name)))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
