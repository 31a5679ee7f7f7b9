"""Credentials, CAs and headers of metrics services, over real HTTP and TLS: what they need goes there and nowhere else,
what is wrong is unknown with its remedy and heals once it is mended, and no credential is told anywhere."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewriter_operator.api.rollout_metrics import PrometheusQuery, WebHook
from rewriter_operator.cluster import metric_access
from rewriter_operator.cluster.kube import Forbidden, Kube
from rewriter_operator.cluster.metric_access import HIDDEN, Access, MetricAccess
from rewriter_operator.cluster.metric_services import MetricServices
from rewriter_operator.core.metric_calls import MetricCall
from rewriter_operator.core.world import MetricAnswer
from tests.operator.certificates import Authority, self_signed
from tests.operator.test_metric_services import BODY, answered, sample, service

NAME = "thanos.search.svc"
TOKEN = "eyJhbGciOi.c2VjcmV0.x-_9"
SHOWN_TOKEN = {"bearer": {"secretKeyRef": {"name": "thanos-token", "key": "token"}}}
USER_AND_PASSWORD = {
    "basic": {
        "username": {"secretKeyRef": {"name": "mimir", "key": "username"}},
        "password": {"secretKeyRef": {"name": "mimir", "key": "password"}},
    }
}
CA = {"caBundle": {"configMapKeyRef": {"name": "internal-ca", "key": "ca.crt"}}}


@pytest.fixture(autouse=True)
def every_name_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **named: look_up("127.0.0.1", port, **named))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("ca"))


class Namespace(Kube):
    """Secrets and ConfigMaps, as the API server gives them; counts how often it is asked."""

    def __init__(self, *secrets: dict[str, Any], **bundles: str) -> None:
        self.secrets = list(secrets)
        self.maps = {"internal-ca": {"data": {name.replace("_", "."): text for name, text in bundles.items()}}}
        self.asked: list[str] = []
        self.refusal: Exception | None = None

    async def list(self, kind: str, selector: str = "") -> "list[dict[str, Any]]":
        self.asked.append(f"list {kind} {selector}")
        if self.refusal:
            raise self.refusal
        label, value = selector.split("=")
        return [item for item in self.secrets if item["metadata"].get("labels", {}).get(label) == value]

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self.asked.append(f"get {kind} {name}")
        return self.maps.get(name)


def secret(name: str, url: str, ca: str = "internal-ca", label: str = "true", **values: str | bytes) -> dict[str, Any]:
    encoded = {
        key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        for key, value in values.items()
    }
    annotations = {"rewriter.dev/metrics-urls": url, "rewriter.dev/metrics-ca": ca}
    labels = {"rewriter.dev/metrics-credentials": label} if label else {}
    return {"metadata": {"name": name, "labels": labels, "annotations": annotations}, "data": encoded}


def url_of(port: str, name: str = NAME, scheme: str = "https") -> str:
    return f"{scheme}://{name}:{port}/api/v1/query"


def port_of(url: str) -> str:
    return url.split(":")[2].split("/")[0]


def call(url: str, **fields: Any) -> MetricCall:
    """A query to the Service's name, at the port of this URL."""
    scheme = fields.setdefault("scheme", "HTTPS")
    given = {"serviceName": "thanos", "port": int(port_of(url)), "query": "up", **fields}
    asked = url_of(port_of(url), scheme=scheme.lower())
    return MetricCall("q", asked, 30, 5, query="up", service=PrometheusQuery.model_validate(given))


def hook(url: str, **fields: Any) -> MetricCall:
    given = {"serviceName": "thanos", "port": int(port_of(url)), "path": "/api/v1/query", "scheme": "HTTPS", **fields}
    asked = url_of(port_of(url))
    return MetricCall("q", asked, 30, 5, body=BODY, service=WebHook.model_validate(given))


def look(kube: Kube, asked: MetricCall) -> MetricAnswer:
    return answered(asked, access=MetricAccess(kube))["q"]


