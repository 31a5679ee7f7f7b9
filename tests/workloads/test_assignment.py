"""Users told apart by their buckets: what the routes' rules do with every bucket, and how a live route is read."""

import copy
import re
from typing import Any

import pytest

from rewriter_contract.buckets import BUCKET_HEADER
from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.api.status import Counters
from rewriter_operator.cluster.observe import _read_child
from rewriter_operator.cluster.unwatched import withdrawal
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.core.diff import Want, first_difference
from rewriter_operator.core.shares import share_is_real
from rewriter_operator.core.traffic import Look
from rewriter_operator.core.world import Role, Route
from rewriter_operator.workloads import buckets
from rewriter_operator.workloads.render import Manifest, render
from rewriter_operator.workloads.routers import ROUTERS
from tests.builders import INSTALLATION, make_spec, make_world
from tests.data_plane import BUCKET_NAMES, answering, of_all_buckets, of_bucket

GATEWAY: dict[str, Any] = {"gateway": {"name": "internal"}}
SERVICE: dict[str, Any] = {"service": {"name": "rewrites", "port": 80}}
ISTIO: dict[str, Any] = {"virtualService": {"hosts": ["rewrites"]}}
KINDS = [GATEWAY, SERVICE, ISTIO]
STAGES = (("finerank", 1), ("rawrank", 1), ("recall", None))
SHARES = range(1, 100)

each_kind = pytest.mark.parametrize("traffic", KINDS, ids=lambda traffic: next(iter(traffic)))


def made(traffic: dict[str, Any], header: str | None = BUCKET_HEADER, **shares: int) -> Manifest:
    """r0001 serves finerank and rawrank, the passthrough recall; r0002 has these shares."""
    assignment = {} if header is None else {"assignment": {"header": header}}
    given = tuple((stage, share) for stage, share in shares.items() if share)
    wanted = WantedRoute(STAGES, candidate=2, shares=given, idle=(-1, 1, 2))
    return render(make_world(make_spec(traffic=traffic | assignment)).release, (wanted,), INSTALLATION)[0]


