"""An authority of one test, and the certificates that it signs, made with openssl."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """`ca.crt` and `ca.key` in a directory."""

    directory: Path
    name: str = "ca"

    @classmethod
    def made(cls, directory: Path, name: str = "ca", days: int = 2) -> "Authority":
        """A new one. `days` below zero: it has expired."""
        authority = cls(directory, name)
        request = authority._request(name)
        extensions = authority._written(f"{name}.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
        _openssl("x509", "-req", "-in", request, "-signkey", authority._file(f"{name}.key"), "-days", str(days),
                 "-extfile", extensions, "-out", authority._file(f"{name}.crt"))  # fmt: skip
        return authority

    @property
    def bundle(self) -> str:
        """Its certificate, in PEM."""
        return (self.directory / f"{self.name}.crt").read_text()

    def server(self, *names: str, days: int = 2) -> ssl.SSLContext:
        """What a server of these names shows and speaks TLS with."""
        request = self._request("server")
        extensions = self._written("server.ext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names) + "\n")
        signs = ("-CA", self._file(f"{self.name}.crt"), "-CAkey", self._file(f"{self.name}.key"), "-CAcreateserial")
        certificate = self._file("server.crt")
        _openssl("x509", "-req", "-in", request, *signs, "-days", str(days), "-extfile", extensions,
                 "-out", certificate)  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, self._file("server.key"))
        return context

    def _request(self, name: str) -> str:
        request = self._file(f"{name}.csr")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        _openssl("req", "-new", *curve, "-keyout", self._file(f"{name}.key"), "-subj", f"/CN={name}", "-out", request)
        return request

    def _file(self, name: str) -> str:
        return str(self.directory / name)

    def _written(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text)
        return self._file(name)


def self_signed(directory: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """What a server shows whose certificate no CA signed, and that certificate."""
    key, certificate = directory / "self.key", directory / "self.crt"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2")
    _openssl("req", "-x509", *curve, *names, "-out", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate.read_text()


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