def test_a_token_goes_to_the_url_that_its_secret_names_over_tls_of_its_own_ca(authority: Authority) -> None:
    with service(body=sample("0.125"), tls=authority.server(NAME)) as (url, asked):
        token = secret(
            "thanos-token", url_of(port_of(url)), token=f"{TOKEN}\n"
        )  # as `kubectl create` from a file has it
        kube = Namespace(token, ca_crt=f"# Größe\n{authority.bundle}")
        answer = look(kube, call(url, authorization=SHOWN_TOKEN, **CA))
    assert (answer.value, answer.reason) == (0.125, "")
    (one,) = asked
    assert (one["headers"]["Authorization"], one["query"]) == (f"Bearer {TOKEN}", {"query": ["up"]})
    assert sorted(kube.asked) == ["get ConfigMap internal-ca", "list Secret rewriter.dev/metrics-credentials=true"]


def test_user_password_and_headers_go_with_a_web_hook(authority: Authority) -> None:
    with service(body=b'{"verdict": "Pass"}', tls=authority.server(NAME)) as (url, asked):
        mimir = secret("mimir", f"https://other/x, {url_of(port_of(url))}", username="tenant-7", password="pässwort: 1")
        kube = Namespace(mimir, ca_crt=authority.bundle)
        tenant = [{"name": "X-Scope-OrgID", "value": "search"}]
        answer = look(kube, hook(url, authorization=USER_AND_PASSWORD, headers=tenant, **CA))
    assert answer.passes is True
    (one,) = asked
    scheme, encoded = one["headers"]["Authorization"].split()
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", "tenant-7:pässwort: 1")
    assert (one["headers"]["X-Scope-OrgID"], one["method"], one["body"]) == ("search", "POST", BODY)


def test_headers_alone_need_no_secret_and_no_look_at_the_api_server() -> None:
    with service(body=sample("1")) as (url, asked):
        kube = Namespace()
        answer = look(kube, call(url, scheme="HTTP", headers=[{"name": "X-Scope-OrgID", "value": "a|b"}]))
    assert (answer.value, asked[0]["headers"]["X-Scope-OrgID"], kube.asked) == (1.0, "a|b", [])


def test_a_server_elsewhere_is_called_by_the_name_in_its_certificate(authority: Authority) -> None:
    elsewhere = "prom.example.com"
    with service(body=sample("1"), tls=authority.server(elsewhere)) as (url, asked):
        token = secret("thanos-token", url_of(port_of(url), elsewhere), token=TOKEN)
        kube = Namespace(token, ca_crt=authority.bundle)
        answer = look(kube, call(url, serverName=elsewhere, authorization=SHOWN_TOKEN, **CA))
    assert (answer.value, answer.reason) == (1.0, "")
    assert asked[0]["headers"]["Host"] == f"{elsewhere}:{port_of(url)}"


def test_a_server_that_no_ca_signed_is_trusted_by_its_own_certificate(tmp_path: Path) -> None:
    tls, certificate = self_signed(tmp_path, NAME)
    with service(body=sample("1"), tls=tls) as (url, _):
        assert look(Namespace(ca_crt=certificate), call(url, **CA)).value == 1.0


# --- confused deputies


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": ""}, "no such Secret has the label rewriter.dev/metrics-credentials: true; create or label it"),
        ({"label": "false"}, "no such Secret has the label rewriter.dev/metrics-credentials: true; create or label it"),
        ({"url": ""}, "may not be sent to {url}; its owner names that in its annotation rewriter.dev/metrics-urls"),
        ({"url": "{url}/../x https://*"}, "may not be sent to {url}; its owner names that in its annotation"),
        ({"url": "https://thanos.search.svc"}, "may not be sent to {url}; its owner names that in its annotation"),
        ({"url": "http://{rest}"}, "may not be sent to {url}; its owner names that in its annotation"),
        ({"ca": ""}, "may not be sent by the CAs of ConfigMap internal-ca; its owner names that in its annotation"),
        ({"ca": "kube-root-ca.crt"}, "may not be sent by the CAs of ConfigMap internal-ca; its owner names that"),
    ],
    ids=["no-label", "label-false", "no-url", "other-urls", "host-alone", "plaintext", "no-ca", "other-ca"],
)
def test_a_secret_goes_nowhere_that_its_owner_did_not_name(
    authority: Authority, changes: dict[str, str], reason: str
) -> None:
    with service(body=sample("1"), tls=authority.server(NAME)) as (url, asked):
        target = url_of(port_of(url))
        filled = {key: value.format(url=target, rest=target[8:]) for key, value in changes.items()}
        token = secret("thanos-token", **{"url": target, **filled}, token=TOKEN)
        answer = look(Namespace(token, ca_crt=authority.bundle), call(url, authorization=SHOWN_TOKEN, **CA))
    assert answer.value is None
    where = "authorization.bearer: Secret thanos-token, key token"
    assert answer.reason.startswith(where) and reason.format(url=target) in answer.reason
    assert asked == [], "nothing was sent at all"
    assert len(answer.reason) <= 256