def rules(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["spec"]["http" if body["kind"] == "VirtualService" else "rules"]
    return found


def backends(rule: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rule["route"] if "route" in rule else rule["backendRefs"]
    return found


def of_buckets(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules for buckets: of the incumbent, then of the candidate, stage by stage."""
    return [rule for rule in rules(body) if BUCKET_HEADER in str(rule)]


def live(manifest: Manifest) -> dict[str, Any]:
    body = copy.deepcopy(manifest.body)
    body["metadata"] |= {"generation": 1, "uid": "uid-route"}
    return body


def child(manifest: Manifest, body: dict[str, Any]) -> tuple[Want, Route]:
    """What is compared: the manifest, and the live object as the operator reads it."""
    found = _read_child(body, "uid-shop")
    assert isinstance(found, Route)
    return Want(manifest.kind, manifest.name, manifest.digest, True, Role.ROUTE, spec=manifest.compared), found


def read(body: dict[str, Any]) -> dict[str, int]:
    return ROUTERS[body["kind"]].verify_share(body).shares


@pytest.mark.parametrize("share", SHARES)
def test_an_expression_matches_the_first_n_of_a_hundred_buckets_and_the_other_one_the_rest(share: int) -> None:
    for find in (re.compile(buckets.below(share)).fullmatch, re.compile(buckets.below(share)).search):
        assert [name for name in BUCKET_NAMES if find(name)] == BUCKET_NAMES[:share]
    for find in (re.compile(buckets.beyond(share)).fullmatch, re.compile(buckets.beyond(share)).search):
        assert [name for name in BUCKET_NAMES if find(name)] == BUCKET_NAMES[share:]


@pytest.mark.parametrize(
    "odd", ["", "0", "7", "007", "100", "-1", "1e", "0x", " 01", "01 ", "01,02", "\u0661\u0662", "w36"]
)
def test_what_is_no_bucket_is_matched_by_no_expression(odd: str) -> None:
    for share in SHARES:
        assert not re.search(buckets.below(share), odd)
        assert not re.search(buckets.beyond(share), odd)


def test_expressions_are_of_a_syntax_that_every_engine_has() -> None:
    for share in SHARES:
        for pattern in (buckets.below(share), buckets.beyond(share)):
            assert re.fullmatch(r"\^\([0-9\[\]|-]+\)\$", pattern)


@each_kind
@pytest.mark.parametrize("share", [1, 5, 10, 25, 37, 50, 90, 99])
def test_the_first_buckets_are_the_candidates_alone_and_the_others_the_incumbents(
    traffic: dict[str, Any], share: int
) -> None:
    spec = made(traffic, finerank=share).body["spec"]
    found = [of_bucket(spec, "finerank", bucket) for bucket in BUCKET_NAMES]
    assert found == ["shop-r0002"] * share + ["shop-r0001"] * (100 - share)
    assert of_all_buckets(spec, "finerank")["shop-r0002"] == share
    assert {of_bucket(spec, "rawrank", bucket) for bucket in BUCKET_NAMES} == {"shop-r0001"}
    assert {of_bucket(spec, "recall", bucket) for bucket in BUCKET_NAMES} == {"shop-passthrough"}


@each_kind
def test_who_has_the_candidate_keeps_it_at_every_larger_share_and_nobody_has_it_once_it_is_taken_back(
    traffic: dict[str, Any],
) -> None:
    had: set[str] = set()
    for share in (5, 25, 50, 100):
        spec = made(traffic, finerank=share).body["spec"]
        has = {name for name in BUCKET_NAMES if of_bucket(spec, "finerank", name) == "shop-r0002"}
        assert len(has) == share
        assert had <= has
        had = has
    spec = made(traffic).body["spec"]
    assert {of_bucket(spec, "finerank", bucket) for bucket in BUCKET_NAMES} == {"shop-r0001"}


@each_kind
def test_a_user_meets_the_candidate_in_every_stage_or_in_none_at_equal_shares(traffic: dict[str, Any]) -> None:
    spec = made(traffic, finerank=25, rawrank=25, recall=25).body["spec"]
    for bucket in BUCKET_NAMES:
        found = {of_bucket(spec, stage, bucket) == "shop-r0002" for stage, _ in STAGES}
        assert len(found) == 1


@each_kind
@pytest.mark.parametrize("given", [None, "", "5", "100", "abc", "05,99"])
def test_requests_without_a_bucket_are_divided_by_weight_as_ever(traffic: dict[str, Any], given: str | None) -> None:
    spec = made(traffic, finerank=25).body["spec"]
    headers = {STAGE_HEADER: "finerank"} | ({} if given is None else {BUCKET_HEADER: given})
    without = answering(made(traffic, header=None, finerank=25).body["spec"], {STAGE_HEADER: "finerank"})
    assert answering(spec, headers) == without == {"shop-r0001": 75, "shop-r0002": 25, "shop-passthrough": 0}


@each_kind
def test_a_data_plane_that_looks_at_no_expression_gives_the_candidate_none(traffic: dict[str, Any]) -> None:
    """Then the first of the two rules takes all: a share that is never verified, and nobody who met the candidate."""
    body = made(traffic, finerank=5).body
    for rule in of_buckets(body):
        ask(rule, "(?s).*")
    assert {of_bucket(body["spec"], "finerank", bucket) for bucket in BUCKET_NAMES} == {"shop-r0001"}


@each_kind
def test_a_bucket_without_a_stage_never_meets_the_candidate(traffic: dict[str, Any]) -> None:
    spec = made(traffic, finerank=99, rawrank=99, recall=99).body["spec"]
    assert answering(spec, {BUCKET_HEADER: "00"})["shop-passthrough"] == 100


@each_kind
@pytest.mark.parametrize("share", [0, 100])
def test_where_everybody_is_answered_alike_the_route_is_the_one_without_buckets(
    traffic: dict[str, Any], share: int
) -> None:
    assert made(traffic, finerank=share).digest == made(traffic, header=None, finerank=share).digest


@each_kind
def test_rules_of_buckets_are_added_and_every_other_one_stays_in_its_place(traffic: dict[str, Any]) -> None:
    """A gateway that names clusters after a rule's place must not send a stage's requests to another one's backends."""
    plain, split = made(traffic, header=None, finerank=5, recall=50).body, made(traffic, finerank=5, recall=50).body
    assert [rule for rule in rules(split) if rule not in of_buckets(split)] == rules(plain)
    if traffic is not ISTIO:  # there the first rule that matches counts, and nothing goes by places
        assert rules(split)[: len(rules(plain))] == rules(plain)
    assert len(of_buckets(split)) == 4


def test_the_largest_route_is_within_what_gateway_api_takes() -> None:
    """16 rules, 128 matches, and an expression of at most 4096 characters."""
    found = rules(made(GATEWAY, finerank=37, rawrank=37, recall=37).body)
    assert len(found) == 3 * 3 + 1
    assert sum(len(rule["matches"]) for rule in found) == len(found)
    assert max(len(buckets.below(share)) + len(buckets.beyond(share)) for share in SHARES) < 64


@each_kind
def test_a_bucket_rule_lists_every_backend_that_its_stage_lists(traffic: dict[str, Any]) -> None:
    body = made(traffic, finerank=5).body
    (stage_rule,) = (rule for rule in rules(body) if "finerank" in str(rule) and rule not in of_buckets(body))
    for rule in of_buckets(body):
        assert len(backends(rule)) == len(backends(stage_rule)) == 3
        assert sum(item["weight"] for item in backends(rule)) == 100


def test_istios_rules_are_named_and_retry_nothing() -> None:
    found = rules(made(ISTIO, finerank=5).body)
    names = ["finerank-incumbent", "finerank-candidate", "finerank", "rawrank", "recall", "everything-else"]
    assert [rule["name"] for rule in found] == names
    assert all(rule["retries"] == {"attempts": 0} and rule["timeout"] == "7s" for rule in found)


@each_kind
def test_another_header_is_matched_by_its_name(traffic: dict[str, Any]) -> None:
    spec = made(traffic, header="x-shop-user-bucket", finerank=5).body["spec"]
    assert of_bucket(spec, "finerank", "04", "x-shop-user-bucket") == "shop-r0002"
    assert of_bucket(spec, "finerank", "04") == "", "the usual header says nothing here"


@each_kind
@pytest.mark.parametrize("share", [0, 1, 5, 37, 50, 99, 100])
def test_what_was_written_is_what_is_read(traffic: dict[str, Any], share: int) -> None:
    assert read(live(made(traffic, finerank=share))) == {"finerank": share, "rawrank": 0, "recall": 0}


def give(rule: dict[str, Any], *weights: int) -> None:
    for item, weight in zip(backends(rule), weights, strict=True):
        item["weight"] = weight


def ask(rule: dict[str, Any], pattern: str) -> None:
    if "match" in rule:
        rule["match"][0]["headers"][BUCKET_HEADER] = {"regex": pattern}
    else:
        rule["matches"][0]["headers"][1]["value"] = pattern


def ask_exactly(rule: dict[str, Any], value: str) -> None:
    if "match" in rule:
        rule["match"][0]["headers"][BUCKET_HEADER] = {"exact": value}
    else:
        rule["matches"][0]["headers"][1] = {"type": "Exact", "name": BUCKET_HEADER, "value": value}


@each_kind
@pytest.mark.parametrize(
    ("edit", "share"),
    [
        pytest.param(lambda body: give(of_buckets(body)[0], 50, 0, 50), 55, id="half-of-the-others"),
        pytest.param(lambda body: give(of_buckets(body)[0], 0, 0, 1), 100, id="all-of-the-others"),
        pytest.param(lambda body: ask(of_buckets(body)[1], buckets.below(60)), 60, id="more-buckets"),
        pytest.param(lambda body: ask(of_buckets(body)[1], ".*"), 100, id="everybody"),
        pytest.param(lambda body: ask(of_buckets(body)[1], "(" * 40), 100, id="no-expression"),
        pytest.param(lambda body: ask(of_buckets(body)[1], "((a?){99}){99}$"), 100, id="an-endless-expression"),
        pytest.param(lambda body: ask_exactly(of_buckets(body)[1], "07"), 100, id="one-bucket-by-its-name"),
        pytest.param(lambda body: give(of_buckets(body)[1], 100, 0, 0), 10, id="lowered"),
        pytest.param(lambda body: rules(body).remove(of_buckets(body)[0]), 19, id="the-others-by-weight"),
        pytest.param(lambda body: rules(body).remove(of_buckets(body)[1]), 10, id="the-candidates-by-weight"),
    ],
)
def test_an_edit_of_a_bucket_rule_counts_and_is_put_right(traffic: dict[str, Any], edit: Any, share: int) -> None:
    """A share that was raised is seen as one, so that the route is the first write; and no edit is kept."""
    manifest = made(traffic, finerank=10)
    body = live(manifest)
    edit(body)
    assert read(body)["finerank"] == share
    want, found = child(manifest, body)
    assert first_difference([want], [found]) is want


def test_a_route_that_nobody_edited_is_left_alone() -> None:
    for traffic in KINDS:
        manifest = made(traffic, finerank=10, recall=50)
        want, found = child(manifest, live(manifest))
        assert first_difference([want], [found]) is None


@each_kind
@pytest.mark.parametrize("share", [1, 50, 99])
def test_a_candidate_is_taken_out_of_every_rule_by_one_write(traffic: dict[str, Any], share: int) -> None:
    """For a release that nobody can plan: the rules stay, and no bucket finds the candidate behind any."""
    found = withdrawal(live(made(traffic, finerank=share, recall=share)), "shop")
    assert found is not None and found.revision == 2
    spec = found.body["spec"]
    assert {of_bucket(spec, "finerank", bucket) for bucket in BUCKET_NAMES} == {"shop-r0001"}
    assert {of_bucket(spec, "recall", bucket) for bucket in BUCKET_NAMES} == {"shop-passthrough"}
    written = live(Manifest(found.body, True))
    assert read(written) == {"finerank": 0, "rawrank": 0, "recall": 0}
    assert withdrawal(written, "shop") is None


def test_one_user_who_asks_a_fifth_of_everything_makes_of_a_share_another_one() -> None:
    """Such a key is none to tell users apart by: what is counted is no 5 %, and is not called so."""
    candidate, others = 50 + 200, 950 - 200
    assert share_is_real(Look(Counters(requests=candidate), Counters(requests=others)), 5, 50, 0.001) is False
