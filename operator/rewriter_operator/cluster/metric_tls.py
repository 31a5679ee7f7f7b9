"""Whom a call over TLS trusts, and what is told of a handshake that failed: a sentence with what to mend.

There is no way to trust just anybody: a certificate that does not hold makes a look unknown, and sends nothing.
"""

import re
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import aiohttp

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.ASCII)

_EXPIRED: Final = 10
_NOT_YET: Final = 9
_UNKNOWN_ISSUER: Final = (18, 19, 20, 21)
_OTHER_NAME: Final = (62, 64)
"""OpenSSL's X509_V_ERR_ numbers."""


class NoCertificate(ValueError):
    """A bundle of CAs that cannot be read as one; the message says why."""


@lru_cache(maxsize=16)
def trusting(bundle: str) -> ssl.SSLContext:
    """Of the CAs in a PEM text and of no other; of the system's for an empty one.

    Raises:
        NoCertificate: when the text is none.
    """
    if not bundle:
        return ssl.create_default_context()
    certificates = _CERTIFICATE.findall(bundle)  # what is said around them need not be ASCII
    if not certificates:
        raise NoCertificate("holds no certificate in PEM")
    try:
        return ssl.create_default_context(cadata="\n".join(certificates))
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise NoCertificate(f"holds a certificate that cannot be read ({reason})") from error


def failure(error: BaseException, server_name: str, authority: str) -> str | None:
    """What a handshake failed of; None for what is no failure of one.

    `server_name`: as its certificate must name it. `authority`: where its CA has to be.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if not isinstance(error, ssl.SSLError):
        return None
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"no TLS with {server_name} ({error.reason or 'closed'}); mend scheme or port, or the server"
    return _sentences(server_name, authority).get(
        error.verify_code, f"the certificate of {server_name} does not hold: {error.verify_message}; renew it"
    )


def _sentences(server_name: str, authority: str) -> Mapping[int, str]:
    wrong_name = f"the certificate is not for {server_name}; set serverName to a name in it, or renew it"
    unknown = f"the certificate of {server_name} is of no CA in {authority}; put its CA there"
    return {
        _EXPIRED: f"the certificate of {server_name}, or its CA's, has expired; renew it",
        _NOT_YET: f"the certificate of {server_name}, or its CA's, is not valid yet; renew it, or mend the clocks",
        **dict.fromkeys(_OTHER_NAME, wrong_name),
        **dict.fromkeys(_UNKNOWN_ISSUER, unknown),
    }