def test_credentials_go_over_plain_http_only_where_release_and_secret_both_say_so() -> None:
    with service(body=sample("1")) as (url, asked):
        token = secret("thanos-token", url_of(port_of(url), scheme="http"), token=TOKEN)
        silent = look(Namespace(token), call(url, scheme="HTTP", authorization=SHOWN_TOKEN))
        assert silent.reason == "authorization: goes over TLS; set scheme to HTTPS, or allowPlaintext to true"
        allowed = SHOWN_TOKEN | {"allowPlaintext": True}
        other = secret("thanos-token", url_of(port_of(url)), token=TOKEN)
        assert (
            "may not be sent to http://"
            in look(Namespace(other), call(url, scheme="HTTP", authorization=allowed)).reason
        )
        assert asked == []
        assert look(Namespace(token), call(url, scheme="HTTP", authorization=allowed)).value == 1.0
    assert asked[0]["headers"]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_credentials(authority: Authority, status: int) -> None:
    with (
        service(body=sample("1"), tls=authority.server(NAME)) as (elsewhere, stolen),
        service(status, b"{}", authority.server(NAME), Location=url_of(port_of(elsewhere))) as (url, asked),
    ):
        urls = f"{url_of(port_of(url))} {url_of(port_of(elsewhere))}"
        kube = Namespace(secret("thanos-token", urls, token=TOKEN), ca_crt=authority.bundle)
        answer = look(kube, call(url, authorization=SHOWN_TOKEN, **CA))
    assert (answer.value, len(asked), stolen) == (None, 1, [])
    assert answer.reason.startswith(f"answered {status}")


def test_a_default_port_need_not_be_named() -> None:
    given = {"serviceName": "thanos", "port": 443, "query": "up", "scheme": "HTTPS", "authorization": SHOWN_TOKEN}
    asked = MetricCall(
        "q", f"https://{NAME}:443/api/v1/query", 30, 5, query="up", service=PrometheusQuery.model_validate(given)
    )
    for named in (f"https://{NAME}/api/v1/query", f"https://{NAME}:443/api/v1/query"):
        access = asyncio.run(MetricAccess(Namespace(secret("thanos-token", named, token=TOKEN))).of(asked))
        assert access.headers["Authorization"] == f"Bearer {TOKEN}"


# --- what is wrong


