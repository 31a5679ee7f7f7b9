"""Names, state and certificates: what keeps two clusters apart and a dead one from looking alive."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import ensure_pki
from e2e.cluster.state import ClusterState, read_state, start_time, write_state


@pytest.mark.parametrize("name", ["", "Demo", "a/b", "..", "-x", "x-", "x" * 31])
def test_a_name_that_could_not_be_a_node_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="DNS label"):
        ClusterPaths.of(name)


def test_a_state_whose_pid_now_belongs_to_another_process_is_not_alive(tmp_path: Path) -> None:
    own = start_time(os.getpid())
    assert own is not None
    living = ClusterState(os.getpid(), own, 0, 1, 2, 3)
    write_state(tmp_path / "state.json", living)
    assert read_state(tmp_path / "state.json") == living
    assert living.alive()
    assert not ClusterState(os.getpid(), own - 1, 0, 1, 2, 3).alive()


def test_the_service_account_key_has_the_format_that_the_api_server_reads(tmp_path: Path) -> None:
    key = ensure_pki(tmp_path / "pki", "demo").key("service-accounts")
    assert key.read_text().startswith("-----BEGIN EC PRIVATE KEY-----")


def test_no_state_is_read_as_none(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.json") is None


def test_certificates_are_made_once_and_cover_loopback(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path / "pki", "demo")
    first = pki.authority.read_bytes()
    assert ensure_pki(tmp_path / "pki", "demo").authority.read_bytes() == first
    verify = ["openssl", "verify", "-CAfile", str(pki.authority), "-verify_ip", "127.0.0.1"]
    subprocess.run([*verify, str(pki.certificate("apiserver"))], check=True, capture_output=True)
    show = ["openssl", "x509", "-noout", "-subject", "-in", str(pki.certificate("kubelet"))]
    assert "system:node:demo" in subprocess.run(show, check=True, capture_output=True, text=True).stdout
