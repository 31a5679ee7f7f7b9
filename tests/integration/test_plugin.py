"""The plugin as a person runs it, against a real API server, with the real operator behind it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewriter_operator.cli.asking import ASKED_ANNOTATION
from tests.integration.conftest import ROOT, Operator, Space, eventually, release
from tests.integration.test_operator_process import preparing

pytestmark = pytest.mark.integration


def rewriter(space: Space, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`kubectl rewriter ...`"""
    command = [sys.executable, "-m", "rewriter_operator.cli.command", *arguments]
    where = ["--kubeconfig", str(space.api.kubeconfig), "-n", space.name]
    return subprocess.run([*command, *where], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_a_person_looks_at_a_release_that_is_being_set_up(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release())
    preparing(space)
    refused = rewriter(space, "abort", "shop")
    assert refused.returncode == 1
    assert "takes no requests yet" in refused.stderr
    shown = rewriter(space, "get")
    assert shown.stdout.splitlines()[0].split()[:3] == ["NAME", "STATE", "CYCLE"], shown.stderr
    assert "Bootstrapping" in shown.stdout
    assert "shop  Bootstrapping" in rewriter(space, "status", "shop").stdout
    assert json.loads(rewriter(space, "status", "shop", "-o", "json").stdout)["state"] == "Bootstrapping"


def test_what_is_asked_for_is_written_with_who_and_why_and_told_in_an_event(space: Space, tmp_path: Path) -> None:
    """Without an operator: what one would read."""
    space.create(release())
    status = {"state": "Idle", "lastCycleNumber": 3, "stages": [{"name": "finerank"}], "observedGeneration": 1}
    space.write_status(status)
    done = rewriter(space, "run", "shop", "--reason", "a new catalogue", "-o", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    annotations = space.get("rr", "shop")["metadata"]["annotations"]
    assert annotations["rewriter.dev/run"] == said["value"]
    assert annotations[ASKED_ANNOTATION] == said["asked"]
    assert said["asked"].endswith(": a new catalogue") and " by unknown" not in said["asked"]
    eventually(lambda: said["asked"] in space.kubectl("get", "events", "-o", "json"), 10, "the Event is there")
    again = rewriter(space, "run", "shop")
    assert again.returncode == 1 and "asked for already" in again.stderr
    missing = rewriter(space, "abort", "nothing")
    assert missing.returncode == 1 and '"nothing" not found' in missing.stderr


def test_no_field_of_the_users_changes_hands(space: Space, operator: Operator) -> None:
    """Why Argo CD needs no ignoreDifferences: operator and plugin write status and annotations, never spec."""
    space.inputs()
    space.kubectl("apply", "--server-side", "--field-manager=argocd-controller", "-f", "-", input=json.dumps(release()))
    before = json.loads(space.kubectl("get", "rr", "shop", "-o", "json", "--show-managed-fields"))
    preparing(space)
    after = json.loads(space.kubectl("get", "rr", "shop", "-o", "json", "--show-managed-fields"))
    owners = {
        (item["manager"], item.get("subresource", ""))
        for item in after["metadata"]["managedFields"]
        if "f:spec" in item["fieldsV1"] or "f:metadata" in item["fieldsV1"]
    }
    assert owners <= {("argocd-controller", "")}
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