def test_a_certificate_that_does_not_hold_sends_nothing_and_says_what_to_mend(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority.made(tmp_path, "other")
    expired = Authority.made(tmp_path, "expired", days=-1)
    cases = [
        (authority.server(NAME, days=-1), authority.bundle, f"the certificate of {NAME}, or its CA's, has expired"),
        (expired.server(NAME), expired.bundle, f"the certificate of {NAME}, or its CA's, has expired; renew it"),
        (authority.server("elsewhere.search.svc"), authority.bundle, f"is not for {NAME}; set serverName to a name"),
        (other.server(NAME), authority.bundle, "of no CA in ConfigMap internal-ca, key ca.crt; put its CA there"),
    ]
    for tls, bundle, reason in cases:
        with service(body=sample("1"), tls=tls) as (url, asked):
            token = secret("thanos-token", url_of(port_of(url)), token=TOKEN)
            answer = look(Namespace(token, ca_crt=bundle), call(url, authorization=SHOWN_TOKEN, **CA))
        assert reason in answer.reason
        assert (answer.value, asked) == (None, [])


def test_without_a_bundle_only_the_systems_cas_are_trusted(authority: Authority) -> None:
    with service(body=sample("1"), tls=authority.server(NAME)) as (url, asked):
        answer = look(Namespace(), call(url))
    assert "of no CA in the operator's image (caBundle is not set); put its CA there" in answer.reason
    assert asked == []


def test_a_server_that_speaks_no_tls_is_told_as_such(authority: Authority) -> None:
    with service(body=sample("1")) as (url, _):
        answer = look(Namespace(ca_crt=authority.bundle), call(url, **CA))
    assert answer.reason.startswith(f"no TLS with {NAME}") and "mend scheme or port" in answer.reason


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        ("", "holds no certificate in PEM"),
        ("hello", "holds no certificate in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a certificate that cannot be read ("),
        ("-----BEGIN CERTIFICATE-----\n====\n-----END CERTIFICATE-----\n", "holds a certificate that cannot be read ("),
    ],
)
def test_a_bundle_that_holds_no_certificate_is_unknown(bundle: str, reason: str) -> None:
    with service(body=sample("1")) as (url, asked):
        answer = look(Namespace(ca_crt=bundle), call(url, **CA))
    assert answer.reason.startswith(f"caBundle: ConfigMap internal-ca, key ca.crt {reason}")
    assert answer.reason.endswith("put the PEM of the CA there") and asked == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "the Secret has no such key, or it is empty; mend key, or the Secret"),
        ({"token": ""}, "the Secret has no such key, or it is empty; mend key, or the Secret"),
        ({"token": b"\xff\xfe"}, "its value is no text in UTF-8; mend the Secret"),
        ({"token": "two words"}, "is no token: printable ASCII without blanks; mend it"),
        ({"token": "a\r\nX-Evil: 1"}, "is no token: printable ASCII without blanks; mend it"),
        ({"token": "\n"}, "is no token: printable ASCII without blanks; mend it"),
        ({"token": "x" * 8193}, "is no token: printable ASCII without blanks; mend it"),
    ],
    ids=["no-key", "empty", "bytes", "blanks", "line-feed", "line-feed-alone", "huge"],
)
def test_a_secret_without_a_token_is_unknown(values: dict[str, str | bytes], reason: str) -> None:
    with service(body=sample("1")) as (url, asked):
        token = secret("thanos-token", url_of(port_of(url)), **values)
        answer = look(Namespace(token), call(url, authorization=SHOWN_TOKEN))
    assert answer.reason.startswith("authorization.bearer: Secret thanos-token, key token")
    assert answer.reason.endswith(reason) and asked == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"username": "a:b", "password": "c"}, "basic.username: Secret mimir, key username is no user"),
        ({"username": "a", "password": "b\x00c"}, "basic.password: Secret mimir, key password is no password"),
        ({"username": "a"}, "basic.password: Secret mimir, key password: the Secret has no such key"),
    ],
)
def test_a_user_or_password_that_is_none_is_unknown(values: dict[str, str], reason: str) -> None:
    with service(body=sample("1")) as (url, asked):
        mimir = secret("mimir", url_of(port_of(url)), **values)
        answer = look(Namespace(mimir), call(url, authorization=USER_AND_PASSWORD))
    assert f"authorization.{reason}" in answer.reason and asked == []


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_unknown_and_named(authority: Authority, status: int) -> None:
    with service(status, b"expired", authority.server(NAME)) as (url, _):
        kube = Namespace(secret("thanos-token", url_of(port_of(url)), token=TOKEN), ca_crt=authority.bundle)
        found = [look(kube, ask(url, authorization=SHOWN_TOKEN, **CA)) for ask in (call, hook)]
    where = "authorization.bearer: Secret thanos-token, key token"
    assert [answer.reason for answer in found] == [f"answered {status} (expired); mend {where}, or what it may ask"] * 2


def test_an_api_server_that_does_not_say_is_unknown_and_asked_once_for_all() -> None:
    kube = Namespace()
    kube.refusal = Forbidden("GET /api/v1/namespaces/search/secrets: 403 may not list")
    with service(body=sample("1")) as (url, asked):
        calls = [replace(call(url, authorization=SHOWN_TOKEN), of=str(number)) for number in range(5)]
        found = {answer.reason for answer in answered(*calls, access=MetricAccess(kube)).values()}
    assert found == {"Secrets cannot be read: GET /api/v1/namespaces/search/secrets: 403 may not list"}
    assert (len(kube.asked), asked) == (1, [])


# --- rotation


