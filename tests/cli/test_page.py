"""`report --html` against a small API server and a kubectl of the test's own, both real processes or sockets."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from rewriter_operator.cli.command import main
from rewriter_operator.cli.page import readers
from rewriter_operator.core.world import Role
from rewriter_operator.workloads.pods import VOLUME_MOUNT
from tests.builders import make_spec, make_status
from tests.cli.release_objects import release_object, revision_object

PAGE = "<!doctype html><html>\u2713 Pass</html>\n".encode()


def pod(name: str, role: Role = Role.SERVING, phase: str = "Running", mounts: bool = True) -> dict[str, Any]:
    container = {"name": "main", "volumeMounts": [{"name": "volume", "mountPath": VOLUME_MOUNT if mounts else "/tmp"}]}
    return {
        "metadata": {"name": name, "labels": {"rewriter.dev/role": role.value}},
        "spec": {"containers": [{"name": "mesh-proxy"}, container]},
        "status": {"phase": phase},
    }


@contextmanager
def api(tmp_path: Path, pods: list[dict[str, Any]], revisions: tuple[int, ...] = (6, 7)) -> Iterator[list[str]]:
    """The command's options for an API server with the release `shop`."""
    answers = {
        "rewriterreleases/shop": release_object(make_status(make_spec())),
        "rewriterrevisions": {"items": [revision_object(number) for number in revisions]},
        "pods?labelSelector=rewriter.dev/release=shop": {"items": pods},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(answers[unquote(self.path).partition("/namespaces/search/")[2]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "search"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
            "users": [{"name": "u", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        try:
            yield ["--kubeconfig", str(tmp_path / "kubeconfig")]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory first on PATH whose `kubectl` writes down its arguments and does what `answer` (shell) says."""
    place = tmp_path / "bin"
    place.mkdir()
    program = place / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {place}/asked\npod=$6\n. {place}/answer\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (place / "page").write_bytes(PAGE)
    (place / "answer").write_text(f"cat {place}/page")
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    return place


def test_the_page_is_fetched_from_a_serving_pod_with_the_users_own_kubeconfig(tmp_path: Path, kubectl: Path) -> None:
    file = tmp_path / "page.html"
    with api(tmp_path, [pod("sampler", Role.SAMPLER), pod("shop-r0006-x")]) as where:
        assert main(["report", "shop", "r0006", "--html", str(file), *where]) == 0
    assert file.read_bytes() == PAGE
    (asked,) = (kubectl / "asked").read_text().splitlines()
    called = f"exec {' '.join(where)} -n search shop-r0006-x -c main -- cat /volume/cycles/0006/gate/report.html"
    assert asked == called


def test_the_newest_page_goes_to_standard_output_byte_for_byte(
    tmp_path: Path, kubectl: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with api(tmp_path, [pod("sampler", Role.SAMPLER)]) as where:
        assert main(["report", "shop", "--html", "-", *where]) == 0
    assert capfdbinary.readouterr().out == PAGE
    assert "cycles/0007/gate/report.html" in (kubectl / "asked").read_text()


def test_another_pod_is_asked_where_one_ends_or_cuts_the_page_off(tmp_path: Path, kubectl: Path) -> None:
    (kubectl / "answer").write_text(
        f'case "$pod" in a) echo "pod a is gone" >&2; exit 1;; b) head -c 20 {kubectl}/page;; '
        f"*) cat {kubectl}/page;; esac"
    )
    file = tmp_path / "page.html"
    with api(tmp_path, [pod("a"), pod("b"), pod("c")]) as where:
        assert main(["report", "shop", "--html", str(file), *where]) == 0
    assert file.read_bytes() == PAGE and len((kubectl / "asked").read_text().splitlines()) == 3


REFUSED = {
    "nothing-judged": ([pod("a")], (), "", "no revision of shop has been judged yet; the first gate's verdict"),
    "pods-gone": (
        [pod("a", phase="Succeeded"), pod("b", Role.PASSTHROUGH, mounts=False)],
        (7,),
        "",
        "no running pod of shop mounts the volume (only serving pods of a revision, and those of a running cycle, do); "
        "mount claim rewriter in a pod and read shop/cycles/0007/gate/report.html",
    ),
    "page-absent": (
        [pod("a"), pod("b")],
        (7,),
        'echo "cat: /volume/x: No such file or directory" >&2; exit 1',
        "cycles/0007/gate/report.html is not on the volume: spec.retention.reports",
    ),
    "no-right": (
        [pod("a")],
        (7,),
        'echo "Error from server (Forbidden): pods is forbidden" >&2; exit 1',
        "no pod gave cycles/0007/gate/report.html: a: Error from server (Forbidden)",
    ),
    "cut-off": ([pod("a")], (7,), "echo '<html>'", "a: 7 bytes, cut off"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_missing_is_named_and_nothing_is_written(
    tmp_path: Path, kubectl: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    pods, revisions, answer, words = REFUSED[case]
    (kubectl / "answer").write_text(answer)
    file = tmp_path / "page.html"
    file.write_text("mine")
    with api(tmp_path, pods, revisions) as where:
        assert main(["report", "shop", "--html", str(file), *where]) == 1
    assert words in capsys.readouterr().err
    assert file.read_text() == "mine"
    if case == "page-absent":
        assert len((kubectl / "asked").read_text().splitlines()) == 1, "the other pods mount the same volume"


def test_a_file_that_cannot_be_written_is_refused(
    tmp_path: Path, kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with api(tmp_path, [pod("a")]) as where:
        assert main(["report", "shop", "--html", str(tmp_path), *where]) == 1
    assert "Is a directory; name another file" in capsys.readouterr().err


def test_without_kubectl_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with api(tmp_path, [pod("a")]) as where:
        assert main(["report", "shop", "--html", "-", *where]) == 1
    assert "needs kubectl on PATH" in capsys.readouterr().err


def test_only_running_pods_that_mount_the_volume_are_asked_and_serving_ones_first() -> None:
    ending = pod("z")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pods = [
        pod("t", Role.TRAINER),
        pod("r", Role.RECORD),
        pod("s", Role.SAMPLER),
        ending,
        pod("v"),
        pod("p", mounts=False),
    ]
    assert readers(pods) == [("v", "main"), ("s", "main"), ("t", "main")]
