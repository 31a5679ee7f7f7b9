"""What goes with a call to a metrics service: its headers, its credentials, and the CAs that it trusts.

Read only for a look that is due, and kept for some seconds. The operator's Role lists Secrets and gets none by name;
only those that carry the label are asked for. A Secret goes to no URL but those that its own annotation names, and by
no CAs but those: whoever may write a release, and a Service or a ConfigMap beside it, does not read it by having it
sent to a server of theirs. What is read here is in no field that is printed, in no error and in no status.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit

from rewriter_operator.api.metric_access import (
    CA_ANNOTATION,
    CREDENTIALS_LABEL,
    URLS_ANNOTATION,
    BasicAuthorization,
    CaBundle,
    MetricService,
    SecretValue,
)
from rewriter_operator.cluster.kube import Kube
from rewriter_operator.cluster.metric_tls import NoCertificate, trusting
from rewriter_operator.core.metric_answers import shown
from rewriter_operator.core.metric_calls import MetricCall
from rewriter_operator.errors import Retry

KEPT_SECONDS: Final = 15.0
"""However many looks are due: so often the API server is asked. A Secret that is rotated is used that late."""

HIDDEN: Final = "its words are left out: they hold a part of the credentials that it was sent"

_PIECE: Final = 6
"""So many characters of a credential, side by side, are told nowhere."""

_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class NoAccess(Exception):
    """Why a call cannot be made: a sentence with field, value and remedy."""


@dataclass(frozen=True)
class Access:
    """How one call is made."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: SSLContext | None = None
    server_name: str | None = None
    """That its certificate must have, where it is not the URL's own."""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def without_secrets(self, text: str) -> str:
        """The text, or HIDDEN where it repeats a piece of a credential: services do so in their errors."""
        told = any(_is_told(secret, text) for secret in self.secrets)
        return HIDDEN if told else text


@dataclass(frozen=True)
class _Kept:
    found: Any = field(repr=False)
    problem: str = ""


@dataclass
class MetricAccess:
    """Reads what calls need from one namespace."""

    kube: Kube = field(repr=False)
    kept: dict[tuple[str, str], _Kept] = field(default_factory=dict, repr=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, call: MetricCall) -> Access:
        """
        Raises:
            NoAccess: when what it needs is not there, is none, or may not be sent there.
        """
        service = call.service
        if service is None:
            return Access()
        headers = {header.name: header.value for header in service.headers}
        tls = await self._trust(service) if service.scheme == "HTTPS" else None
        if service.server_name:
            headers["Host"] = urlsplit(_without_default_port(sent_to(call))).netloc
        found: tuple[str, ...] = ()
        if service.authorization is not None:
            headers["Authorization"], found = await self._authorization(call, service)
        return Access(headers, tls, service.server_name, found)

    async def _trust(self, service: MetricService) -> SSLContext:
        reference = service.ca_bundle.config_map_key_ref if service.ca_bundle else None
        if reference is None:
            return trusting("")
        found = await self._read("ConfigMap", reference.name, lambda: self.kube.get("ConfigMap", reference.name))
        bundle = (found or {}).get("data", {}).get(reference.key)
        where = f"caBundle: {authority(service.ca_bundle)}"
        if bundle is None:
            raise NoAccess(f"{where} is not there; create it, or mend name and key")
        try:
            return trusting(bundle or "-")
        except NoCertificate as error:
            raise NoAccess(f"{where} {error}; put the PEM of the CA there") from error

    async def _authorization(self, call: MetricCall, service: MetricService) -> tuple[str, tuple[str, ...]]:
        """The header, and all in it that is to be told nowhere."""
        asked = service.authorization
        assert asked is not None
        if service.scheme != "HTTPS" and not asked.allow_plaintext:  # stored past the CRD
            raise NoAccess("authorization: goes over TLS; set scheme to HTTPS, or allowPlaintext to true")
        if asked.basic is not None:
            return await self._basic(call, asked.basic)
        if asked.bearer is None:
            raise NoAccess("authorization: is exactly one of bearer, basic; set one")
        token = (await self._secret(call, asked.bearer, "bearer")).strip()
        if not _TOKEN.fullmatch(token):
            raise NoAccess(f"{_field(asked.bearer, 'bearer')} is no token: printable ASCII without blanks; mend it")
        return f"Bearer {token}", (token,)

    async def _basic(self, call: MetricCall, basic: BasicAuthorization) -> tuple[str, tuple[str, ...]]:
        user = await self._secret(call, basic.username, "basic.username")
        password = await self._secret(call, basic.password, "basic.password")
        if not _TEXT.fullmatch(user) or ":" in user:
            raise NoAccess(f"{_field(basic.username, 'basic.username')} is no user: one line without colons; mend it")
        if not _TEXT.fullmatch(password):
            raise NoAccess(f"{_field(basic.password, 'basic.password')} is no password: one line; mend it")
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        return f"Basic {encoded}", (user, password, encoded)

    async def _secret(self, call: MetricCall, value: SecretValue, place: str) -> str:
        """The text of a key, without the line's end that files have."""
        secrets = await self._read("Secret", "", lambda: self.kube.list("Secret", f"{CREDENTIALS_LABEL}=true"))
        reference, where = value.secret_key_ref, _field(value, place)
        secret = next((item for item in secrets or () if item["metadata"]["name"] == reference.name), None)
        if secret is None:
            raise NoAccess(f"{where}: no such Secret has the label {CREDENTIALS_LABEL}: true; create or label it")
        _check_owners_word(secret, call, where)
        encoded = secret.get("data", {}).get(reference.key)
        if not encoded:
            raise NoAccess(f"{where}: the Secret has no such key, or it is empty; mend key, or the Secret")
        try:
            return base64.b64decode(encoded, validate=True).decode().rstrip("\r\n")
        except ValueError as error:
            raise NoAccess(f"{where}: its value is no text in UTF-8; mend the Secret") from error

    async def _read(self, kind: str, name: str, read: Callable[[], Awaitable[Any]]) -> Any:
        """What the API server has, for all looks of some seconds; an API server that does not answer, too.

        Raises:
            NoAccess: when it does not say.
        """
        async with self.lock:
            kept = self.kept.get((kind, name))
            if kept is None:
                try:
                    kept = _Kept(await read())
                except Retry as error:
                    kept = _Kept(None, shown(str(error)))
                self.kept[kind, name] = kept
                asyncio.get_running_loop().call_later(KEPT_SECONDS, self.kept.pop, (kind, name), None)
        if kept.problem:
            raise NoAccess(f"{kind}s cannot be read: {kept.problem}")
        return kept.found