def test_what_is_mended_is_used_within_seconds_and_many_looks_ask_the_api_server_once(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_access, "KEPT_SECONDS", 0.3)
    assert metric_access.KEPT_SECONDS <= 60

    async def story(url: str) -> None:
        target = url_of(port_of(url))
        kube = Namespace(secret("thanos-token", target, token="first-token"), ca_crt="none")
        services = MetricServices(MetricAccess(kube))

        async def looks() -> list[MetricAnswer]:
            asked = [call(url, authorization=SHOWN_TOKEN, **CA) for _ in range(20)]
            while True:
                found = [services.answers(f"r{number}", [one], time.time()) for number, one in enumerate(asked)]
                if all(found):
                    break
                await asyncio.sleep(0.01)
            for number in range(20):
                services.forget(f"r{number}")
            return [one["q"] for one in found]

        assert all("holds no certificate in PEM" in answer.reason for answer in await looks())
        assert kube.asked == ["get ConfigMap internal-ca"], "twenty looks, one call"
        kube.maps["internal-ca"]["data"]["ca.crt"] = authority.bundle
        await asyncio.sleep(0.4)
        assert [answer.value for answer in await looks()] == [1.0] * 20
        kube.secrets = [secret("thanos-token", target, token="second-token")]
        await asyncio.sleep(0.4)
        assert services.access.kept == {}, "nothing is kept longer"
        kube.asked.clear()
        await looks()
        assert sorted(kube.asked) == ["get ConfigMap internal-ca", "list Secret rewriter.dev/metrics-credentials=true"]
        await services.close()

    with service(body=sample("1"), tls=authority.server(NAME)) as (url, asked):
        asyncio.run(story(url))
    sent = [one["headers"]["Authorization"] for one in asked]
    assert sent == ["Bearer first-token"] * 20 + ["Bearer second-token"] * 20


# --- I12


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "error": f"invalid token {TOKEN}"},
        {"status": "error", "error": "x" * 150 + TOKEN},
        {"status": "error", "error": f"invalid token {TOKEN[:9]}..."},
        {"status": "success", "warnings": [f"user of {TOKEN} has no rights"]},
        {"status": "success", "data": {"resultType": TOKEN}},
    ],
    ids=["whole", "cut-by-us", "cut-by-it", "warning", "kind"],
)
def test_a_service_that_repeats_a_credential_is_not_repeated(authority: Authority, body: dict[str, Any]) -> None:
    with service(200, json.dumps(body).encode(), authority.server(NAME)) as (url, _):
        kube = Namespace(secret("thanos-token", url_of(port_of(url)), token=TOKEN), ca_crt=authority.bundle)
        answer = look(kube, call(url, authorization=SHOWN_TOKEN, **CA))
    assert (answer.value, answer.reason) == (None, HIDDEN)


def test_what_there_is_to_mend_is_told_though_a_credential_has_its_words(authority: Authority) -> None:
    with service(401, b"token authorization.bearer is too old", authority.server(NAME)) as (url, _):
        kube = Namespace(
            secret("thanos-token", url_of(port_of(url)), token="authorization.bearer"), ca_crt=authority.bundle
        )
        answer = look(kube, call(url, authorization=SHOWN_TOKEN, **CA))
    mend = "mend authorization.bearer: Secret thanos-token, key token, or what it may ask"
    assert answer.reason == f"answered 401 ({HIDDEN}); {mend}"


def test_a_verdicts_words_with_a_password_are_left_out_and_the_verdict_stays(authority: Authority) -> None:
    said = {"verdict": "Fail", "reason": "as  'correct  horse' I saw 12 failures"}
    with service(200, json.dumps(said).encode(), authority.server(NAME)) as (url, _):
        mimir = secret("mimir", url_of(port_of(url)), username="u", password="correct  horse")
        answer = look(Namespace(mimir, ca_crt=authority.bundle), hook(url, authorization=USER_AND_PASSWORD, **CA))
    assert (answer.passes, answer.reason) == (False, HIDDEN)


def test_nothing_that_is_printed_has_a_credential_in_it() -> None:
    access = Access({"Authorization": f"Bearer {TOKEN}"}, secrets=(TOKEN,))
    kept = MetricAccess(Namespace(), {("Secret", ""): metric_access._Kept([secret("thanos-token", "", token=TOKEN)])})
    assert TOKEN not in repr(access) + repr(kept) + repr(kept.kept.values())
    assert base64.b64encode(TOKEN.encode()).decode() not in repr(kept) + repr(list(kept.kept.values()))


@pytest.fixture(autouse=True)
def no_context_of_another_test() -> Iterator[None]:
    yield
    metric_access.trusting.cache_clear()
