"""The API server and the operator's models give the same verdict on what follows from the schema, and whatever is
accepted can be planned, and has children that the API server accepts too.

The cases are made by schema_cases.py; all are dry runs of a create, side by side.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from pydantic import ValidationError

from e2e.cluster import ControlPlane
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.workloads import names
from tests.core.simulator import Simulator, Stuck
from tests.integration.api_calls import Answer, ApiCalls
from tests.integration.schema_cases import Case, cases

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("schema-walk")]  # asked for once, in one worker

CASES: Final = {case.name: case for case in cases()}
ROOM: Final = f"schema-walk-{os.getpid()}"
AT_ONCE: Final = 8

_MADE_INTO_CHILDREN: Final = (("serving",), ("traffic",), ("training",))

_COLLECTIONS: Final = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "VirtualService": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
}


@pytest.fixture(scope="module")
def calls(api: ControlPlane) -> Iterator[ApiCalls]:
    made = ApiCalls.to(api.kubeconfig)
    made.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOM}})
    yield made
    made.call("DELETE", f"/api/v1/namespaces/{ROOM}")
    made.close()


@pytest.fixture(scope="module")
def answers(calls: ApiCalls) -> dict[str, Answer]:
    """The API server's answer to every case."""

    def ask(case: Case) -> Answer:
        body = {
            "apiVersion": "rewriter.dev/v1alpha1",
            "kind": "RewriterRelease",
            "metadata": {"name": "shop"},
            "spec": case.spec(),
        }
        return calls.write("POST", ROOM, body, dry_run=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(CASES, pool.map(ask, CASES.values()), strict=True))


def read(spec: Any) -> RewriterReleaseSpec | str:
    """The spec as the operator reads it, or why it cannot."""
    try:
        return RewriterReleaseSpec.model_validate(spec)
    except ValidationError as error:
        return str(error)


def test_the_cases_are_asked_for_in_one_worker(request: pytest.FixtureRequest) -> None:
    """Else each worker asks for all of them: half a minute of the API server's, for the same answers."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@schema-walk"), "this pytest-xdist does not see groups under this pytest"


@pytest.mark.parametrize("name", CASES)
def test_both_give_the_verdict_that_the_schema_asks_for(answers: dict[str, Answer], name: str) -> None:
    case, answer = CASES[name], answers[name]
    assert answer.status in (201, 400, 422), answer.message
    if case.accepted is not None:
        assert answer.accepted == case.accepted, answer.message or "accepted"
    if case.read_alike:
        found = read(case.spec())
        readable = isinstance(found, RewriterReleaseSpec)
        assert readable == answer.accepted, f"API server: {answer.message}; operator: {found}"


def test_a_refusal_names_a_field_and_has_no_broken_rule(answers: dict[str, Answer]) -> None:
    for name, answer in answers.items():
        if not answer.accepted:
            assert "spec" in answer.message, f"{name}: {answer.message}"
            for word in ("evaluation error", "evaluating rule", "no such key", "failed rule"):
                assert word not in answer.message, f"{name}: {answer.message}"


def test_whatever_is_accepted_can_be_read_and_planned_and_its_children_are_accepted(
    calls: ApiCalls, answers: dict[str, Answer]
) -> None:
    children: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    distinct: dict[str, tuple[str, RewriterReleaseSpec]] = {}
    for name, answer in answers.items():
        if answer.accepted:
            spec = read(answer.body["spec"])
            assert isinstance(spec, RewriterReleaseSpec), f"{name}: {spec}"
            if CASES[name].accepted or "sequence" in name or CASES[name].path[:1] in _MADE_INTO_CHILDREN:
                distinct.setdefault(spec.model_dump_json(), (name, spec))
    assert len(distinct) > 80
    for name, spec in distinct.values():
        for manifest in planned(name, spec):
            if manifest.kind in _COLLECTIONS and manifest.body["metadata"]["labels"][names.LABEL_NUMBER] in ("0", "1"):
                children.setdefault((manifest.kind, manifest.digest), (name, manifest.body))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = pool.map(lambda child: (child[0], refusal(calls, child[1])), children.values())
        refused = [f"{name}: {message}" for name, message in told if message]
    assert not refused, "\n".join(refused)


def planned(name: str, spec: RewriterReleaseSpec) -> list[Any]:
    """Everything that the operator would make for it on its way to the first phase."""
    story = Simulator(spec)
    try:
        story.until(State.TRAINING, 120)
    except Stuck:
        told = {item.reason for item in story.status.conditions if item.status == "False"}
        assert spec.suspend or "InvalidSchedule" in told, f"{name}: {story.status.message}"
    return story.rendered


def refusal(calls: ApiCalls, body: dict[str, Any]) -> str:
    """Why the API server would not have the object; a class that is not there is another matter."""
    kind, body = body["kind"], {**body, "metadata": {**body["metadata"], "namespace": ROOM}}
    answer = calls.call("POST", _COLLECTIONS[kind].format(ROOM), body, dryRun="All")
    return "" if answer.accepted or answer.status == 403 else f"{kind}: {answer.message}"