def server_name(call: MetricCall) -> str:
    """The name that the server must prove to have; without TLS, the Service's."""
    return (call.service.server_name if call.service else None) or urlsplit(call.url).hostname or ""


def sent_to(call: MetricCall) -> str:
    """The URL, by the server's name."""
    url = urlsplit(call.url)
    return f"{url.scheme}://{server_name(call)}:{url.port}{url.path}"


def credentials(service: MetricService | None) -> str:
    """Which ones go with a call, by name; empty for none."""
    asked = service.authorization if service else None
    if asked is None:
        return ""
    if asked.bearer is not None:
        return _field(asked.bearer, "bearer")
    return _field(asked.basic.password, "basic.password") if asked.basic else ""


def authority(bundle: CaBundle | None) -> str:
    """Where the CAs are that a server is trusted by."""
    if bundle is None:
        return "the operator's image (caBundle is not set)"
    reference = bundle.config_map_key_ref
    return f"ConfigMap {reference.name}, key {reference.key}"


def _check_owners_word(secret: Mapping[str, Any], call: MetricCall, where: str) -> None:
    """
    Raises:
        NoAccess: when the Secret's annotations do not let it go there.
    """
    assert call.service is not None
    url = sent_to(call)
    if not {url, _without_default_port(url)} & _words(secret, URLS_ANNOTATION):
        raise NoAccess(f"{where} may not be sent to {url}; its owner names that in its annotation {URLS_ANNOTATION}")
    bundle = call.service.ca_bundle
    if bundle is not None and bundle.config_map_key_ref.name not in _words(secret, CA_ANNOTATION):
        name = bundle.config_map_key_ref.name
        raise NoAccess(
            f"{where} may not be sent by the CAs of ConfigMap {name}; its owner names that in its annotation "
            f"{CA_ANNOTATION}"
        )


def _words(secret: Mapping[str, Any], annotation: str) -> set[str]:
    return set(secret["metadata"].get("annotations", {}).get(annotation, "").replace(",", " ").split())


def _field(value: SecretValue, place: str) -> str:
    reference = value.secret_key_ref
    return f"authorization.{place}: Secret {reference.name}, key {reference.key}"


def _without_default_port(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])).geturl()


def _is_told(secret: str, text: str) -> bool:
    """Also where it is cut, as long texts are, or its blanks are made one."""
    secret = " ".join(secret.split())
    if len(secret) <= _PIECE:
        return secret in text
    return any(secret[start : start + _PIECE] in text for start in range(len(secret) - _PIECE + 1))
