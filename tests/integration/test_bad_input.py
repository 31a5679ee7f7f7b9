"""Bad input that the API server refuses: on create and on update, with field, value and remedy; mended, it goes on.

The rows are bad_input_rows.py, their numbers those of docs/bad-input.md. What only the operator can tell (a missing
claim, a date that never comes) is test_bad_input_conditions.py.
"""

import copy
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from e2e.cluster import ControlPlane
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from tests.core.simulator import Simulator
from tests.integration.api_calls import ApiCalls
from tests.integration.bad_input_rows import ABSENT, REFUSED, Refused
from tests.integration.conftest import release

pytestmark = pytest.mark.integration

ROOM = f"bad-input-{os.getpid()}"


@pytest.fixture(scope="module")
def calls(api: ControlPlane) -> Iterator[ApiCalls]:
    """Calls into a namespace of this module's own."""
    made = ApiCalls.to(api.kubeconfig)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOM}}
    assert made.call("POST", "/api/v1/namespaces", namespace).accepted
    yield made
    made.call("DELETE", f"/api/v1/namespaces/{ROOM}")
    made.close()


def changed(changes: Mapping[str, Any], name: str = "shop") -> dict[str, Any]:
    """A good release with some fields set, or taken away."""
    body = copy.deepcopy(release(name))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = _named(value, name)
    return body


def _named(value: Any, release_name: str) -> Any:
    """The value with the release's name where a row leaves room for it."""
    match value:
        case str():
            return value.replace("{release}", release_name)
        case list():
            return [_named(item, release_name) for item in value]
        case dict():
            return {key: _named(item, release_name) for key, item in value.items()}
    return value


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"B{row.row}-{row.case[:60]}")
def test_it_is_refused_with_field_value_and_remedy_and_goes_on_once_it_is_mended(calls: ApiCalls, row: Refused) -> None:
    name = f"b{row.row}-{zlib.crc32(row.case.encode())}"
    broken, mended = changed(row.broken, name), changed(row.fixed, name)
    if row.on_create:
        refusal = calls.write("POST", ROOM, broken)
        assert not refusal.accepted, "it must be refused on create"
        for words in row.says:
            assert words in refusal.message
    created = calls.write("POST", ROOM, mended)
    assert created.accepted, created.message
    if row.on_update:
        version = {"metadata.resourceVersion": created.body["metadata"]["resourceVersion"]}
        refusal = calls.write("PUT", ROOM, changed({**row.broken, **version}, name))
        assert not refusal.accepted, "it must be refused on update"
        for words in row.says:
            assert words in refusal.message
        again = calls.write("PUT", ROOM, changed({**row.fixed, **version}, name))
        assert again.accepted and again.body["metadata"]["generation"] == 1, "a refusal leaves the release as it was"
    assert goes_on(created.body), "the operator carries out what was accepted"
    calls.call("DELETE", f"/apis/rewriter.dev/v1alpha1/namespaces/{ROOM}/rewriterreleases/{name}")


def goes_on(stored: Mapping[str, Any]) -> bool:
    """The operator's own planner, given the stored spec, comes to train."""
    story = Simulator(RewriterReleaseSpec.model_validate(stored["spec"]))
    return story.until(State.TRAINING, 300).status.state is State.TRAINING
