"""`kubectl rewriter lint` and the API server refuse the same, with the same words; lint may go on where it stops."""

import os
from collections.abc import Iterator
from typing import Final

import pytest

from e2e.cluster import ControlPlane
from rewriter_operator.cli.lint import refusals
from tests.integration.api_calls import ApiCalls
from tests.integration.bad_input_rows import REFUSED, Refused
from tests.integration.test_bad_input import changed

pytestmark = pytest.mark.integration

ROOM: Final = f"lint-words-{os.getpid()}"
CREATED: Final = [row for row in REFUSED if row.on_create]


@pytest.fixture(scope="module")
def calls(api: ControlPlane) -> Iterator[ApiCalls]:
    made = ApiCalls.to(api.kubeconfig)
    made.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOM}})
    yield made
    made.call("DELETE", f"/api/v1/namespaces/{ROOM}")
    made.close()


@pytest.mark.parametrize("row", CREATED, ids=lambda row: f"B{row.row}-{row.case[:60]}")
def test_lint_says_all_that_the_api_server_says(calls: ApiCalls, row: Refused) -> None:
    body = changed(row.broken, "shop")
    answer = calls.write("POST", ROOM, body, dry_run=True)
    causes = answer.body.get("details", {}).get("causes", [])
    told = refusals(body)
    missing = [
        f"{cause['field']}: {cause['message']}"
        for cause in causes
        if "some validation rules were not checked" not in cause["message"]
        and f"{cause['field']}: {cause['message']}" not in told
    ]
    assert not answer.accepted and told
    assert not missing, f"lint says: {told}"
